// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// What a zero DiskConfig means.
const (
	DefaultMaxBytes      = 32 << 20
	DefaultUploadTimeout = 2 * time.Minute
)

const (
	// fanOut is the number of directories that the objects of a bucket are spread over: 400,000 objects, an hour of 100
	// images a second, make directories of 1,600 entries.
	fanOut = 256
	// stripes is the number of locks that order the changes of one key. They are held while a sealing waits for the disk, so
	// they are many more than the deliveries that wait for it at a time: two keys should hardly ever wait one after the other.
	stripes = 4096
	// Subdirectories: complete objects that clients may read, complete uploads, and files that are being written.
	dirKept, dirUploads, dirTemp = "kept", "uploads", "temp"
	// dirJournal holds small objects, many in one file.
	dirJournal = "journal"
)

// DiskConfig says where and how a Disk keeps objects. Dir, Secret and Base are required.
type DiskConfig struct {
	// Dir is a directory of this store's own. One process uses it at a time.
	Dir string
	// Secret signs URLs; at least 16 random bytes. URLs survive a restart if it does.
	Secret []byte
	// Base is where the world reaches the server that mounts the store at PathPrefix: "https://horde.example". WithBase
	// replaces it for single calls.
	Base string
	// MaxBytes bounds one object. Zero means DefaultMaxBytes.
	MaxBytes int64
	// UploadTimeout bounds one upload. Zero means DefaultUploadTimeout.
	UploadTimeout time.Duration
	// Sync makes each object durable before its sealing (or Put) is acknowledged, also against loss of power; an upload that
	// is not sealed yet may be lost then, and its job is done again. Without Sync the end of the process loses nothing, but
	// the images of the last half minute may be missing after the machine has crashed.
	Sync bool
	// Log receives failures of the disk. Nil means slog.Default.
	Log *slog.Logger
}

// Disk is a Store on a local directory that serves its signed URLs itself: mount it as the http.Handler of PathPrefix.
//
// Small objects, as nearly all are, are kept in a journal, many to a file. A larger one is a file of its own, written under a
// temporary name and renamed when it is complete. So nobody ever sees half an object.
type Disk struct {
	signer
	cfg DiskConfig
	// locks order upload, seal, put and delete of one key. A key's lock is locks[hash % stripes]. It is not held while bytes
	// come in.
	locks [stripes]sync.Mutex
	// small has the objects of up to smallObject bytes. An object is there or in a file, never in both.
	small *journal
}

var (
	_ Store        = (*Disk)(nil)
	_ http.Handler = (*Disk)(nil)
)

// OpenDisk opens the store in cfg.Dir, which is made where it does not exist, and removes what uploads that a crash
// interrupted have left.
func OpenDisk(cfg DiskConfig) (*Disk, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.UploadTimeout <= 0 {
		cfg.UploadTimeout = DefaultUploadTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	sign, err := newSigner(cfg.Secret, cfg.Base)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, dirTemp)); err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	for _, dir := range []string{dirKept, dirUploads, dirTemp, dirJournal} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("open object store: %w", err)
		}
	}
	small, err := openJournal(filepath.Join(cfg.Dir, dirJournal), cfg.Sync)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	return &Disk{signer: sign, cfg: cfg, small: small}, nil
}

// Put implements Store.
func (d *Disk) Put(ctx context.Context, key Key, data []byte) error {
	if !key.Valid() {
		return ErrKey
	}
	if int64(len(data)) > d.cfg.MaxBytes {
		return ErrTooLarge
	}
	if len(data) <= smallObject {
		return d.writeSmall(ctx, recordPut, key, data)
	}
	temp, err := d.write(ctx, bytes.NewReader(data))
	if err != nil {
		return err
	}
	unlock := d.lock(key)
	defer unlock()
	if d.isKept(key) {
		os.Remove(temp)
		return nil
	}
	if err := d.forgetSmall(key); err != nil {
		os.Remove(temp)
		return err
	}
	if err := d.rename(temp, d.path(dirKept, key)); err != nil {
		os.Remove(temp)
		return err
	}
	// An upload of before would otherwise wait for the pruner.
	os.Remove(d.path(dirUploads, key))
	return nil
}

