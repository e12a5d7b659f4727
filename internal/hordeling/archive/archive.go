// SPDX-License-Identifier: AGPL-3.0-or-later

// Package archive keeps what the hordeling converted, and what it refused, in a directory or an S3 bucket.
//
// Each source file has one row, a small JSON document that is either a conversion or a refusal. A conversion also has an
// object, the safetensors file. Names are made of CivitAI's file id, the beginning of the source's hash and the version
// of the converter, never of an author's text:
//
//	ti/17-0f76b383e4144149-c2.safetensors
//	row/17-0f76b383e4144149-c2.json
//
// The row is written last, so what has a row is whole; whatever a crash leaves is swept at the next start. Object and
// row are checked against each other before the first answer of a process that uses them.
package archive

import (
	"bytes"
	"container/list"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"horde/internal/hordeling/embedding"
)

const (
	objectPrefix = "ti/"
	rowPrefix    = "row/"
	tempPrefix   = "tmp/"
	objectSuffix = ".safetensors"
	rowSuffix    = ".json"

	// blockBytes is what the smallest file costs on a disk: sizes are rounded up to it against the budget.
	blockBytes = 4096
	// tempAge is how old an unfinished or unknown object must be before a start sweeps it: another node may be writing.
	tempAge = time.Hour
	// remembered is how many rows are kept in memory where no budget keeps the number of objects down.
	remembered = 100_000
	// maxRowBytes bounds what is read as a row.
	maxRowBytes = 64 << 10
)

var stemName = regexp.MustCompile(`^[0-9]{1,19}-[0-9a-f]{16}-c[0-9]{1,6}$`)

// Stem is the common name of a source's row and object. sourceSHA256 is 64 hex digits.
func Stem(fileID int64, sourceSHA256 string) string {
	return fmt.Sprintf("%d-%.16s-c%d", fileID, strings.ToLower(sourceSHA256), embedding.Version)
}

