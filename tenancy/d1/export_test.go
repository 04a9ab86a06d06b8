package d1

import "time"

// Hurry bounds how long answers are waited for, and their length to 1 MiB.
func (p *Provider) Hurry(d time.Duration) {
	r := p.ready()
	r.Limits.ReadTime, r.Limits.BatchTime = d, d
	r.Server.(*server).api.limit = 1 << 20
}
