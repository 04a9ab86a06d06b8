package login

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/oauth/upstream"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Upstream is what logins through identity providers elsewhere depend on.
type Upstream struct {
	Client *upstream.Client // required

	// Shared is the control plane's /login/callback, where logins with inherited
	// credentials come back to; "" has them come back to the tenant, as all others
	// do (contract C7.19).
	Shared string

	// IssuerOf is a tenant's primary issuer, for logins that came back to the
	// control plane; "" for a tenant that does not serve.
	IssuerOf func(tenant string) string
}

const (
	connectPath  = pagesPath + "connect"
	callbackPath = "/login/callback"

	// away is how long somebody may stay at a provider.
	away = 10 * time.Minute

	// identifying bounds what is asked of a provider while a browser waits.
	identifying = 20 * time.Second
)

// socialStrategies are those whose connections always get a button; the others do
// where show_as_button says so.
var socialStrategies = []string{"google-oauth2", "github", "facebook", "apple", "windowslive", "oauth2"}

// upstreams are the connections to elsewhere of this login, narrowed like
// [step.connections]. named reports whether the request or the invitation means one
// of them.
func (s *step) upstreams() (list []offered, named bool, err error) {
	if s.pages.upstream == nil {
		return nil, false, nil
	}
	var orgID string
	if s.org != nil {
		orgID = s.org.ID
	}
	all, err := allConnectionsOf(s.ctx, s.client.ID, orgID)
	if err != nil {
		return nil, false, err
	}
	list = slices.DeleteFunc(slices.Clone(all), func(o offered) bool { return !upstream.Knows(o.Strategy) })
	meant := func(o offered) bool { return o.Name == s.session.Request["connection"] }
	switch i := s.invitation; {
	case i != nil && i.ConnectionID != "":
		meant = func(o offered) bool { return o.ID == i.ConnectionID }
	case s.session.Request["connection"] == "":
		return list, false, nil
	}
	list = slices.DeleteFunc(list, func(o offered) bool { return !meant(o) })
	return list, len(list) > 0, nil
}

// providers are the buttons of the login page. only reports that a person is to go
// on to the one provider at once: it is named, or there is nothing else (contract
// C4.29).
func (s *step) providers() (list []providerView, only bool, err error) {
	offers, named, err := s.upstreams()
	if err != nil {
		return nil, false, err
	}
	for _, o := range offers {
		if o.shown || named {
			name := cmp.Or(o.DisplayName, names[o.Strategy], o.Name)
			list = append(list, providerView{name, s.url(connectPath) + "&connection=" + url.QueryEscape(o.Name)})
		}
	}
	if len(list) != 1 || named {
		return list, named, nil
	}
	_, err = s.connections()
	return list, err != nil, nil // why there is none does not matter then
}

// names are what providers are called where a connection has no display name.
var names = map[string]string{
	"google-oauth2": "Google", "github": "GitHub", "facebook": "Facebook", "apple": "Apple", "windowslive": "Microsoft", "waad": "Microsoft",
}

// serveConnect sends a person to the identity provider of a connection.
func (p *Pages) serveConnect(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	}
	s, err := p.begin(w, r)
	if err != nil {
		return err
	}
	name, err := single(r.URL.Query(), "connection")
	if err != nil {
		return err
	}
	c, err := s.upstreamConnection(func(o offered) bool { return name == "" || o.Name == name })
	if err != nil {
		return err
	}
	address, err := s.depart(c)
	if err != nil {
		return s.upstreamFailed(c, err)
	}
	secure(w.Header())
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusFound)
	return nil
}

// upstreamConnection is one of those this login may use.
func (s *step) upstreamConnection(meant func(offered) bool) (offered, error) {
	list, _, err := s.upstreams()
	if err != nil {
		return offered{}, err
	}
	at := slices.IndexFunc(list, meant)
	if at < 0 {
		return offered{}, s.noConnection("This way to log in cannot be used here.")
	}
	return list[at], nil
}

