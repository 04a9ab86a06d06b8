// The shape in which every script reports tokens.
import { decodeJwt, decodeProtectedHeader } from 'jose';

/**
 * @param {object} answer of a token endpoint, or of getTokenSilently with detailedResponse
 * @returns tokens as they came, with the JWTs' headers and claims next to them; members that were not issued are absent
 */
export function report(answer) {
  return {
    accessToken: answer.access_token,
    ...decoded('accessToken', answer.access_token),
    ...(answer.id_token && { idToken: answer.id_token, ...decoded('idToken', answer.id_token) }),
    ...(answer.refresh_token && { refreshToken: answer.refresh_token }),
    ...(answer.token_type && { tokenType: answer.token_type }),
    ...(answer.scope !== undefined && { scope: answer.scope }),
    ...(answer.expires_in !== undefined && { expiresIn: answer.expires_in }),
  };
}

function decoded(name, token) {
  return { [`${name}Header`]: decodeProtectedHeader(token), [`${name}Claims`]: decodeJwt(token) };
}
