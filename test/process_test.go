package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program builds the gateway once per test process and returns its path.
func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "gatehouse-program-"); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "gatehouse")
		if out, err := exec.Command("go", "build", "-o", built.path, "../caddymodule/gatehouse").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

var built struct {
	once sync.Once
	path string
	err  error
}

// process is a gateway in a process of its own, which can be measured and killed.
type process struct {
	*gateway
	cmd    *exec.Cmd
	output *lockedBuffer
	done   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startProcess runs the program with a Caddyfile and waits until it answers on
// the port. The process ends with the test.
func startProcess(t testing.TB, g gateway, caddyfile string) *process {
	t.Helper()
	p := launch(t, g, caddyfile)
	deadline := time.Now().Add(time.Minute) // a disk that is busy with other files
	for {
		if p.answers() {
			return p
		}
		select {
		case <-p.done:
			t.Fatalf("the gateway ended: %s", p.output)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not answer: %s", p.output)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// launch runs the program with a Caddyfile and waits for nothing.
func launch(t testing.TB, g gateway, caddyfile string) *process {
	t.Helper()
	g.http = loopbackClient()
	path := filepath.Join(g.dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{gateway: &g, output: new(lockedBuffer), done: make(chan struct{})}
	binary := g.binary
	if binary == "" {
		binary = program(t)
	}
	p.cmd = exec.Command(binary, "run", "--adapter", "caddyfile", "--config", path)
	p.cmd.Env = append(append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir), g.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	t.Cleanup(func() { p.stop(t) })
	return p
}

func (p *process) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.issuer("")+".well-known/openid-configuration", nil)
	if err != nil {
		return false
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the process as an operator would, and insists after a while: requests
// and copies under way have Caddy's grace period and then a drain of their own.
func (p *process) stop(t testing.TB) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		t.Errorf("the gateway does not end: %s", p.output)
		p.kill()
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// cpu is the processor time the process has used.
func (p *process) cpu(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}

// rss is the process's resident memory in MiB.
func (p *process) rss(t testing.TB) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// tlsOf returns the certificate that a host is served with.
func (g *gateway) tlsOf(t testing.TB, host string) (*tls.ConnectionState, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return &state, nil
}
