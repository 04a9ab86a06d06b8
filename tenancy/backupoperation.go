package tenancy

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// BackupParams say how far a backup is, or what it came to.
type BackupParams struct {
	File  string `json:"file,omitempty"` // name within the directory; "" before it is whole
	Done  int64  `json:"done"`           // rows written so far
	Total int64  `json:"total"`          // as they were counted; 0 where they are not yet
	Bytes int64  `json:"bytes"`          // size of the file; 0 before it is whole
}

// StartBackup begins an operation that writes a backup of the tenant into the
// configured directory, and returns it as it began. The work goes on behind the
// caller, and records how it ends (contract C5.27). An end of the process cuts it
// off without leaving anything; then it is done anew.
//
// Errors: those of [Lifecycle.Backup], an [Error] 501 where there is no directory,
// and 409 while another backup of the tenant is under way.
func (l *Lifecycle) StartBackup(ctx context.Context, id string) (*Operation, error) {
	j, err := l.beginBackup(ctx, id)
	if err != nil {
		return nil, err
	}
	return l.backUpBehind(ctx, j), nil
}

// BackupNow is [Lifecycle.StartBackup] with a caller who waits. It returns the path
// of the file too.
func (l *Lifecycle) BackupNow(ctx context.Context, id string, progress func(Progress)) (string, *FileInfo, error) {
	j, err := l.beginBackup(ctx, id)
	if err != nil {
		return "", nil, err
	}
	return l.runBackup(ctx, j, progress)
}

func (l *Lifecycle) backUpBehind(ctx context.Context, j *journal) *Operation {
	began := *j.op
	params := *j.op.Params.Backup
	began.Params.Backup = &params
	go func() { _, _, _ = l.runBackup(context.WithoutCancel(ctx), j, nil) }() // it records how it ends
	return &began
}

// errNoBackups says what is missing.
func errNoBackups() error {
	return &Error{
		Status: http.StatusNotImplemented, Code: "not_supported",
		Message: `Operations of kind "backup" are not supported: no directory for them is configured; add to the global option gatehouse for instance: backups /var/backups/gatehouse`,
	}
}

func (l *Lifecycle) beginBackup(ctx context.Context, id string) (*journal, error) {
	if l.Backups == nil {
		return nil, errNoBackups()
	}
	t, _, err := l.backupHead(ctx, id)
	if err != nil {
		return nil, err
	}
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	going, err := Operations.Find(inside, Filter{Where: "subject = ? AND kind = ? AND status = ?", Args: []any{id, OperationBackup, OperationRunning}})
	if err != nil {
		return nil, err
	}
	for i := range going {
		if going[i].alive(time.Now()) {
			return nil, Errorf(http.StatusConflict, "operation_conflict", "Tenant '%s' is being backed up at this moment", id)
		}
	}
	j := newOperation(OperationBackup, t, actor(ctx), OperationParams{Backup: new(BackupParams)})
	j.note("write", "started", nil)
	return j, j.commit(inside)
}

// runBackup writes the file and records how it ended.
func (l *Lifecycle) runBackup(ctx context.Context, j *journal, progress func(Progress)) (path string, info *FileInfo, err error) {
	stop := sync.OnceFunc(l.beat(ctx, j))
	defer stop()
	path, info, err = l.writeBackup(ctx, j, progress)
	stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	inside, leave, entered := l.Directory.EnterControlPlane(ctx)
	if entered != nil {
		return path, info, err // it is taken up again once the control plane is there
	}
	defer leave()
	id := j.op.Subject
	if err == nil {
		err = l.stillOurs(inside, id, info, path)
	}
	if err == nil {
		j.note("write", "succeeded", nil)
		j.note("prune", "started", nil)
		err = l.Backups.prune(inside, id)
	}
	if err != nil {
		j.note(j.op.CurrentStep, "failed", err)
		j.finish(OperationFailed, j.op.CurrentStep+": "+err.Error())
	} else {
		j.note("prune", "succeeded", nil)
		j.finish(OperationSucceeded, "")
		*j.op.Params.Backup = BackupParams{filepath.Base(path), info.Rows, info.Rows, info.Bytes}
	}
	return path, info, errors.Join(err, ignoreStale(j.commit(inside)))
}