// Row is what is known of one source.
type Row struct {
	ModelID      int64     `json:"model_id"`
	VersionID    int64     `json:"version_id"`
	FileID       int64     `json:"file_id"`
	SourceSHA256 string    `json:"source_sha256"`
	Made         time.Time `json:"made"`

	// Of a conversion.
	SHA256    string             `json:"sha256,omitempty"`
	Size      int64              `json:"size,omitempty"`
	Container string             `json:"container,omitempty"`
	Shape     embedding.Shape    `json:"shape,omitempty"`
	Tensors   []embedding.Tensor `json:"tensors,omitempty"`

	// Of a refusal. Expires is zero where it holds as long as the converter's version.
	RC      string    `json:"rc,omitempty"`
	Message string    `json:"message,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// Refused tells whether the row is a refusal.
func (r *Row) Refused() bool { return r.RC != "" }

// Config of an archive.
type Config struct {
	// Budget in bytes for rows and objects; what was not used for longest goes first. 0 means no bound.
	Budget int64
	// PublicURL is where a web server shows the bucket, without a slash at the end; links are PublicURL/<object key>.
	// Empty means that links are signed by the bucket.
	PublicURL string
	// LinkLife is how long signed links are valid. Zero means 30 minutes.
	LinkLife time.Duration
	// Local: the bucket is cheap to read, so objects are hashed before their first use.
	Local bool
	Log   *slog.Logger
}

// Archive is safe for use by many goroutines. The bucket belongs to whoever opened it.
type Archive struct {
	cfg    Config
	bucket *blob.Bucket

	mu      sync.Mutex               // guards what follows
	entries map[string]*list.Element // by stem; values are *entry
	order   *list.List               // most recently used first
	bytes   int64                    // sum of entry.bytes
}

type entry struct {
	stem     string
	bytes    int64
	row      *Row // nil until it is read
	verified bool
}

// Open reads what the bucket holds, sweeps what a crash left, and evicts what is over the budget.
func Open(ctx context.Context, bucket *blob.Bucket, cfg Config) (*Archive, error) {
	if cfg.LinkLife <= 0 {
		cfg.LinkLife = 30 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	a := &Archive{cfg: cfg, bucket: bucket, entries: make(map[string]*list.Element), order: list.New()}
	if err := a.scan(ctx); err != nil {
		return nil, fmt.Errorf("archive: reading the bucket: %w", err)
	}
	a.evict(ctx, "")
	return a, nil
}

// scan lists the bucket. Without a budget on S3 only the leftovers under tmp/ matter; a directory has leftovers of the
// file system anywhere.
func (a *Archive) scan(ctx context.Context) error {
	type found struct {
		bytes int64
		used  time.Time
	}
	stems := make(map[string]found)
	prefixes := []string{tempPrefix}
	if a.cfg.Budget > 0 || a.cfg.Local {
		prefixes = append(prefixes, objectPrefix, rowPrefix)
	}
	var old []string
	for _, prefix := range prefixes {
		it := a.bucket.List(&blob.ListOptions{Prefix: prefix})
		for {
			o, err := it.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			stem, ok := stemOf(o.Key)
			if !ok {
				if time.Since(o.ModTime) > tempAge || a.cfg.Local {
					old = append(old, o.Key)
				}
				continue
			}
			f := stems[stem]
			f.bytes += onDisk(o.Size)
			if o.ModTime.After(f.used) {
				f.used = o.ModTime
			}
			stems[stem] = f
		}
	}
	for _, key := range old {
		a.cfg.Log.InfoContext(ctx, "sweeping an unfinished object", "key", key)
		if err := a.delete(ctx, key); err != nil {
			return err
		}
	}
	byAge := make([]string, 0, len(stems))
	for stem := range stems {
		byAge = append(byAge, stem)
	}
	sortBy(byAge, func(stem string) time.Time { return stems[stem].used })
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, stem := range byAge {
		a.entries[stem] = a.order.PushFront(&entry{stem: stem, bytes: stems[stem].bytes})
		a.bytes += stems[stem].bytes
	}
	return nil
}

// Cost is what a row and its object count against the budget, in bytes. object is the object's size, 0 where there is none.
func Cost(object int64) int64 { return blockBytes + onDisk(object) }

func onDisk(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

// stemOf returns the stem of a row's or object's key.
func stemOf(key string) (string, bool) {
	for _, p := range [][2]string{{objectPrefix, objectSuffix}, {rowPrefix, rowSuffix}} {
		if rest, ok := strings.CutPrefix(key, p[0]); ok {
			if stem, ok := strings.CutSuffix(rest, p[1]); ok && stemName.MatchString(stem) {
				return stem, true
			}
		}
	}
	return "", false
}

// Stats is how much there is, as far as the budget counts it.
func (a *Archive) Stats() (rows int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.entries), a.bytes
}

// Ready tells whether the bucket can be reached.
func (a *Archive) Ready(ctx context.Context) error {
	ok, err := a.bucket.IsAccessible(ctx)
	if err == nil && !ok {
		err = errors.New("archive: the bucket is not there")
	}
	return err
}

// touch returns the entry of stem as most recently used, making it where it is missing.
func (a *Archive) touch(stem string) *entry {
	if el, ok := a.entries[stem]; ok {
		a.order.MoveToFront(el)
		return el.Value.(*entry)
	}
	e := &entry{stem: stem}
	a.entries[stem] = a.order.PushFront(e)
	return e
}

// forget drops the entry of stem from memory.
func (a *Archive) forget(stem string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if el, ok := a.entries[stem]; ok {
		a.bytes -= el.Value.(*entry).bytes
		a.order.Remove(el)
		delete(a.entries, stem)
	}
}

// remember sets what is known of stem.
func (a *Archive) remember(stem string, row *Row, bytes int64, verified bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.touch(stem)
	e.row, e.verified = row, verified
	a.bytes += bytes - e.bytes
	e.bytes = bytes
	if a.cfg.Budget == 0 && len(a.entries) > remembered {
		oldest := a.order.Back()
		a.bytes -= oldest.Value.(*entry).bytes
		delete(a.entries, oldest.Value.(*entry).stem)
		a.order.Remove(oldest)
	}
}

// Find returns the row of stem, or nil where there is none that holds: never made, evicted, expired, or damaged. A
// conversion is returned only if its object is there.
func (a *Archive) Find(ctx context.Context, stem string) (*Row, error) {
	a.mu.Lock()
	var row *Row
	verified := false
	if el, ok := a.entries[stem]; ok {
		a.order.MoveToFront(el)
		row, verified = el.Value.(*entry).row, el.Value.(*entry).verified
	}
	a.mu.Unlock()
	if row == nil {
		var err error
		if row, err = a.readRow(ctx, stem); err != nil || row == nil {
			return nil, err
		}
	}
	if row.Refused() {
		if !row.Expires.IsZero() && !time.Now().Before(row.Expires) {
			return nil, a.drop(ctx, stem)
		}
		a.remember(stem, row, Cost(0), true)
		return row, nil
	}
	ok, err := a.intact(ctx, stem, row, verified)
	if err != nil {
		return nil, err
	}
	if !ok {
		a.cfg.Log.WarnContext(ctx, "an object is missing or damaged and will be made again", "stem", stem)
		return nil, a.drop(ctx, stem)
	}
	a.remember(stem, row, Cost(row.Size), true)
	return row, nil
}

// absent tells whether err means that there is no such object. S3 says "forbidden" to whoever may not list the bucket; if
// it is something else that is forbidden, the next write tells.
func absent(err error) bool {
	code := gcerrors.Code(err)
	return code == gcerrors.NotFound || code == gcerrors.PermissionDenied
}

func (a *Archive) readRow(ctx context.Context, stem string) (*Row, error) {
	r, err := a.bucket.NewReader(ctx, rowPrefix+stem+rowSuffix, nil)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("archive: row %s: %w", stem, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxRowBytes))
	if err != nil {
		return nil, fmt.Errorf("archive: row %s: %w", stem, err)
	}
	var row Row
	if json.Unmarshal(data, &row) != nil || row.RC == "" && row.SHA256 == "" {
		a.cfg.Log.WarnContext(ctx, "a row is damaged", "stem", stem)
		return nil, a.drop(ctx, stem)
	}
	return &row, nil
}

// intact tells whether the object of row is there: by its size, and where that is cheap and was not done yet, by its
// hash.
func (a *Archive) intact(ctx context.Context, stem string, row *Row, verified bool) (bool, error) {
	key := objectPrefix + stem + objectSuffix
	attrs, err := a.bucket.Attributes(ctx, key)
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("archive: object %s: %w", stem, err)
	}
	if attrs.Size != row.Size {
		return false, nil
	}
	if verified || !a.cfg.Local {
		return true, nil
	}
	sum, err := a.hash(ctx, key)
	return sum == row.SHA256, err
}

func (a *Archive) hash(ctx context.Context, key string) (string, error) {
	h := sha256.New()
	if err := a.bucket.Download(ctx, key, h, nil); err != nil {
		return "", fmt.Errorf("archive: reading %s: %w", key, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Keep stores a conversion: the object under a temporary name, read back and compared, then under its own, then the row.
func (a *Archive) Keep(ctx context.Context, stem string, row *Row, object []byte) error {
	if !stemName.MatchString(stem) {
		return fmt.Errorf("archive: %q is no stem", stem)
	}
	row.Size = int64(len(object))
	temp := tempPrefix + rand.Text()
	opts := &blob.WriterOptions{ContentType: "application/octet-stream", CacheControl: "public, max-age=31536000, immutable"}
	if err := a.bucket.Upload(ctx, temp, bytes.NewReader(object), opts); err != nil {
		return fmt.Errorf("archive: writing %s: %w", stem, err)
	}
	sum, err := a.hash(ctx, temp)
	if err == nil && sum != row.SHA256 {
		err = fmt.Errorf("archive: %s reads back with another hash", stem)
	}
	if err == nil {
		err = a.bucket.Copy(ctx, objectPrefix+stem+objectSuffix, temp, nil)
	}
	err = errors.Join(err, a.delete(ctx, temp))
	if err == nil {
		err = a.writeRow(ctx, stem, row)
	}
	if err != nil {
		return fmt.Errorf("archive: keeping %s: %w", stem, err)
	}
	a.remember(stem, row, Cost(row.Size), true)
	a.evict(ctx, stem)
	return nil
}

// KeepRefusal stores a refusal.
func (a *Archive) KeepRefusal(ctx context.Context, stem string, row *Row) error {
	if !stemName.MatchString(stem) {
		return fmt.Errorf("archive: %q is no stem", stem)
	}
	if err := a.writeRow(ctx, stem, row); err != nil {
		return fmt.Errorf("archive: keeping the refusal of %s: %w", stem, err)
	}
	a.remember(stem, row, Cost(0), true)
	a.evict(ctx, stem)
	return nil
}

func (a *Archive) writeRow(ctx context.Context, stem string, row *Row) error {
	data, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return a.bucket.WriteAll(ctx, rowPrefix+stem+rowSuffix, data, &blob.WriterOptions{ContentType: "application/json"})
}

// drop removes row and object, the row first.
func (a *Archive) drop(ctx context.Context, stem string) error {
	a.forget(stem)
	return errors.Join(a.delete(ctx, rowPrefix+stem+rowSuffix), a.delete(ctx, objectPrefix+stem+objectSuffix))
}

func (a *Archive) delete(ctx context.Context, key string) error {
	err := a.bucket.Delete(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}

// evict drops what was not used for longest until the budget holds, but never keep.
func (a *Archive) evict(ctx context.Context, keep string) {
	for {
		a.mu.Lock()
		oldest := a.order.Back()
		over := a.cfg.Budget > 0 && a.bytes > a.cfg.Budget && oldest != nil
		stem := ""
		if over {
			stem = oldest.Value.(*entry).stem
		}
		a.mu.Unlock()
		if !over || stem == keep {
			return
		}
		a.cfg.Log.InfoContext(ctx, "evicting", "stem", stem)
		if err := a.drop(ctx, stem); err != nil {
			a.cfg.Log.ErrorContext(ctx, "evicting failed", "stem", stem, "error", err)
		}
	}
}

// Link returns a URL from which anybody can GET the object of a conversion, also in parts, for at least LinkLife. With
// neither PublicURL nor a bucket that signs it is base + "/files/" + key.
func (a *Archive) Link(ctx context.Context, stem, base string) (string, error) {
	key := objectPrefix + stem + objectSuffix
	switch {
	case a.cfg.PublicURL != "":
		return url.JoinPath(a.cfg.PublicURL, key)
	case a.cfg.Local:
		return url.JoinPath(base, "files", key)
	}
	signed, err := a.bucket.SignedURL(ctx, key, &blob.SignedURLOptions{Expiry: a.cfg.LinkLife})
	if err != nil {
		return "", fmt.Errorf("archive: signing a link: %w", err)
	}
	return signed, nil
}

// Local tells whether objects are to be served by this program.
func (a *Archive) Local() bool { return a.cfg.Local }

// Object opens an object by its key, for serving it. It returns nil without an error where there is none.
func (a *Archive) Object(ctx context.Context, key string) (*blob.Reader, *Row, error) {
	stem, ok := stemOf(key)
	if !ok || !strings.HasPrefix(key, objectPrefix) {
		return nil, nil, nil
	}
	row, err := a.Find(ctx, stem)
	if err != nil || row == nil || row.Refused() {
		return nil, nil, err
	}
	r, err := a.bucket.NewReader(ctx, key, nil)
	if absent(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("archive: object %s: %w", stem, err)
	}
	return r, row, nil
}