// depart keeps what is needed when the person comes back, and returns where they
// go. What they come back with is bound to this tenant, by its database; to this
// browser, by the login's cookie; and to this one login (contract C7.19).
func (s *step) depart(c offered) (string, error) {
	o, err := c.EffectiveOptions(s.ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(s.ctx, identifying)
	defer cancel()
	provider, err := s.pages.upstream.Client.Provider(ctx, c.Strategy, o)
	if err != nil {
		return "", err
	}
	t, err := tenancy.Current(s.ctx)
	if err != nil {
		return "", err
	}
	x := upstream.Transaction{
		State: tenancy.NewToken(), Nonce: tenancy.NewToken(), Verifier: tenancy.NewToken(), LoginHint: cmp.Or(s.invitedEmail(), s.session.Request["login_hint"]),
		RedirectURI: strings.TrimSuffix(tenancy.VisitOf(s.ctx).Issuer, "/") + callbackPath,
	}
	if shared := s.pages.upstream.Shared; shared != "" && o.InheritsSecret() {
		// The control plane finds the tenant by it, and nothing else.
		x.RedirectURI, x.State = shared, t.ID+stateMark+x.State
	}
	now := tenancy.At(s.pages.now())
	err = tenancy.UpstreamLogins.Create(s.ctx, &tenancy.UpstreamLogin{
		Row: tenancy.Row{ID: tenancy.HashToken(x.State), CreatedAt: now}, ConnectionID: c.ID, RedirectURI: x.RedirectURI, ExpiresAt: now.Add(away),
		Keeps: map[string]string{tenancy.UpstreamState: s.state, tenancy.UpstreamNonce: x.Nonce, tenancy.UpstreamVerifier: x.Verifier},
	})
	return provider.AuthURL(x), err
}

// stateMark stands between the tenant and the rest of a state that comes back to
// the control plane. No tenant id and no token has it.
const stateMark = "."

// answerParams are what a provider may come back with.
var answerParams = []string{"state", "code", "error", "error_description", "iss"}

// serveCallback takes a person who comes back from a provider (contract C4.13).
func (p *Pages) serveCallback(w http.ResponseWriter, r *http.Request) error {
	if p.upstream == nil {
		return &failure{Status: http.StatusNotFound, Message: "There is no page at this address."}
	}
	answer, err := callbackParams(w, r)
	if err != nil {
		return err
	}
	if forward, err := p.forward(r.Context(), answer); err != nil || forward != "" {
		if err == nil {
			seeOther(w, forward+"?"+answer.Encode())
		}
		return err
	}
	if r.Method == http.MethodPost {
		// A form from another site comes without the cookie: the browser fetches the
		// same from here.
		seeOther(w, callbackPath+"?"+answer.Encode())
		return nil
	}
	back, s, err := p.comeBack(w, r, answer.Get("state"))
	if err != nil {
		return err
	}
	c, err := s.upstreamConnection(func(o offered) bool { return o.ID == back.ConnectionID })
	if err != nil {
		return err
	}
	if answer.Get("error") != "" {
		err = s.refusedUpstream(c, answer)
	} else {
		err = s.arrive(c, back, answer)
	}
	if err != nil {
		return err
	}
	s.redirect(w, resumePath)
	return nil
}

func callbackParams(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	var given url.Values
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		given = r.URL.Query()
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return nil, errMalformed
		}
		given = r.PostForm
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return nil, &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	}
	answer := url.Values{}
	for _, name := range answerParams {
		value, err := single(given, name)
		if err != nil {
			return nil, err
		}
		if value != "" {
			answer.Set(name, value)
		}
	}
	return answer, nil
}

