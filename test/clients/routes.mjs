// By which of the ways to a token a request goes.

/** The ways a request belongs to, none or one. The code exchange after an iframe is part of that way. */
export function route(request) {
  const url = new URL(request.url());
  if (url.pathname === '/authorize' && (url.searchParams.get('response_mode') === 'web_message' || request.frame().parentFrame())) return ['iframe'];
  if (url.pathname === '/oauth/token' && request.method() === 'POST') {
    const grant = new URLSearchParams(request.postData() ?? '').get('grant_type');
    return grant === 'authorization_code' ? [] : [grant];
  }
  return [];
}

/** Collects the ways of all requests of a browser: took() tells those since the last time it was asked. */
export function watch(context) {
  const seen = [];
  context.on('request', (request) => seen.push(...route(request)));
  return { took: () => [...new Set(seen.splice(0))].join(', ') };
}

/** What a token was got by must be what was meant. */
export function mustTake(routes, want) {
  const took = routes.took();
  if (took !== want) throw new Error(`the token was asked for by ${took || 'nothing'}, want ${want}`);
}
