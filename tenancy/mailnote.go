package tenancy

import (
	"context"
	"strings"
)

// Mail waits in the databases of those who send it. The control plane notes which
// tenants have some, so that a start need not open every database to find it.

// mailCounter begins the ids of these notes among the control plane's counters.
// They hold until when a message may still be on its way into the database.
const mailCounter = "mail:"

// NoteMail notes, inside the control plane, that a tenant has mail that waits. Until
// the given time [ForgetMail] leaves the note alone.
func NoteMail(inside context.Context, tenant string, until Time) error {
	return Commit(inside, SQL(inside, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, ?, ?)
		ON CONFLICT (tenant_id, id) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`, mailCounter+tenant, until))
}

// ForgetMail removes a tenant's note that may go at a time, and reports whether
// none is left.
func ForgetMail(inside context.Context, tenant string, now Time) (bool, error) {
	err := Commit(inside, forgetMail(inside, tenant, now))
	if err != nil {
		return false, err
	}
	var n int
	err = QueryRow(inside, `SELECT COUNT(*) FROM counters WHERE tenant_id = @tenant AND id = ?`, []any{mailCounter + tenant}, &n)
	return n == 0, err
}

func forgetMail(inside context.Context, tenant string, now Time) Stmt {
	return SQL(inside, `DELETE FROM counters WHERE tenant_id = @tenant AND id = ? AND value <= ?`, mailCounter+tenant, now)
}

// MailNoted returns the tenants with a note.
func MailNoted(inside context.Context) (ids []string, err error) {
	rows, err := Query(inside, `SELECT id FROM counters WHERE tenant_id = @tenant AND id LIKE '`+mailCounter+`%'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, strings.TrimPrefix(id, mailCounter))
	}
	return ids, rows.Err()
}
