package oauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// complete gives the client its answer from a live session. The batch holds only
// while the session does, so that one that is being ended gives out nothing.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, a *authorization, p *person, allowance *Allowance) error {
	ctx := r.Context()
	used, err := s.useSession(ctx, p.session, a)
	if err != nil {
		return err
	}
	list, err := s.answer(ctx, a, p, allowance, used)
	if err != nil {
		return err
	}
	s.recordSuccess(ctx, a, p, allowance)
	a.to.deliver(w, r, list...)
	return nil
}

// grant is what the code stands for.
func (a *authorization) grant(p *person, allowance *Allowance) codeGrant {
	return codeGrant{
		Client: a.client, User: p.user, Session: p.session, Allowance: allowance, Requested: a.scope,
		RedirectURI: a.params["redirect_uri"], Challenge: a.params["code_challenge"], Nonce: a.params["nonce"], Claims: a.claims.IDToken,
	}
}

// completed is the statement that a login ends by, exactly once: it misses its
// row when another request completed the login or a page changed it meanwhile.
// What was asked is forgotten with it.
func (s *Server) completed(ctx context.Context, l *tenancy.LoginSession) tenancy.Stmt {
	now := tenancy.At(s.now())
	return tenancy.SQL(ctx, `UPDATE login_sessions SET completed_at = ?, updated_at = ?, revision = revision + 1, request = 'null'
		WHERE tenant_id = @tenant AND id = ? AND revision = ? AND completed_at = 0`, now, now, l.ID, l.Revision).Once()
}

// abandon ends a login that nobody has been logged in by, with an error for the
// client. Faults of ours leave it open.
func (s *Server) abandon(w http.ResponseWriter, r *http.Request, a *authorization, l *tenancy.LoginSession, cause error) error {
	if e := told(r.Context(), cause); e.internal() {
		return cause
	}
	if err := tenancy.Commit(r.Context(), s.completed(r.Context(), l)); err != nil {
		return err
	}
	return s.answerError(w, r, a, cause)
}

// finish ends a login by logging the person in, and tells the client: what
// it asked for where it was allowed, the refusal otherwise. The session is there in both
// cases, because who the person is does not depend on what the client may do
// (contract C2.36). All is one batch.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, a *authorization, l *tenancy.LoginSession, by *proof, allowance *Allowance, refused error) error {
	ctx := r.Context()
	if refused != nil && told(ctx, refused).internal() {
		return refused
	}
	p := &person{session: by.session, user: by.user}
	var cookie string
	var list []parameter
	var kept []tenancy.Stmt
	var err error
	if by.fresh {
		if p.session, cookie, err = s.logIn(ctx, l, a, by.session); err == nil {
			kept, err = storeSession(ctx, p.session, by.session)
		}
	} else {
		kept, err = s.useSession(ctx, p.session, a)
	}
	if err != nil {
		return err
	}
	stmts := append([]tenancy.Stmt{s.completed(ctx, l)}, kept...)
	if refused != nil {
		err = tenancy.Commit(ctx, stmts...)
	} else {
		list, err = s.give(ctx, a, l, p, allowance, stmts)
	}
	if err != nil {
		return err
	}
	if cookie != "" {
		setSessionCookie(ctx, w, cookie, s.cookieLifetime(p.session))
	}
	if refused != nil {
		return s.answerError(w, r, a, refused)
	}
	if !by.fresh {
		s.recordSuccess(ctx, a, p, allowance)
	}
	if a.device != nil {
		redirect(w, r, pathActivate+"?result=connected")
		return nil
	}
	a.to.deliver(w, r, list...)
	return nil
}

// give gives the client what a login was for, with further statements: a device
// its approval, everybody else the answer to the request.
func (s *Server) give(ctx context.Context, a *authorization, l *tenancy.LoginSession, p *person, allowance *Allowance, stmts []tenancy.Stmt) (list []parameter, err error) {
	if l.Approved {
		recorded, err := consent(ctx, a.client, p.user, allowance)
		if err != nil {
			return nil, err
		}
		stmts = append(stmts, recorded...)
		defer func() {
			if errors.Is(err, tenancy.ErrConflict) { // another tab consented first
				err = tenancy.ErrStale
			}
		}()
	}
	if a.device == nil {
		return s.answer(ctx, a, p, allowance, stmts)
	}
	approved, err := s.approveDevice(ctx, a, p, allowance)
	if err != nil {
		return nil, err
	}
	return nil, tenancy.Commit(ctx, append(stmts, approved)...)
}
