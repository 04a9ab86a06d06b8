package d1

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// databaseInfo is a database as the API tells of it.
type databaseInfo struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

const pageSize = 100

// list returns a page of the databases whose name has part in it, the first
// being 1, and whether there are more. The Worker looks for exactly that name;
// without one both list all.
func (a *api) list(ctx context.Context, part string, page int) (list []databaseInfo, more bool, err error) {
	query := url.Values{"per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)}}
	if part != "" {
		query.Set("name", part)
	}
	err = a.do(ctx, request{method: http.MethodGet, path: "?" + query.Encode(), repeat: true}, &list)
	return list, len(list) == pageSize, err
}

// count returns how many databases have a name that begins so.
func (a *api) count(ctx context.Context, prefix string) (int, error) {
	n, part := 0, prefix
	if a.worker {
		part = ""
	}
	for page := 1; ; page++ {
		list, more, err := a.list(ctx, part, page)
		if err != nil {
			return 0, err
		}
		for _, d := range list {
			if strings.HasPrefix(d.Name, prefix) {
				n++
			}
		}
		if !more {
			return n, nil
		}
	}
}

// find returns the id of the database with exactly this name, or "".
func (a *api) find(ctx context.Context, name string) (string, error) {
	for page := 1; ; page++ {
		list, more, err := a.list(ctx, name, page)
		if err != nil {
			return "", err
		}
		for _, d := range list {
			if d.Name == name {
				return d.UUID, nil
			}
		}
		if !more {
			return "", nil
		}
	}
}

// create makes an empty database and returns its id. Where somebody was faster,
// or an earlier try was carried out without an answer, made is false.
func (a *api) create(ctx context.Context, name, hint string) (id string, made bool, err error) {
	body := struct {
		Name string `json:"name"`
		Hint string `json:"primary_location_hint,omitempty"`
	}{name, hint}
	var d databaseInfo
	err = a.do(ctx, request{method: http.MethodPost, body: body}, &d)
	var f *failure
	if errors.As(err, &f) && f.code == codeExists {
		id, err = a.find(ctx, name)
		return id, false, err
	}
	return d.UUID, err == nil, err
}

// remove removes a database with all that is in it. One that is not there is
// success.
func (a *api) remove(ctx context.Context, id string) error {
	err := a.do(ctx, request{method: http.MethodDelete, path: "/" + url.PathEscape(id), repeat: true}, nil)
	if missing(err) {
		return nil
	}
	return err
}

// missing reports whether err says that a database is not there.
func missing(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.code == codeMissing
}
