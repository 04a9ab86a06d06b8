// Package migrations holds the schema of a tenant's database: one numbered SQL
// file per version, the same for every engine. A version may only add, so that
// the program of the version before still runs on it.
package migrations

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// FS holds the files, in the form that goose (github.com/pressly/goose) reads too.
//
//go:embed *.sql
var FS embed.FS

// Version is the newest version in FS.
const Version = 1

// Migration is one numbered file.
type Migration struct {
	Version int64
	Script  string   // its statements, which name tables without a schema
	Tables  []string // that it makes
}

// Statements returns the script's statements one by one.
func (m Migration) Statements() []string { return Split(m.Script) }

// List is all migrations in order: that of version 1 first, none missing.
type List []Migration

// All returns the migrations in [FS]. That these can be read is a fact of the
// program, held by a test.
var All = sync.OnceValue(func() List {
	l, err := Read(FS)
	if err != nil {
		panic("migrations: " + err.Error())
	}
	return l
})

// Version is the newest version; 0 for no migrations.
func (l List) Version() int64 { return int64(len(l)) }

// Tables are the names of all tables.
func (l List) Tables() map[string]bool {
	set := make(map[string]bool)
	for _, m := range l {
		for _, t := range m.Tables {
			set[t] = true
		}
	}
	return set
}

const (
	upMark   = "-- +goose Up"
	downMark = "-- +goose Down"
)

// Read reads files in goose's form. A file that is not run as a whole, in one
// transaction, is refused.
func Read(from fs.FS) (List, error) {
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return nil, err
	}
	var l List
	for _, file := range names {
		m, err := readFile(from, file)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", file, err)
		}
		l = append(l, m)
	}
	slices.SortFunc(l, func(a, b Migration) int { return int(a.Version - b.Version) })
	for i, m := range l {
		if m.Version != int64(i+1) {
			return nil, fmt.Errorf("migration %d is missing", i+1)
		}
	}
	return l, nil
}

func readFile(from fs.FS, file string) (Migration, error) {
	number, _, _ := strings.Cut(file, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return Migration{}, errors.New("its name begins with no number")
	}
	content, err := fs.ReadFile(from, file)
	if err != nil {
		return Migration{}, err
	}
	_, up, ok := strings.Cut(string(content), upMark)
	if !ok {
		return Migration{}, fmt.Errorf("there is no line %q", upMark)
	}
	up, _, _ = strings.Cut(up, downMark)
	if strings.Contains(up, "+goose") {
		return Migration{}, errors.New("only whole files in one transaction are supported")
	}
	return Migration{Version: version, Script: strings.TrimSpace(up), Tables: tablesMade(up)}, nil
}

// tablesMade returns the names after CREATE TABLE.
func tablesMade(script string) []string {
	var list []string
	var before [2]string
	for at := 0; at < len(script); {
		n, kind := sqltext.Next(script[at:])
		if kind == sqltext.Name {
			w := sqltext.Word(script[at : at+n])
			if before == [2]string{"create", "table"} {
				list = append(list, w)
			}
			before = [2]string{before[1], w}
		}
		at += n
	}
	return list
}

// Split cuts a script at the semicolons between its statements. Comments between
// two statements are dropped, those within one are kept. Triggers, whose bodies
// have semicolons of their own, are not understood.
func Split(script string) []string {
	var list []string
	start := -1 // where the statement begins; -1 between two
	end := func(at int) {
		if start >= 0 {
			list = append(list, strings.TrimSpace(script[start:at]))
		}
		start = -1
	}
	for at := 0; at < len(script); {
		n, kind := sqltext.Next(script[at:])
		switch {
		case script[at] == ';' && kind == sqltext.Mark:
			end(at)
		case kind != sqltext.Space && start < 0:
			start = at
		}
		at += n
	}
	end(len(script))
	return list
}