// upload stores r as the upload of key. ErrSealed where the object is kept already.
func (d *Disk) upload(ctx context.Context, key Key, r io.Reader) error {
	if d.isKept(key) {
		return ErrSealed
	}
	buf := small.Get().(*bytes.Buffer)
	defer small.Put(buf)
	buf.Reset()
	n, err := io.Copy(buf, io.LimitReader(r, min(smallObject, d.cfg.MaxBytes)+1))
	switch {
	case err != nil:
		return diskError("store object", err)
	case n > d.cfg.MaxBytes:
		return ErrTooLarge
	case n <= smallObject:
		if err := ctx.Err(); err != nil {
			return err
		}
		return d.writeSmall(ctx, recordUpload, key, buf.Bytes())
	}
	temp, err := d.write(ctx, io.MultiReader(buf, r))
	if err != nil {
		return err
	}
	unlock := d.lock(key)
	defer unlock()
	if d.isKept(key) {
		err = ErrSealed
	} else if err = d.forgetSmall(key); err == nil {
		err = d.rename(temp, d.path(dirUploads, key))
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// Seal implements Store.
func (d *Disk) Seal(ctx context.Context, key Key) (Info, error) {
	if !key.Valid() {
		return Info{}, ErrKey
	}
	unlock := d.lock(key)
	defer unlock()
	if o, ok := d.small.find(key); ok {
		return o.info(), d.sealSmall(key, o)
	}
	info, err := d.stat(dirKept, key)
	if !errors.Is(err, ErrNotFound) {
		return info, err
	}
	if info, err = d.stat(dirUploads, key); err != nil {
		return Info{}, err
	}
	return info, d.rename(d.path(dirUploads, key), d.path(dirKept, key))
}

// Open implements Store. The reader is an io.ReadSeekCloser.
func (d *Disk) Open(_ context.Context, key Key) (io.ReadCloser, Info, error) {
	f, info, err := d.open(key)
	if err != nil {
		return nil, Info{}, err
	}
	return f, info, nil
}

func (d *Disk) open(key Key) (io.ReadSeekCloser, Info, error) {
	if !key.Valid() {
		return nil, Info{}, ErrKey
	}
	if o, ok := d.small.find(key); ok {
		if !o.kept {
			return nil, Info{}, ErrNotFound
		}
		return o.reader(), o.info(), nil
	}
	f, err := os.Open(d.path(dirKept, key))
	if err != nil {
		return nil, Info{}, lookUpError(err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, Info{}, lookUpError(err)
	}
	return f, Info{Size: fi.Size(), Stored: fi.ModTime()}, nil
}

// openUpload opens an upload that is not kept yet.
func (d *Disk) openUpload(key Key) (io.ReadSeekCloser, Info, error) {
	if o, ok := d.small.find(key); ok {
		return o.reader(), o.info(), nil
	}
	f, err := os.Open(d.path(dirUploads, key))
	if err != nil {
		return nil, Info{}, lookUpError(err)
	}
	return f, Info{}, nil
}

// Stat implements Store.
func (d *Disk) Stat(_ context.Context, key Key) (Info, error) {
	if !key.Valid() {
		return Info{}, ErrKey
	}
	if o, ok := d.small.find(key); ok {
		if !o.kept {
			return Info{}, ErrNotFound
		}
		return o.info(), nil
	}
	return d.stat(dirKept, key)
}

// small are buffers for uploads.
var small = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (o object) info() Info { return Info{Size: o.size, Stored: o.stored} }

// isKept tells whether there is a kept object.
func (d *Disk) isKept(key Key) bool {
	if o, ok := d.small.find(key); ok {
		return o.kept
	}
	_, err := os.Stat(d.path(dirKept, key))
	return err == nil
}

// writeSmall stores an upload, or puts an object, in the journal, in place of an upload of before.
func (d *Disk) writeSmall(ctx context.Context, kind recordKind, key Key, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	unlock := d.lock(key)
	defer unlock()
	if d.isKept(key) {
		if kind == recordPut {
			return nil
		}
		return ErrSealed
	}
	if err := d.small.write(kind, key, data); err != nil {
		return diskError("store object", err)
	}
	os.Remove(d.path(dirUploads, key)) // a larger one of before
	return nil
}

// sealSmall keeps an upload that is in the journal.
func (d *Disk) sealSmall(key Key, o object) error {
	whole, err := d.small.proven(key, o)
	switch {
	case err != nil:
		return diskError("seal object", err)
	case !whole:
		return ErrNotFound
	case o.kept:
		return nil
	}
	if err := d.small.write(recordSeal, key, nil); err != nil {
		return diskError("seal object", err)
	}
	if now, ok := d.small.find(key); !ok || !now.kept {
		return ErrNotFound // pruned meanwhile
	}
	return nil
}

// forgetSmall removes what the journal has of key.
func (d *Disk) forgetSmall(key Key) error {
	if _, ok := d.small.find(key); !ok {
		return nil
	}
	if err := d.small.write(recordDelete, key, nil); err != nil {
		return diskError("delete object", err)
	}
	return nil
}

func (d *Disk) stat(dir string, key Key) (Info, error) {
	fi, err := os.Stat(d.path(dir, key))
	if err != nil {
		return Info{}, lookUpError(err)
	}
	return Info{Size: fi.Size(), Stored: fi.ModTime()}, nil
}

// Delete implements Store.
func (d *Disk) Delete(_ context.Context, key Key) error {
	if !key.Valid() {
		return ErrKey
	}
	unlock := d.lock(key)
	defer unlock()
	if err := d.forgetSmall(key); err != nil {
		return err
	}
	for _, dir := range []string{dirKept, dirUploads} {
		if err := os.Remove(d.path(dir, key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskError("delete object", err)
		}
	}
	return nil
}

// Prune implements Store.
func (d *Disk) Prune(ctx context.Context, before time.Time) (int, error) {
	n, err := d.small.prune(before)
	if err != nil {
		return n, diskError("prune objects", err)
	}
	for _, top := range []string{dirKept, dirUploads, dirTemp} {
		err := filepath.WalkDir(filepath.Join(d.cfg.Dir, top), func(path string, entry fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || entry.IsDir() {
				return err
			}
			fi, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // sealed or deleted in the meantime
			}
			if err != nil || !fi.ModTime().Before(before) {
				return err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			n++
			return nil
		})
		if err != nil {
			return n, diskError("prune objects", err)
		}
	}
	return n, nil
}

// SignGet implements Store.
func (d *Disk) SignGet(ctx context.Context, key Key, ttl time.Duration) (string, error) {
	return d.url(ctx, http.MethodGet, key, ttl)
}

// SignPut implements Store.
func (d *Disk) SignPut(ctx context.Context, key Key, ttl time.Duration) (string, error) {
	return d.url(ctx, http.MethodPut, key, ttl)
}

// write copies r to a temporary file and returns its path. On an error there is no file.
func (d *Disk) write(ctx context.Context, r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(filepath.Join(d.cfg.Dir, dirTemp), "")
	if err != nil {
		return "", diskError("store object", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	n, err := io.Copy(f, io.LimitReader(r, d.cfg.MaxBytes+1))
	if err != nil {
		return "", diskError("store object", err)
	}
	if n > d.cfg.MaxBytes {
		return "", ErrTooLarge
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if d.cfg.Sync {
		if err := f.Sync(); err != nil {
			return "", diskError("store object", err)
		}
	}
	// Some file systems report a full disk only now.
	if err := f.Close(); err != nil {
		return "", diskError("store object", err)
	}
	return f.Name(), nil
}

// rename moves a complete file to its place, whose directory is made at the first use.
func (d *Disk) rename(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.mkdir(filepath.Dir(to)); err == nil {
			err = os.Rename(from, to)
		}
	}
	if err == nil && d.cfg.Sync {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return diskError("store object", err)
	}
	return nil
}

// mkdir makes a fan-out directory and, where needed, the bucket's.
func (d *Disk) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for d.cfg.Sync && dir != filepath.Clean(d.cfg.Dir) {
		dir = filepath.Dir(dir)
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// path is where key lives below one of the top directories: bucket, fan-out, name.
func (d *Disk) path(top string, key Key) string {
	bucket, name := filepath.Split(string(key))
	return filepath.Join(d.cfg.Dir, top, bucket, fmt.Sprintf("%02x", hash(key)%fanOut), name)
}

// lock takes the lock of key and returns what releases it.
func (d *Disk) lock(key Key) (unlock func()) {
	mu := &d.locks[hash(key)%stripes]
	mu.Lock()
	return mu.Unlock
}

// hash spreads keys evenly, also those whose ids begin with the time.
func hash(key Key) uint32 {
	h := fnv.New32a()
	io.WriteString(h, string(key))
	return h.Sum32()
}

// diskError gives errors of the operating system the meaning they have for a Store.
func diskError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w", what, ErrFull)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lookUpError is diskError for what may well not exist.
func lookUpError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return diskError("look up object", err)
}