// writeBackup waits until there is room and writes the file.
func (l *Lifecycle) writeBackup(ctx context.Context, j *journal, progress func(Progress)) (string, *FileInfo, error) {
	leave, err := l.Backups.room.enter(ctx, backupsAtOnce)
	if err != nil {
		return "", nil, err
	}
	defer leave()
	if err := os.MkdirAll(l.Backups.Dir, 0o700); err != nil {
		return "", nil, err
	}
	path := filepath.Join(l.Backups.Dir, newBackupName(j.op.Subject, j.id(), time.Now()).file)
	info, err := l.Backup(ctx, j.op.Subject, path, func(p Progress) {
		j.op.Params.Backup.Done, j.op.Params.Backup.Total = p.Done, p.Total
		j.lasting(ctx, l.Directory)
		if progress != nil {
			progress(p)
		}
	})
	return path, info, err
}

// stillOurs removes the file of a tenant that was deleted while it was written:
// whoever deleted it may have looked for files before this one was there.
func (l *Lifecycle) stillOurs(inside context.Context, id string, info *FileInfo, path string) error {
	t, err := Tenants.Get(inside, id)
	if err == nil && t.State != StateDeleting {
		gone, err := Operations.Count(inside, Filter{Where: "subject = ? AND kind = ? AND created_at >= ?", Args: []any{id, OperationDeprovision, At(info.Taken)}})
		if err != nil || gone == 0 {
			return err
		}
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return errors.Join(Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' was deleted meanwhile", id), os.Remove(path))
}

// backupAgain runs an operation once more that failed or was cut off.
func (l *Lifecycle) backupAgain(ctx, inside context.Context, op *Operation) (*Operation, error) {
	if l.Backups == nil {
		return nil, errNoBackups()
	}
	op.Status, op.Error, op.FinishedAt, op.Attempt = OperationRunning, "", 0, op.Attempt+1
	op.Params.Backup = new(BackupParams)
	j := &journal{op: op}
	j.note("write", "started", nil)
	if err := j.commit(inside); err != nil {
		return nil, err
	}
	return l.backUpBehind(ctx, j), nil
}

// resumeBackups takes up the backups that an end of the process cut off, and fails
// those that cannot be.
func (l *Lifecycle) resumeBackups(ctx context.Context) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	list, err := Operations.Find(inside, Filter{Where: "kind = ? AND status = ?", Args: []any{OperationBackup, OperationRunning}})
	errs := []error{err}
	for i := range list {
		op := &list[i]
		if op.alive(time.Now()) {
			continue
		}
		if l.Backups != nil {
			_, err := l.backupAgain(ctx, inside, op)
			errs = append(errs, ignoreStale(err))
			continue
		}
		j := &journal{op: op}
		j.finish(OperationFailed, op.CurrentStep+": cut off by the end of the process, and no directory is configured any more")
		errs = append(errs, ignoreStale(j.commit(inside)))
	}
	return errors.Join(errs...)
}

// forsaken removes the backups of tenants that were deleted: of one, or with ""
// those that an earlier deletion, maybe on another node, left here.
func (l *Lifecycle) forsaken(ctx context.Context, id string) error {
	if l.Backups == nil {
		return nil
	}
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return l.Backups.bereave(inside, func(n backupName) bool {
		if id != "" {
			return n.tenant != id
		}
		t, ok := l.Directory.ByID(n.tenant)
		return ok && t.CreatedAt.Time().Before(n.taken)
	})
}

// room bounds how many are inside. The zero value is ready.
type room struct {
	once sync.Once
	free chan struct{}
}

func (r *room) enter(ctx context.Context, most int) (leave func(), err error) {
	r.once.Do(func() { r.free = make(chan struct{}, most) })
	select {
	case r.free <- struct{}{}:
		return func() { <-r.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
