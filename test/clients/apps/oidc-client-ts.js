// An application of oidc-client-ts: its manager, which the page's own script would use, and the callback for windows and iframes.
import { UserManager } from 'oidc-client-ts';

window.manager = new UserManager(window.options);
window.ready = location.pathname === '/callback' ? window.manager.signinCallback() : Promise.resolve();
window.ready.catch(() => {}); // whoever waits for it sees the error
