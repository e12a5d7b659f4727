// SPDX-License-Identifier: AGPL-3.0-or-later

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

func open(t *testing.T, bucket *blob.Bucket, cfg Config) *Archive {
	t.Helper()
	a, err := Open(context.Background(), bucket, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func openDir(t *testing.T, dir string, budget int64) *Archive {
	t.Helper()
	bucket, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	return open(t, bucket, Config{Budget: budget, Local: true})
}

// keep stores an object for file id and returns its stem.
func keep(t *testing.T, a *Archive, id int64, object []byte) string {
	t.Helper()
	stem := Stem(id, strings.Repeat("ab", 32))
	sum := sha256.Sum256(object)
	if err := a.Keep(context.Background(), stem, &Row{FileID: id, SHA256: hex.EncodeToString(sum[:])}, object); err != nil {
		t.Fatal(err)
	}
	return stem
}

func find(t *testing.T, a *Archive, stem string) *Row {
	t.Helper()
	row, err := a.Find(context.Background(), stem)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func TestStemHasNothingOfTheAuthor(t *testing.T) {
	t.Parallel()
	if got := Stem(24, "0F76B383E4144149"+strings.Repeat("0", 48)); got != "24-0f76b383e4144149-c2" {
		t.Errorf("got %s", got)
	}
}

func TestKeptIsFoundAlsoByTheNextProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := openDir(t, dir, 1<<30)
	stem := keep(t, a, 17, []byte("object"))
	for name, a := range map[string]*Archive{"the same": a, "the next": openDir(t, dir, 1<<30)} {
		row := find(t, a, stem)
		if row == nil || row.Size != 6 || row.Refused() || row.FileID != 17 {
			t.Fatalf("%s process: %+v", name, row)
		}
		r, _, err := a.Object(context.Background(), "ti/"+stem+".safetensors")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(r); err != nil || string(data) != "object" {
			t.Errorf("%s process reads %q, %v", name, data, err)
		}
		r.Close()
	}
	if n := countFiles(t, filepath.Join(dir, "tmp")); n != 0 {
		t.Errorf("%d temporary files are left", n)
	}
	link, err := a.Link(context.Background(), stem, "https://hordeling.example")
	if err != nil || link != "https://hordeling.example/files/ti/"+stem+".safetensors" {
		t.Errorf("link %q, %v", link, err)
	}
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil
	})
	return n
}

// TestWhatACrashLeavesIsNeverServed damages an archive in the ways that a crash or a bad disk can.
func TestWhatACrashLeavesIsNeverServed(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(object, row string) error{
		"object is cut":            func(object, _ string) error { return os.Truncate(object, 3) },
		"object is empty":          func(object, _ string) error { return os.Truncate(object, 0) },
		"object has other bytes":   func(object, _ string) error { return os.WriteFile(object, []byte("OBJECT"), 0o644) },
		"object is gone":           func(object, _ string) error { return os.Remove(object) },
		"row is gone":              func(_, row string) error { return os.Remove(row) },
		"row is cut":               func(_, row string) error { return os.Truncate(row, 20) },
		"row is empty":             func(_, row string) error { return os.Truncate(row, 0) },
		"row is an empty document": func(_, row string) error { return os.WriteFile(row, []byte("{}"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			stem := keep(t, openDir(t, dir, 1<<30), 17, []byte("object"))
			if err := damage(filepath.Join(dir, "ti", stem+".safetensors"), filepath.Join(dir, "row", stem+".json")); err != nil {
				t.Fatal(err)
			}
			a := openDir(t, dir, 1<<30)
			if r, _, err := a.Object(context.Background(), "ti/"+stem+".safetensors"); r != nil || err != nil {
				t.Errorf("served: %v", err)
			}
			if row := find(t, a, stem); row != nil {
				t.Errorf("found: %+v", row)
			}
			keep(t, a, 17, []byte("object"))
			if row := find(t, a, stem); row == nil {
				t.Error("made again it is not found")
			}
		})
	}
}

func TestStartSweepsUnfinishedObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stem := keep(t, openDir(t, dir, 1<<30), 17, []byte("object"))
	for _, name := range []string{"tmp/ABC", "tmp/fileblob123", "ti/fileblob456", "row/fileblob789", "ti/evil.safetensors"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := openDir(t, dir, 1<<30)
	if n := countFiles(t, dir); n != 2 {
		t.Errorf("%d files, want row and object", n)
	}
	if find(t, a, stem) == nil {
		t.Error("the whole one is gone")
	}
}

func TestKeysThatAreNoObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := openDir(t, dir, 1<<30)
	stem := keep(t, a, 17, []byte("object"))
	for _, key := range []string{
		"", "ti/", "row/" + stem + ".json", "ti/" + stem + ".json", "ti/../row/" + stem + ".json", "../ti/" + stem + ".safetensors",
		"ti/" + stem + ".safetensors/", "ti/17-XX.safetensors", "/etc/passwd", "tmp/x",
	} {
		if r, _, err := a.Object(context.Background(), key); r != nil || err != nil {
			t.Errorf("%q: %v, %v", key, r, err)
		}
	}
	if err := a.Keep(context.Background(), "../up/n", &Row{}, nil); err == nil {
		t.Error("a stem with a path is kept")
	}
}

