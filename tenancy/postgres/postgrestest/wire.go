package postgrestest

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Wire is a network between programs and a server that a test puts in trouble. Its
// methods are safe for concurrent use.
type Wire struct {
	dsn      *url.URL
	server   string
	listener net.Listener
	ended    atomic.Int64

	mu    sync.Mutex
	down  bool
	delay time.Duration
	lose  int           // answers that are yet to be lost
	held  chan struct{} // closed when data gets through again; nil while it does
	open  map[net.Conn]bool
}

// NewWire leads to the server of a connection string that [DSN] returned. It ends
// with the test.
func NewWire(t testing.TB, dsn string) *Wire {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{dsn: u, server: u.Host, listener: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.Release(); w.Down() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	return w
}

// DSN is the connection string that leads over the wire.
func (w *Wire) DSN() string {
	u := *w.dsn
	u.Host = w.listener.Addr().String()
	return u.String()
}

// Cut ends all connections at once, whatever is on its way. New ones can be made.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
	}
}

// Down ends all connections, and lets nobody make one until [Wire.Up].
func (w *Wire) Down() {
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	w.Cut()
}

// Up ends what Down, Delay and Hold began, and lets no more answers be lost.
func (w *Wire) Up() {
	w.mu.Lock()
	w.down, w.delay, w.lose = false, 0, 0
	w.mu.Unlock()
	w.Release()
}

// Delay has everything take so long, in both directions.
func (w *Wire) Delay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

// LoseAnswers has the next n answers of the server dropped, and their connections
// end: what was asked is done, and nobody hears of it.
func (w *Wire) LoseAnswers(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose = n
}

// Hold lets nothing through until [Wire.Release]; nothing is lost.
func (w *Wire) Hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = make(chan struct{})
	}
}

// Release ends Hold.
func (w *Wire) Release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
}

// Ended is how many connections have ended, and were not closed by the programs.
func (w *Wire) Ended() int64 { return w.ended.Load() }

func (w *Wire) serve(client net.Conn) {
	defer client.Close()
	w.mu.Lock()
	if w.down {
		w.mu.Unlock()
		return
	}
	w.open[client] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, client)
	}()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer server.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.pump(server, client, false)
		_ = server.Close()
	}()
	if !w.pump(client, server, true) {
		w.ended.Add(1)
	}
	_ = client.Close()
	<-over
}

// pump carries data until one of the ends closes. It reports whether the server
// did, as it does when the program has said good-bye.
func (w *Wire) pump(to, from net.Conn, answers bool) bool {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		w.mu.Lock()
		delay, held := w.delay, w.held
		lost := answers && w.lose > 0
		if lost {
			w.lose--
		}
		w.mu.Unlock()
		if lost {
			return false
		}
		if held != nil {
			<-held
		}
		if delay > 0 {
			<-time.After(delay)
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return false
		}
	}
}
