package tenancy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// A tenant's rows in a file are JSON lines: a head, a line per row, and an end
// that says what the file holds, so that one that was cut off is noticed.

// fileHead is the first line.
type fileHead struct {
	Format  string              `json:"format"`
	Version int                 `json:"version"`
	Schema  int64               `json:"schema"` // version of the migrations
	Tenant  string              `json:"tenant"`
	At      Time                `json:"at"`
	Tables  map[string][]string `json:"tables"` // the columns of each, in the order they are hashed in

	// Registry is, in a backup, the tenant's registry row as it is stored.
	Registry map[string]json.RawMessage `json:"registry,omitempty"`

	// Linked are, in a backup, the tables with what the control plane has of the
	// tenant, as in Tables.
	Linked map[string][]string `json:"linked,omitempty"`

	// Profile is, in an export, what of the registry goes with the tenant, and
	// Secrets whether hashes, keys and secrets are in it.
	Profile *fileProfile `json:"profile,omitempty"`
	Secrets bool         `json:"secrets,omitempty"`
}

// names are those of all tables in the file.
func (h *fileHead) names() []string {
	return slices.Concat(slices.Collect(maps.Keys(h.Tables)), slices.Collect(maps.Keys(h.Linked)))
}

// fileProfile is what an export tells of the registry row.
type fileProfile struct {
	FriendlyName string            `json:"friendly_name"`
	Audience     string            `json:"audience"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Inheritance  Inheritance       `json:"inheritance"`
	Sync         SyncSwitches      `json:"sync"`
}

// fileLine is every other line: a row, or the end.
type fileLine struct {
	Table string                     `json:"table,omitempty"`
	Row   map[string]json.RawMessage `json:"row,omitempty"`
	End   *fileEnd                   `json:"end,omitempty"`
}

// fileEnd is the last line.
type fileEnd struct {
	Sums   map[string]Sum `json:"sums"`
	SHA256 string         `json:"sha256"` // of all lines before this one
}

// fileWriter writes rows in the order they come. It is used by one goroutine.
type fileWriter struct {
	w      *bufio.Writer
	hash   hash.Hash
	sums   map[string]Sum
	line   bytes.Buffer
	buffer bytes.Buffer
}

func newFileWriter(w io.Writer, head *fileHead) (*fileWriter, error) {
	f := &fileWriter{hash: sha256.New(), sums: make(map[string]Sum)}
	f.w = bufio.NewWriterSize(io.MultiWriter(w, f.hash), 1<<16)
	for _, name := range head.names() {
		f.sums[name] = Sum{}
	}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	_, err = f.w.Write(append(b, '\n'))
	return f, err
}

// row writes a row of the table.
func (f *fileWriter) row(t *rawTable, r rawRow) error {
	sum := f.sums[t.Name]
	sum.add(t.hash(r, &f.buffer))
	f.sums[t.Name] = sum
	f.line.Reset()
	fmt.Fprintf(&f.line, `{"table":%q,"row":{`, t.Name)
	for i, c := range t.Columns {
		if i > 0 {
			f.line.WriteByte(',')
		}
		fmt.Fprintf(&f.line, `%q:`, c.Name)
		b, err := json.Marshal(portable(r[i]))
		if err != nil {
			return err
		}
		f.line.Write(b)
	}
	f.line.WriteString("}}\n")
	_, err := f.w.Write(f.line.Bytes())
	return err
}

// portable is v as JSON can hold it: text that is no UTF-8 is wrapped.
func portable(v any) any {
	if s, ok := v.(string); ok && !utf8.ValidString(s) {
		return map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte(s))}
	}
	return v
}

// close writes the end.
func (f *fileWriter) close() error {
	if err := f.w.Flush(); err != nil {
		return err
	}
	b, err := json.Marshal(fileLine{End: &fileEnd{f.sums, hex.EncodeToString(f.hash.Sum(nil))}})
	if err != nil {
		return err
	}
	if _, err := f.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return f.w.Flush()
}

// errBroken is what a file is refused with that is not whole.
func errBroken(format string, args ...any) error {
	return &Error{
		Status: http.StatusBadRequest, Code: "invalid_file", Message: "The file is not whole: " + fmt.Sprintf(format, args...),
		Hint: "take another copy of it; nothing was changed",
	}
}

// fileReader reads what fileWriter wrote, and refuses everything else.
type fileReader struct {
	r      *bufio.Reader
	hash   hash.Hash
	head   fileHead
	tables map[string]*rawTable // restricted to the columns in the file
	order  []rawTable
	sums   map[string]Sum
	buffer bytes.Buffer
}

const fileLineLimit = 64 << 20 // bytes; far beyond what a row holds

func newFileReader(r io.Reader, format string) (*fileReader, error) {
	f := &fileReader{r: bufio.NewReaderSize(r, 1<<16), hash: sha256.New(), tables: make(map[string]*rawTable), sums: make(map[string]Sum)}
	line, err := f.next()
	if err != nil {
		return nil, err
	}
	f.hash.Write(line)
	if err := json.Unmarshal(line, &f.head); err != nil || f.head.Format != format {
		return nil, Errorf(http.StatusBadRequest, "invalid_file", "The file is no %s", format)
	}
	switch {
	case f.head.Version != 1, f.head.Schema > migrations.Version:
		return nil, &Error{
			Status: http.StatusConflict, Code: "newer_file",
			Message: fmt.Sprintf("The file has schema version %d; this program knows %d", f.head.Schema, migrations.Version),
			Hint:    "use the program that wrote it, or a newer one",
		}
	case f.head.Tenant == "":
		return nil, errBroken("it names no tenant")
	}
	return f, f.layout()
}

// layout takes from the tables of this program those columns the file has.
func (f *fileReader) layout() error {
	for _, t := range rawTables() {
		columns, ok := f.head.Tables[t.Name]
		if !ok {
			continue
		}
		t, err := t.with(columns)
		if err != nil {
			return err
		}
		f.order = append(f.order, t)
	}
	for i := range f.order {
		f.tables[f.order[i].Name] = &f.order[i]
	}
	for _, l := range linkedTables() {
		if columns, ok := f.head.Linked[l.Name]; ok {
			t, err := l.with(columns)
			if err != nil {
				return err
			}
			f.tables[t.Name] = &t
		}
	}
	if len(f.order) != len(f.head.Tables) || len(f.tables) != len(f.head.names()) {
		return errBroken("it has tables that are not known")
	}
	return nil
}

// with returns the table with these of its columns, in this order.
func (t rawTable) with(columns []string) (rawTable, error) {
	all := t.Columns
	t.Columns = nil
	for _, name := range columns {
		i := slices.IndexFunc(all, func(c migrations.Column) bool { return c.Name == name })
		if i < 0 {
			return t, errBroken("table %s has a column %q that is not known", t.Name, name)
		}
		t.Columns = append(t.Columns, all[i])
	}
	if !slices.Contains(t.Columns, t.Key) {
		return t, errBroken("table %s has no key", t.Name)
	}
	return t.arranged(), nil
}

func (f *fileReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := f.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(line) < fileLineLimit:
		case errors.Is(err, io.EOF):
			return nil, errBroken("it ends early")
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, errBroken("a line is too long")
		default:
			return nil, fmt.Errorf("reading the file: %w", err)
		}
	}
}

// row returns the next row, or a nil table at a good end.
func (f *fileReader) row() (*rawTable, rawRow, error) {
	line, err := f.next()
	if err != nil {
		return nil, nil, err
	}
	var l fileLine
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, nil, errBroken("a line is no JSON")
	}
	if l.End != nil {
		return nil, nil, f.end(l.End)
	}
	f.hash.Write(line)
	t := f.tables[l.Table]
	if t == nil {
		return nil, nil, errBroken("a row is of the unknown table %q", l.Table)
	}
	r := make(rawRow, len(t.Columns))
	for i, c := range t.Columns {
		if r[i], err = fromFile(c, l.Row[c.Name]); err != nil {
			return nil, nil, errBroken("table %s: %v", t.Name, err)
		}
	}
	sum := f.sums[t.Name]
	sum.add(t.hash(r, &f.buffer))
	f.sums[t.Name] = sum
	return t, r, nil
}

func fromFile(c migrations.Column, raw json.RawMessage) (any, error) {
	var err error
	switch c.Type {
	case migrations.Text:
		var s string
		if err = json.Unmarshal(raw, &s); err == nil {
			return s, nil
		}
		var wrapped struct{ Base64 []byte }
		if err = json.Unmarshal(raw, &wrapped); err == nil {
			return string(wrapped.Base64), nil
		}
	case migrations.Bigint:
		var n int64
		if err = json.Unmarshal(raw, &n); err == nil {
			return n, nil
		}
	case migrations.Boolean:
		var b bool
		if err = json.Unmarshal(raw, &b); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("column %s: %w", c.Name, err)
}

// end compares what was read with what was written.
func (f *fileReader) end(e *fileEnd) error {
	if got := hex.EncodeToString(f.hash.Sum(nil)); got != e.SHA256 {
		return errBroken("its checksum is %s instead of %s", got, e.SHA256)
	}
	for _, name := range f.head.names() {
		if f.sums[name] != e.Sums[name] {
			return errBroken("table %s has %d rows instead of %d, or others", name, f.sums[name].Rows, e.Sums[name].Rows)
		}
	}
	if _, err := f.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errBroken("something follows its end")
	}
	return nil
}

// check reads to the end without keeping anything.
func (f *fileReader) check() error {
	for {
		if t, _, err := f.row(); err != nil || t == nil {
			return err
		}
	}
}
