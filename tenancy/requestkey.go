package tenancy

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// RequestKey is the Idempotency-Key of a request, with what became of the request
// (contract C5.14). It lives for [RequestKeyLife] in the tenant that was acted on,
// under an id made of the caller, the route and the key.
//
// A request that begins an operation spends its key in the batch that records the
// operation, see [WithRequestKey]: of two with the same key one begins something,
// also where several processes are at it, and whoever comes after an end of the
// process knows from the key whether there was an effect.
type RequestKey struct {
	Row
	Request     string            // hash of what was asked for
	OperationID string            // what was begun; "" for nothing so far
	Status      int64             // HTTP status of the answer; 0 until there is one
	Header      map[string]string `gorm:"serializer:jsontext"` // of the answer
	Body        []byte            `gorm:"serializer:sealed"`   // the same
	ExpiresAt   Time
}

// RequestKeys is their table.
var RequestKeys = newTable[RequestKey]("request_keys")

// RequestKeyLife is for how long a key stands for its request.
const RequestKeyLife = 24 * time.Hour

// TakeRequestKey returns the key with the id, which it makes where there is none.
// A key that stands for another request is 409 idempotency_conflict.
func TakeRequestKey(inside context.Context, id, request string) (*RequestKey, error) {
	for {
		now := At(time.Now())
		fresh := &RequestKey{Row: Row{ID: id}, Request: request, ExpiresAt: now.Add(RequestKeyLife)}
		k, err := RequestKeys.Get(inside, id)
		switch {
		case errors.Is(err, ErrNotFound):
			err = RequestKeys.Create(inside, fresh)
		case err != nil:
		case k.ExpiresAt <= now:
			err = Commit(inside, RequestKeys.RemoveWhere(inside, "id = ? AND revision = ?", id, k.Revision).Once(), RequestKeys.Insert(inside, fresh))
		case k.Request != request:
			return nil, Errorf(http.StatusConflict, "idempotency_conflict", "This Idempotency-Key was used for another request")
		default:
			return k, nil
		}
		if !errors.Is(err, ErrConflict) {
			return fresh, err
		}
		if err := inside.Err(); err != nil { // else somebody else was faster
			return nil, err
		}
	}
}

// spending is a request that holds a key.
type spending struct {
	key       *RequestKey
	operation atomic.Value // string: what the request would begin, or has begun
}

func (s *spending) began() string {
	id, _ := s.operation.Load().(string)
	return id
}

type spendingKey struct{}

func spendingOf(ctx context.Context) *spending {
	s, _ := ctx.Value(spendingKey{}).(*spending)
	return s
}

// WithRequestKey returns a context in which the first operation that is begun
// spends the key: it is recorded if no other request did, and else nothing of its
// batch is written, which is [ErrStale].
func WithRequestKey(ctx context.Context, k *RequestKey) context.Context {
	s := &spending{key: k}
	s.operation.Store(k.OperationID)
	return context.WithValue(ctx, spendingKey{}, s)
}

// spendKey is the statement that spends the context's key, if it has one, for an
// operation.
func spendKey(inside context.Context, operation string) []Stmt {
	s := spendingOf(inside)
	if s == nil {
		return nil
	}
	if s.key.OperationID == "" {
		s.operation.Store(operation)
	}
	return []Stmt{SQL(inside, `UPDATE request_keys SET operation_id = ?, revision = revision + 1 WHERE tenant_id = @tenant AND id = ?
		AND operation_id = '' AND status = 0`, operation, s.key.ID).Once()}
}

// AnswerKey is the statement that keeps the answer to the request whose key the
// context holds, if any, for the batch that makes the answer true. Where another
// request with the key was faster, nothing of the batch is written ([ErrStale]).
func AnswerKey(inside context.Context, status int, body []byte) []Stmt {
	s := spendingOf(inside)
	if s == nil {
		return nil
	}
	k := *s.key
	k.Status, k.Body = int64(status), body
	return []Stmt{RequestKeys.Replace(inside, &k)}
}

// KeepAnswer keeps the answer to the request whose key the context holds, unless
// there is one, or the key was spent by another request meanwhile.
func KeepAnswer(inside context.Context, status int, header map[string]string, body []byte) error {
	s := spendingOf(inside)
	if s == nil {
		return nil
	}
	_, err := RequestKeys.Update(inside, s.key.ID, func(k *RequestKey) error {
		if k.Status != 0 || k.OperationID != "" && k.OperationID != s.began() {
			return ErrUnchanged
		}
		k.Status, k.Header, k.Body = int64(status), header, body
		return nil
	})
	return ignoreMissing(err)
}

// SpentBefore returns the key that the context holds as it is now, where another
// request with it was faster: it has an answer, or has begun an operation. Else the
// result is nil.
func SpentBefore(inside context.Context) (*RequestKey, error) {
	s := spendingOf(inside)
	if s == nil {
		return nil, nil
	}
	k, err := RequestKeys.Get(inside, s.key.ID)
	if err != nil || k.Status == 0 && (k.OperationID == "" || k.OperationID == s.began()) {
		return nil, ignoreMissing(err)
	}
	return k, nil
}
