package tenancy

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
)

// picture reads all rows of the entered tenant as they were at one moment, while
// others write. Where the database cannot be read at a moment, it is read again
// until two readings agree: then every row was so between the two.
type picture struct {
	tables   []rawTable
	progress func(Progress)
	step     string

	// begin is called before each reading and returns what takes its rows.
	begin func() (func(*rawTable, rawRow) error, error)

	// pulse may end the work; it is called now and then.
	pulse func() error
}

const readings = 6 // until it is given up

func (p *picture) take(inside context.Context) error {
	s, err := spaceOf(inside)
	if err != nil {
		return err
	}
	from := &rawSource{s.entry.db, s.entry.engine.rebind, s.tenant.ID}
	if db, ok := s.entry.db.(SnapshotDatabase); ok {
		snapshot, err := db.Snapshot(inside)
		if err != nil {
			return err
		}
		from.db = snapshot
		_, err = p.read(inside, from, true)
		return errors.Join(err, snapshot.Close())
	}
	var before map[string]Sum
	for range readings {
		sums, err := p.read(inside, from, true)
		if err != nil {
			return err
		}
		if before, err = p.read(inside, from, false); err != nil {
			return err
		}
		if maps.Equal(sums, before) {
			return nil
		}
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "too_busy", Message: "The tenant changes too fast to be read whole",
		Hint: "try again when there is less load, or suspend the tenant meanwhile", Header: map[string]string{"Retry-After": "60"},
	}
}

// read goes through all tables once, and hands the rows on where that is wanted.
func (p *picture) read(ctx context.Context, from *rawSource, hand bool) (map[string]Sum, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	take := func(*rawTable, rawRow) error { return nil }
	var err error
	if hand {
		if take, err = p.begin(); err != nil {
			return nil, err
		}
	}
	state := Progress{Step: p.step}
	for i := range p.tables {
		n, err := from.count(ctx, &p.tables[i])
		if err != nil {
			return nil, err
		}
		state.Total += n
	}
	sums := make(map[string]Sum, len(p.tables))
	var buffer bytes.Buffer
	for i := range p.tables {
		t := &p.tables[i]
		state.Table = t.Name
		var sum Sum
		rows := from.read(ctx, t)
		for {
			row, err := rows.peek()
			if err != nil {
				return nil, err
			}
			if row == nil {
				break
			}
			sum.add(t.hash(row, &buffer))
			if err := take(t, row); err != nil {
				return nil, err
			}
			rows.skip()
			if state.Done++; state.Done%rawPage == 0 {
				if err := p.tell(state); err != nil {
					return nil, err
				}
			}
		}
		state.Bytes += rows.bytes
		sums[t.Name] = sum
	}
	state.Table = ""
	return sums, p.tell(state)
}

func (p *picture) tell(state Progress) error {
	if p.progress != nil {
		p.progress(state)
	}
	if p.pulse != nil {
		return p.pulse()
	}
	return nil
}

// columnsOf lists the columns of tables, as a file's head names them.
func columnsOf(tables []rawTable) map[string][]string {
	all := make(map[string][]string, len(tables))
	for _, t := range tables {
		names := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			names[i] = c.Name
		}
		all[t.Name] = names
	}
	return all
}
