package tenancy

// PushedRequest is an authorization request that a client sent ahead, behind the
// browser's back (RFC 9126). Row.ID is the hash of the random part of the
// request_uri that it is known by. It is used once, by a conditional update that
// must affect this one row.
type PushedRequest struct {
	Row
	ClientID   string
	Request    map[string]string `gorm:"serializer:jsontext"` // the parameters; forgotten once used
	ConsumedAt Time              // 0 while it can be used
	ExpiresAt  Time
}

// PushedRequests is the table of pushed authorization requests.
var PushedRequests = newTable[PushedRequest]("pushed_requests")
