package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What the control plane has of a tenant beside its registry row goes into a
// backup too: the linked organization with its members, what these may do in it,
// and the tenant's custom domains. It comes back with a tenant that was gone. Where
// the tenant is there, what the control plane has of it now stands: who left the
// organization since does not come back by an old file.

// linkedTable is a table of the control plane with rows that belong to a tenant.
type linkedTable struct {
	rawTable
	owner string // the column that names the tenant or its organization

	// refs are the columns that name rows of other tables: a row comes back only if
	// these are still there.
	refs []ref
}

type ref struct{ column, table string }

// linkedPrefix is before the names of their tables in a file.
const linkedPrefix = "control_plane."

// linkedTables are all there are, the organization last: where it is there, the
// others were written.
func linkedTables() []linkedTable {
	user := ref{"user_id", Users.Name()}
	wanted := []struct {
		name, owner string
		refs        []ref
	}{
		{Members.Name(), "org_id", []ref{user}},
		{UserRoles.Name(), "org_id", []ref{user, {"role_id", Roles.Name()}}},
		{UserPermissions.Name(), "org_id", []ref{user, {"resource_server_id", ResourceServers.Name()}}},
		{OrganizationConnections.Name(), "org_id", []ref{{"connection_id", Connections.Name()}}},
		{GrantOrganizations.Name(), "organization_id", []ref{{"grant_id", ClientGrants.Name()}}},
		{CustomDomains.Name(), "subject", nil},
		{Organizations.Name(), "id", nil},
	}
	all := rawTables()
	list := make([]linkedTable, len(wanted))
	for i, w := range wanted {
		at := slices.IndexFunc(all, func(t rawTable) bool { return t.Name == w.name })
		list[i] = linkedTable{all[at], w.owner, w.refs}
		list[i].Name = linkedPrefix + w.name
	}
	return list
}

// stored is the table's name in the control plane's database.
func (t *linkedTable) stored() string { return strings.TrimPrefix(t.Name, linkedPrefix) }

// of returns what names the tenant in the table.
func (t *linkedTable) of(x *Tenant) string {
	if t.owner == "subject" {
		return x.ID
	}
	return x.OrganizationID
}

// each reads the tenant's rows inside the control plane.
func (t *linkedTable) each(inside context.Context, x *Tenant, take func(*rawTable, rawRow) error) error {
	for after := ""; ; {
		page, err := t.page(inside, x, after)
		if err != nil {
			return fmt.Errorf("reading %s: %w", t.stored(), err)
		}
		for _, r := range page {
			if err := take(&t.rawTable, r); err != nil {
				return err
			}
		}
		if len(page) < rawPage {
			return nil
		}
		after, _ = t.keyOf(page[rawPage-1]).(string)
	}
}

func (t *linkedTable) page(inside context.Context, x *Tenant, after string) (page []rawRow, err error) {
	rows, err := Query(inside, fmt.Sprintf(`SELECT %s FROM %s WHERE tenant_id = @tenant AND %s = ? AND id > ? ORDER BY id LIMIT %d`,
		t.columns, t.stored(), t.owner, rawPage), t.of(x), after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	dest := make([]any, len(t.Columns))
	for rows.Next() {
		r := make(rawRow, len(t.Columns))
		for i := range r {
			dest[i] = &r[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		for i, c := range t.Columns {
			if r[i], err = normal(c, r[i]); err != nil {
				return nil, err
			}
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// writeLinked writes what the control plane has of the tenant now.
func (l *Lifecycle) writeLinked(ctx context.Context, x *Tenant, take func(*rawTable, rawRow) error) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, t := range linkedTables() {
		if err := t.each(inside, x, take); err != nil {
			return err
		}
	}
	return nil
}

// linkedRows are such rows of a file, by the names of their tables.
type linkedRows map[string][]rawRow

// relink gives a tenant that came back what the control plane had of it, unless it
// has an organization now. Domains come back as claims: whose they are now is for
// their proof to say.
func (l *Lifecycle) relink(ctx context.Context, x *Tenant, tables map[string]*rawTable, rows linkedRows) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	taken, err := Organizations.Count(inside, Filter{Where: "id = ? OR name = ?", Args: []any{x.OrganizationID, x.ID}})
	if err != nil || taken > 0 || len(rows[linkedPrefix+Organizations.Name()]) != 1 {
		return errors.Join(err, l.link(ctx, x))
	}
	for _, t := range linkedTables() {
		if in := tables[t.Name]; in != nil {
			t.rawTable = *in
		}
		var stmts []Stmt
		for _, r := range rows[t.Name] {
			st, err := t.insertion(inside, x, r)
			if err != nil {
				return err
			}
			if stmts = append(stmts, st); len(stmts) == rawStmts {
				if err := Commit(inside, stmts...); err != nil {
					return fmt.Errorf("writing %s: %w", t.stored(), err)
				}
				stmts = nil
			}
		}
		if err := Commit(inside, stmts...); err != nil {
			return fmt.Errorf("writing %s: %w", t.stored(), err)
		}
	}
	return nil
}

// insertion is the statement that writes a row as the tenant's, whoever's the file
// says it is, unless it is there or what it names is not.
func (t *linkedTable) insertion(inside context.Context, x *Tenant, r rawRow) (Stmt, error) {
	set := map[string]any{t.owner: t.of(x)}
	switch t.stored() {
	case Organizations.Name():
		set["name"] = x.ID
	case CustomDomains.Name():
		set["status"], set["held"], set["problem"] = string(DomainPending), t.keyOf(r), ""
		set["checked_at"], set["verified_at"] = int64(0), int64(0)
	}
	values, args, marks := make(map[string]any), make([]any, 0, len(t.Columns)+len(t.refs)), make([]string, len(t.Columns))
	for i, c := range t.Columns {
		v, ours := set[c.Name]
		if !ours {
			v = r[i]
		}
		values[c.Name], args, marks[i] = v, append(args, v), "?"
	}
	where := "1 = 1" // SQLite needs a condition before ON CONFLICT
	for _, to := range t.refs {
		v, ok := values[to.column]
		if !ok {
			return Stmt{}, errBroken("table %s has no column %s", t.Name, to.column)
		}
		where += ` AND EXISTS (SELECT 1 FROM ` + to.table + ` AS named WHERE named.tenant_id = @tenant AND named.id = ?)`
		args = append(args, v)
	}
	st := SQL(inside, fmt.Sprintf(`INSERT INTO %s (tenant_id, %s) SELECT @tenant, %s WHERE %s ON CONFLICT DO NOTHING`,
		t.stored(), t.columns, strings.Join(marks, ", "), where), args...).Settled()
	if t.stored() == CustomDomains.Name() {
		st = st.Marked(KindDomain, AnyID)
	}
	return st, nil
}
