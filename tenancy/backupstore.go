package tenancy

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// BackupStore is a directory for the backups that are asked for as operations, and
// nobody names a file for. Several nodes may share one, or each have its own. It
// must not be copied once it is used; its methods are safe for concurrent use.
type BackupStore struct {
	// Dir is the directory, an absolute path. It is made with the first backup.
	Dir string

	// Keep is how many of a tenant's backups stay; older ones are removed after
	// each new one. Default 7.
	Keep int

	room room // for backups under way
}

// backupsAtOnce is how many backups are written at a time; others wait.
const backupsAtOnce = 2

// backupStamp is the time in a backup's name, in UTC: names sort by age.
const backupStamp = "20060102T150405.000Z"

// backupName is the parts of "<tenant>.<time>.<operation>.backup". Ids hold no
// dot, and the time holds one.
type backupName struct {
	file, tenant, operation string
	taken                   time.Time
}

func newBackupName(tenant, operation string, now time.Time) backupName {
	now = now.UTC().Truncate(time.Millisecond)
	return backupName{strings.Join([]string{tenant, now.Format(backupStamp), operation, "backup"}, "."), tenant, operation, now}
}

func parseBackupName(file string) (n backupName, ok bool) {
	parts := strings.Split(file, ".")
	if len(parts) != 5 || parts[4] != "backup" {
		return n, false
	}
	taken, err := time.Parse(backupStamp, parts[1]+"."+parts[2])
	return backupName{file, parts[0], parts[3], taken}, err == nil
}

// list returns the backups in the directory, the oldest first.
func (s *BackupStore) list() ([]backupName, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []backupName
	for _, e := range entries {
		if n, ok := parseBackupName(e.Name()); ok && e.Type().IsRegular() {
			list = append(list, n)
		}
	}
	slices.SortStableFunc(list, func(a, b backupName) int { return a.taken.Compare(b.taken) })
	return list, nil
}

// prune removes a tenant's backups but the newest, as many as stay.
func (s *BackupStore) prune(inside context.Context, tenant string) error {
	return s.remove(inside, func(all []backupName) []backupName {
		all = slices.DeleteFunc(all, func(n backupName) bool { return n.tenant != tenant })
		return all[:max(0, len(all)-cmp.Or(s.Keep, 7))]
	})
}

// remove removes those of the backups that choose returns and that this
// installation made: another one may have the directory too, and tenants of the
// same ids. It is called inside the control plane.
func (s *BackupStore) remove(inside context.Context, choose func(all []backupName) []backupName) error {
	all, err := s.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range choose(all) {
		op, err := Operations.Get(inside, n.operation)
		if err == nil && op.Kind == OperationBackup && op.Subject == n.tenant {
			err = os.Remove(filepath.Join(s.Dir, n.file))
		}
		if !errors.Is(err, ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// bereave removes the backups of tenants that are gone, of those only that known
// does not report (contract C8.13). A tenant that was made anew does not keep those
// of the one before.
func (s *BackupStore) bereave(inside context.Context, known func(n backupName) bool) error {
	return s.remove(inside, func(all []backupName) []backupName {
		return slices.DeleteFunc(all, func(n backupName) bool {
			if known(n) {
				return true
			}
			gone, err := isGone(inside, n)
			return err != nil || !gone
		})
	})
}

// isGone reports whether the tenant that the backup is of was deleted since.
func isGone(inside context.Context, n backupName) (bool, error) {
	op, err := Operations.Get(inside, n.operation)
	if err != nil {
		return false, err
	}
	deleted, err := Operations.Count(inside, Filter{
		Where: "subject = ? AND kind = ? AND created_at >= ?", Args: []any{n.tenant, OperationDeprovision, op.CreatedAt},
	})
	return deleted > 0, err
}