func TestBudgetEvictsWhatWasNotUsedForLongest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	object := bytes.Repeat([]byte("x"), 10_000) // 3 blocks, and 1 for the row
	a := openDir(t, dir, 4*4*blockBytes)
	var stems []string
	for id := range int64(4) {
		stems = append(stems, keep(t, a, id, object))
	}
	find(t, a, stems[0])
	stems = append(stems, keep(t, a, 4, object))
	for i, want := range []bool{true, false, true, true, true} {
		if got := find(t, a, stems[i]) != nil; got != want {
			t.Errorf("object %d is there: %v, want %v", i, got, want)
		}
	}
	if n, size := a.Stats(); n != 4 || size != 16*blockBytes {
		t.Errorf("%d rows, %d bytes", n, size)
	}
	if n := countFiles(t, dir); n != 8 {
		t.Errorf("%d files", n)
	}
	// A smaller budget at the next start is kept at once.
	a = openDir(t, dir, 2*4*blockBytes)
	if n, size := a.Stats(); n != 2 || size != 8*blockBytes {
		t.Errorf("%d rows, %d bytes after the start", n, size)
	}
	// Refusals count, too: a flood of them is no way around the budget.
	for id := range int64(20) {
		if err := a.KeepRefusal(context.Background(), Stem(100+id, strings.Repeat("cd", 32)), &Row{RC: "UnsafePickle"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, size := a.Stats(); size > 8*blockBytes {
		t.Errorf("%d bytes", size)
	}
}

func TestRefusalsAreRememberedAndExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bucket := memblob.OpenBucket(nil)
		defer bucket.Close()
		a := open(t, bucket, Config{})
		forever, brief := Stem(1, strings.Repeat("ab", 32)), Stem(2, strings.Repeat("ab", 32))
		ctx := context.Background()
		if err := a.KeepRefusal(ctx, forever, &Row{RC: "UnsafePickle", Message: "m"}); err != nil {
			t.Fatal(err)
		}
		if err := a.KeepRefusal(ctx, brief, &Row{RC: "HashMismatch", Expires: time.Now().Add(600 * time.Second)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(599 * time.Second)
		next := open(t, bucket, Config{})
		for name, a := range map[string]*Archive{"the same": a, "the next": next} {
			if row := find(t, a, forever); row == nil || row.RC != "UnsafePickle" || row.Message != "m" {
				t.Errorf("%s process: %+v", name, row)
			}
			if find(t, a, brief) == nil {
				t.Errorf("%s process lost the brief refusal", name)
			}
		}
		time.Sleep(time.Second)
		if find(t, a, forever) == nil || find(t, a, brief) != nil || find(t, next, brief) != nil {
			t.Error("after 600 s")
		}
	})
}

func TestWithoutABudgetMemoryIsBounded(t *testing.T) {
	t.Parallel()
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	a := open(t, bucket, Config{})
	for i := range remembered + 10 {
		a.remember(fmt.Sprint(i), &Row{RC: "x"}, blockBytes, true)
	}
	if n, size := a.Stats(); n != remembered || size != remembered*blockBytes {
		t.Errorf("%d rows, %d bytes", n, size)
	}
}
