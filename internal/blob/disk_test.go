// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

const (
	id1 = "00000000-0000-4000-8000-000000000001"
	id2 = "9c1e44aa-0000-4000-8000-0123456789ab"
)

var secret = []byte("0123456789abcdef")

func openDisk(t *testing.T, change func(*DiskConfig)) *Disk {
	t.Helper()
	cfg := DiskConfig{Dir: t.TempDir(), Secret: secret, Base: "http://horde.test"}
	if change != nil {
		change(&cfg)
	}
	d, err := OpenDisk(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// files returns how many files there are below the directory of d.
func files(t *testing.T, d *Disk) (n int) {
	t.Helper()
	err := filepath.WalkDir(d.cfg.Dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantContent(t *testing.T, s Store, key Key, want string) {
	t.Helper()
	data, err := ReadAll(t.Context(), s, key)
	if err != nil || string(data) != want {
		t.Errorf("%s holds %q, %v; want %q", key, data, err, want)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	tests := []struct {
		key  Key
		want bool
	}{
		{Result(id1), true},
		{SourceImage(id1), true},
		{SourceMask(id2), true},
		{ExtraSourceImage(id2, 0), true},
		{ExtraSourceImage(id2, 12), true},
		{AlchemySource(id2), true},
		{"", false},
		{"results/", false},
		{Result(""), false},
		{Result("R2"), false},
		{Result("../../etc/passwd"), false},
		{Result("9C1E44AA-0000-4000-8000-0123456789AB"), false},
		{Result("9c1e44aa000040008000" + "0123456789ab"), false},
		{Result(id1) + "\n", false},
		{"/" + Result(id1), false},
		{"results/../" + SourceImage(id1), false},
		{"results//" + Key(id1) + ".webp", false},
		{"kept/" + Key(id1) + ".webp", false},
		{"results/" + Key(id1) + ".png", false},
		{"results/" + Key(id1) + "_src.webp\x00", false},
		{ExtraSourceImage(id2, -1), false},
	}
	for _, tt := range tests {
		if tt.key.Valid() != tt.want {
			t.Errorf("Valid(%q) = %v", tt.key, !tt.want)
		}
	}
	if got := ExtraSourceImage(id1, 1); got != "sources/"+id1+"_exra_src_1.webp" {
		t.Errorf("an extra source image is called %s", got)
	}
}

func TestPutReadDelete(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		d, ctx, key := openDisk(t, func(c *DiskConfig) { c.Sync = sync }), t.Context(), SourceImage(id1)
		if _, err := d.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("before: %v, want ErrNotFound", err)
		}
		for _, again := range []string{"first", "second, longer", ""} {
			const content = "first" // what is kept is never exchanged
			if err := d.Put(ctx, key, []byte(again)); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, key, content)
			if info, err := d.Stat(ctx, key); err != nil || info.Size != int64(len(content)) || time.Since(info.Stored) > time.Minute {
				t.Errorf("Stat: %+v, %v", info, err)
			}
		}
		for range 2 {
			if err := d.Delete(ctx, key); err != nil {
				t.Error(err)
			}
		}
		if _, err := ReadAll(ctx, d, key); !errors.Is(err, ErrNotFound) {
			t.Errorf("after: %v, want ErrNotFound", err)
		}
		if _, err := d.Prune(ctx, time.Now().Add(time.Second)); err != nil {
			t.Error(err)
		}
		if n := files(t, d); n != 0 {
			t.Errorf("%d files are left", n)
		}
	}
}

func TestUploadsAreReplacedUntilSealed(t *testing.T) {
	t.Parallel()
	d, ctx, key := openDisk(t, nil), t.Context(), Result(id1)
	if _, err := d.Seal(ctx, key); !errors.Is(err, ErrNotFound) {
		t.Errorf("sealing nothing: %v, want ErrNotFound", err)
	}
	for _, content := range []string{"one", "two"} {
		if err := d.upload(ctx, key, bytes.NewReader([]byte(content))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
		t.Errorf("an upload can be read before it is sealed: %v", err)
	}
	for range 2 {
		if info, err := d.Seal(ctx, key); err != nil || info.Size != 3 {
			t.Errorf("Seal: %+v, %v", info, err)
		}
	}
	if err := d.upload(ctx, key, bytes.NewReader([]byte("three"))); !errors.Is(err, ErrSealed) {
		t.Errorf("upload after sealing: %v, want ErrSealed", err)
	}
	wantContent(t, d, key, "two")
	if n := files(t, d); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	// A rejected image makes room for another try.
	if err := d.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := d.upload(ctx, key, bytes.NewReader([]byte("four"))); err != nil {
		t.Error(err)
	}
}

// However uploads and seals run into each other, what was read once after a seal is what is read ever after.
func TestSealedContentNeverChanges(t *testing.T) {
	t.Parallel()
	d, ctx := openDisk(t, nil), t.Context()
	for round := range 50 {
		key := Result(fmt.Sprintf("00000000-0000-4000-8000-%012d", round))
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]bool{}
		for i := range 4 {
			wg.Go(func() {
				err := d.upload(ctx, key, bytes.NewReader(fmt.Appendf(nil, "upload %d", i)))
				if err != nil && !errors.Is(err, ErrSealed) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := d.Seal(ctx, key); errors.Is(err, ErrNotFound) {
					return
				} else if err != nil {
					t.Error(err)
				}
				data, err := ReadAll(ctx, d, key)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				seen[string(data)] = true
			})
		}
		wg.Wait()
		if len(seen) > 1 {
			t.Fatalf("a sealed object had several contents: %v", seen)
		}
	}
}

func TestFailedWritesLeaveNothing(t *testing.T) {
	t.Parallel()
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	broken := errors.New("connection reset")
	head := bytes.NewReader(make([]byte, 100))
	tests := []struct {
		name string
		r    io.Reader
		want error
	}{
		{"a full disk", io.MultiReader(head, iotest.ErrReader(full)), ErrFull},
		{"a broken connection", io.MultiReader(head, iotest.ErrReader(broken)), broken},
		{"too large", bytes.NewReader(make([]byte, 1001)), ErrTooLarge},
		{"far too large", bytes.NewReader(make([]byte, 1<<20)), ErrTooLarge},
		{"just right", bytes.NewReader(make([]byte, 1000)), nil},
	}
	for _, tt := range tests {
		d := openDisk(t, func(c *DiskConfig) { c.MaxBytes = 1000 })
		if err := d.upload(t.Context(), Result(id1), tt.r); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		want := 0
		if tt.want == nil {
			want = 1
		}
		if n := files(t, d); n != want {
			t.Errorf("%s: %d files, want %d", tt.name, n, want)
		}
	}
	d := openDisk(t, func(c *DiskConfig) { c.MaxBytes = 1000 })
	if err := d.Put(t.Context(), Result(id1), make([]byte, 1001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Put: %v, want ErrTooLarge", err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 100, "large": smallObject + 1} {
		d := openDisk(t, nil)
		kept, uploaded := bytes.Repeat([]byte("k"), size), bytes.Repeat([]byte("u"), size)
		if err := d.Put(t.Context(), Result(id1), kept); err != nil {
			t.Fatal(err)
		}
		if err := d.upload(t.Context(), Result(id2), bytes.NewReader(uploaded)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.cfg.Dir, dirTemp, "half"), []byte("up"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // before and after it is sealed
			var err error
			if d, err = OpenDisk(d.cfg); err != nil {
				t.Fatal(err)
			}
			if left, _ := os.ReadDir(filepath.Join(d.cfg.Dir, dirTemp)); len(left) != 0 {
				t.Errorf("%s: half an object is left", name)
			}
			wantContent(t, d, Result(id1), string(kept))
			if _, err := d.Seal(t.Context(), Result(id2)); err != nil {
				t.Fatal(name, err)
			}
			wantContent(t, d, Result(id2), string(uploaded))
		}
		if err := d.Delete(t.Context(), Result(id2)); err != nil {
			t.Fatal(err)
		}
		d, err := OpenDisk(d.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Stat(t.Context(), Result(id2)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: what was deleted is back: %v", name, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*DiskConfig){
		"short secret":      func(c *DiskConfig) { c.Secret = secret[:15] },
		"no secret":         func(c *DiskConfig) { c.Secret = nil },
		"no base":           func(c *DiskConfig) { c.Base = "" },
		"base without host": func(c *DiskConfig) { c.Base = "https://" },
		"base with query":   func(c *DiskConfig) { c.Base = "https://a.test/?x=1" },
		"another scheme":    func(c *DiskConfig) { c.Base = "ftp://a.test" },
	} {
		cfg := DiskConfig{Dir: t.TempDir(), Secret: secret, Base: "https://a.test/sub/"}
		change(&cfg)
		if _, err := OpenDisk(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 1, "large": smallObject + 1} {
		d, ctx := openDisk(t, nil), t.Context()
		age := func(dir string, key Key, age time.Duration) {
			then := time.Now().Add(-age)
			if o, ok := d.small.find(key); ok {
				o.stored = then
				d.small.objects[key] = o
			} else if err := os.Chtimes(d.path(dir, key), then, then); err != nil {
				t.Fatal(err)
			}
		}
		content := strings.Repeat("x", size)
		old, young, upload := Result(id1), SourceMask(id1), Result(id2)
		for _, key := range []Key{old, young} {
			if err := d.Put(ctx, key, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.upload(ctx, upload, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		age(dirKept, old, MaxAge+time.Second)
		age(dirKept, young, MaxAge-time.Minute)
		age(dirUploads, upload, MaxAge+time.Second)

		if n, err := d.Prune(ctx, time.Now().Add(-MaxAge)); n != 2 || err != nil {
			t.Errorf("%s: Prune: %d, %v; want the 2 old ones", name, n, err)
		}
		wantContent(t, d, young, content)
		if n := files(t, d); n != 1 {
			t.Errorf("%s: %d files, want that of the young one", name, n)
		}
		if n, err := d.Prune(t.Context(), time.Now().Add(time.Second)); n != 1 || err != nil {
			t.Errorf("%s: Prune of all: %d, %v", name, n, err)
		}
		if n := files(t, d); n != 0 {
			t.Errorf("%s: %d files are left", name, n)
		}
		if err := d.Put(ctx, old, []byte(content)); err != nil { // the store goes on
			t.Fatal(err)
		}
		wantContent(t, d, old, content)
	}
}
