package caddymodule

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// benchFigure is what one thing took. Times are milliseconds.
type benchFigure struct {
	What      string  `json:"what"`
	Placement string  `json:"placement,omitempty"` // "" for what no database takes part in
	Times     int     `json:"times"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	PerSecond float64 `json:"per_second"` // one after the other
}

// benchTimes is how often each thing is done.
type benchTimes struct {
	tenants, rounds int
	passwords       int // hashes take long
}

// benchMark is what a benchmark measures with, inside the process: no network and
// no TLS are in its figures.
type benchMark struct {
	*services
	times  benchTimes
	report func(progress)

	figures []benchFigure
}

// measure does something so often, one after the other, and notes down how long
// each time took. Once is not counted: what is prepared at the first time is.
func (b *benchMark) measure(ctx context.Context, what, placement string, times int, f func() error) error {
	step := what
	if placement != "" {
		step += " in " + placement
	}
	took := make([]time.Duration, 0, times)
	for i := range times + 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
		if i > 0 {
			took = append(took, time.Since(began))
		}
		b.report(progress{step, int64(i), int64(times)})
	}
	b.note(what, placement, took)
	return nil
}

func (b *benchMark) note(what, placement string, took []time.Duration) {
	slices.Sort(took)
	var all time.Duration
	for _, d := range took {
		all += d
	}
	at := func(share float64) float64 { return milliseconds(took[int(math.Ceil(share*float64(len(took))))-1]) }
	b.figures = append(b.figures, benchFigure{
		What: what, Placement: placement, Times: len(took), P50: at(0.5), P99: at(0.99),
		PerSecond: math.Round(10*float64(len(took))/all.Seconds()) / 10,
	})
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// hashes measures what a login costs the processors: a password's hash as it is
// made here, and as it comes with imported users.
func (b *benchMark) hashes(ctx context.Context) error {
	const password = "a password that nobody has"
	err := b.measure(ctx, "password, argon2id", "", b.times.passwords, func() error {
		_, err := tenancy.HashPassword(ctx, password)
		return err
	})
	if err != nil {
		return err
	}
	imported, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	return b.measure(ctx, "password, bcrypt 10", "", b.times.passwords, func() error {
		return bcrypt.CompareHashAndPassword(imported, []byte(password))
	})
}

// The rows that a benchmark has of its own, in a tenant of its own.
const (
	benchAPI      = "urn:gatehouse:bench"
	benchClient   = "bench"
	benchUser     = "auth0|bench"
	benchEmail    = "bench@example.invalid"
	benchPassword = "known to everybody, in a tenant that is gone soon"
)

// furnish fills a tenant with what is measured. It returns the client's secret.
func furnish(ctx context.Context, algs []string) (secret string, err error) {
	secret = tenancy.NewToken()
	hash, err := tenancy.HashSecret(ctx, secret)
	if err != nil {
		return "", err
	}
	row := func(id string) tenancy.Row { return tenancy.Row{ID: id} }
	stmts := []tenancy.Stmt{
		tenancy.Clients.Insert(ctx, &tenancy.Client{
			Row: row(benchClient), Name: "Benchmark", AppType: "regular_web", IsFirstParty: true, SecretHash: hash, Secret: secret,
			TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"client_credentials"},
		}),
		tenancy.Users.Insert(ctx, &tenancy.User{Row: row(benchUser), Connection: "Username-Password-Authentication", Email: benchEmail}),
	}
	for _, alg := range algs {
		stmts = append(stmts,
			tenancy.ResourceServers.Insert(ctx, &tenancy.ResourceServer{
				Row: row("bench" + alg), Name: "Benchmark " + alg, Identifier: benchAPI + ":" + alg, SigningAlg: alg, TokenLifetime: 60, TokenDialect: tenancy.DialectRFC9068,
			}),
			tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{Row: row("cgr_bench" + alg), ClientID: benchClient, Audience: benchAPI + ":" + alg}))
	}
	passwords, err := tenancy.SetPassword(ctx, benchUser, benchPassword)
	if err != nil {
		return "", err
	}
	return secret, tenancy.Commit(ctx, append(stmts, passwords...)...)
}

// tenant measures what goes on inside a tenant.
func (b *benchMark) tenant(ctx context.Context, t *tenancy.Tenant, algs []string) error {
	issuer := b.issuersOf(t)[0]
	u, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	ctx = tenancy.WithVisit(ctx, &tenancy.Visit{Issuer: issuer, Host: u.Hostname(), RequestID: "bench"})
	return b.pool.Do(ctx, t, func(ctx context.Context) error {
		secret, err := furnish(ctx, algs)
		if err != nil {
			return err
		}
		if err := b.database(ctx, t.Placement); err != nil {
			return err
		}
		for _, alg := range algs {
			if err := b.measure(ctx, "token, "+alg, t.Placement, b.times.rounds, func() error { return b.token(ctx, secret, alg) }); err != nil {
				return err
			}
		}
		return b.measure(ctx, "password check of a login", t.Placement, b.times.passwords, func() error {
			_, err := tenancy.CheckPassword(ctx, benchUser, benchPassword)
			return err
		})
	})
}

// database measures reads that no memory answers, and durable writes.
func (b *benchMark) database(ctx context.Context, placement string) error {
	err := b.measure(ctx, "read a row", placement, b.times.rounds, func() error {
		_, err := tenancy.Users.Get(ctx, benchUser)
		return err
	})
	if err != nil {
		return err
	}
	return b.measure(ctx, "write a row", placement, b.times.rounds, func() error {
		_, err := tenancy.Users.Update(ctx, benchUser, func(u *tenancy.User) error {
			u.LoginsCount++
			return nil
		})
		return err
	})
}

// token asks the token endpoint as a program would.
func (b *benchMark) token(ctx context.Context, secret, alg string) error {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {benchClient}, "client_secret": {secret}, "audience": {benchAPI + ":" + alg}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, tenancy.VisitOf(ctx).Issuer+"oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := &overheard{header: http.Header{}}
	b.oauth.ServeHTTP(w, r)
	switch w.status {
	case http.StatusOK:
		return nil
	case http.StatusTooManyRequests:
		return &tenancy.Error{
			Status: w.status, Code: "too_many_requests", Message: "The tenant's rate limit was reached",
			Hint: "do it less often: " + commandLine("bench --rounds 50"),
		}
	}
	return fmt.Errorf("the token endpoint answered %d %s", w.status, w.body.String())
}

// processors is how many the process may use.
func processors() int { return goruntime.GOMAXPROCS(0) }