// forward is the callback of the tenant that an answer to the control plane is for;
// "" for one that stays.
func (p *Pages) forward(ctx context.Context, answer url.Values) (string, error) {
	id, _, marked := strings.Cut(answer.Get("state"), stateMark)
	t, err := tenancy.Current(ctx)
	if err != nil || !marked || !t.IsControlPlane() || p.upstream.Shared == "" {
		return "", err
	}
	issuer := p.upstream.IssuerOf(id)
	if issuer == "" {
		return "", errGone
	}
	return strings.TrimSuffix(issuer, "/") + callbackPath, nil
}

func seeOther(w http.ResponseWriter, address string) {
	secure(w.Header())
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
}

// comeBack finds the login that a state belongs to, if it is this browser's, and
// uses the state up.
func (p *Pages) comeBack(w http.ResponseWriter, r *http.Request, state string) (*tenancy.UpstreamLogin, *step, error) {
	ctx := r.Context()
	if state == "" || len(state) > 256 {
		return nil, nil, errGone
	}
	back, err := tenancy.UpstreamLogins.Get(ctx, tenancy.HashToken(state))
	if err != nil {
		return nil, nil, orGone(err)
	}
	if back.ExpiresAt <= tenancy.At(p.now()) {
		return nil, nil, errGone
	}
	here := r.Clone(ctx)
	here.URL.RawQuery = url.Values{"state": {back.Keeps[tenancy.UpstreamState]}}.Encode()
	s, err := p.begin(w, here)
	if err != nil {
		return nil, nil, err
	}
	return back, s, orGone(tenancy.UpstreamLogins.Delete(ctx, back.ID))
}

// refusedUpstream ends the login with what the provider says (contract C4.31).
func (s *step) refusedUpstream(c offered, answer url.Values) error {
	reason := upstream.Plain(cmp.Or(answer.Get("error_description"), answer.Get("error")), 200)
	e := s.event("f", "The identity provider refused: "+upstream.Plain(answer.Get("error"), 40), c.Name)
	s.pages.record(s.ctx, e)
	return s.store(func(ls *tenancy.LoginSession) { ls.Denied, ls.DeniedReason = true, reason })
}

// arrive finds out who came back, and logs them in.
func (s *step) arrive(c offered, back *tenancy.UpstreamLogin, answer url.Values) error {
	id, err := s.identify(c, back, answer)
	if err != nil {
		return s.upstreamFailed(c, err)
	}
	return s.logInUpstream(c, id)
}

func (s *step) identify(c offered, back *tenancy.UpstreamLogin, answer url.Values) (*upstream.Identity, error) {
	if answer.Get("code") == "" {
		return nil, errors.New("the provider answered without a code")
	}
	o, err := c.EffectiveOptions(s.ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, identifying)
	defer cancel()
	provider, err := s.pages.upstream.Client.Provider(ctx, c.Strategy, o)
	if err != nil {
		return nil, err
	}
	if !provider.IsIssuer(answer.Get("iss")) {
		return nil, errors.New("another provider answered")
	}
	return provider.Identify(ctx, upstream.Transaction{
		RedirectURI: back.RedirectURI, Nonce: back.Keeps[tenancy.UpstreamNonce], Verifier: back.Keeps[tenancy.UpstreamVerifier],
	}, answer.Get("code"))
}

// upstreamFailed is the page of a login elsewhere that did not work; why is for the
// log. A failure of this house's own database is that failure.
func (s *step) upstreamFailed(c offered, err error) error {
	var own *tenancy.Error
	if errors.As(err, &own) || errors.Is(err, tenancy.ErrUnavailable) {
		return err
	}
	s.pages.logger.WarnContext(s.ctx, "login through an identity provider failed",
		slog.String("connection", c.ID), slog.String("strategy", c.Strategy), slog.Any("error", err))
	s.pages.record(s.ctx, s.event("f", "Login through the identity provider failed: "+upstream.Plain(err.Error(), 200), c.Name))
	return &failure{
		Status: http.StatusBadGateway, Title: "Logging in there did not work",
		Message: "The identity provider did not confirm who you are. Try again, or log in another way.",
		Return:  s.login(),
	}
}
