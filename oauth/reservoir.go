package oauth

import (
	"context"
	"sync"
	"time"
)

// Reservoir makes RSA keys ahead in the background, so that whoever needs one
// rarely waits. Its zero value is usable and makes each key when it is asked
// for; it must not be copied.
//
// Start and Stop may be called any number of times in any order.
type Reservoir struct {
	// Size is how many keys are kept. Default 8. It must not change after the
	// first use.
	Size int

	once sync.Once
	keys chan *material

	mu     sync.Mutex
	cancel context.CancelFunc // nil while stopped
	done   chan struct{}
}

func (r *Reservoir) channel() chan *material {
	r.once.Do(func() {
		size := r.Size
		if size <= 0 {
			size = 8
		}
		r.keys = make(chan *material, size)
	})
	return r.keys
}

// Start fills the reservoir, one key at a time, and keeps it full. It rests after
// each key as long as the key took, so that it never takes more than half a
// processor from the requests.
func (r *Reservoir) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.cancel, r.done = cancel, done
	keys := r.channel()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			key, err := newMaterial("RS256")
			if err != nil {
				return // no randomness: Take finds out too, and says so
			}
			took := time.Since(began)
			select {
			case keys <- key:
			case <-ctx.Done():
			}
			select {
			case <-time.After(took):
			case <-ctx.Done():
			}
		}
	}()
}

// Stop ends the background work and returns when its goroutine is gone. Keys
// already made stay.
func (r *Reservoir) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel == nil {
		return
	}
	r.cancel()
	<-r.done
	r.cancel, r.done = nil, nil
}

// Ready is how many keys are there to be taken.
func (r *Reservoir) Ready() int { return len(r.channel()) }

// Take returns a key, one that is ready or a new one. No key is returned twice.
func (r *Reservoir) Take(ctx context.Context) (*material, error) {
	select {
	case key := <-r.channel():
		return key, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return newMaterial("RS256")
}

// Await returns a key that was made ahead, waiting for it. It makes none itself:
// it is for whoever has time.
func (r *Reservoir) Await(ctx context.Context) (*material, error) {
	select {
	case key := <-r.channel():
		return key, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
