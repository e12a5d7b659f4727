// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func segmentFiles(t *testing.T, d *Disk) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(d.cfg.Dir, dirJournal, "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What a power failure leaves of the last writes: any number of bytes, or zeros in their place.
func TestATornJournalKeepsWhatIsWhole(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T) (*Disk, string, int64) {
		d := openDisk(t, func(c *DiskConfig) { c.Sync = true })
		if err := d.Put(t.Context(), Result(id1), []byte("the first")); err != nil {
			t.Fatal(err)
		}
		name := segmentFiles(t, d)[0]
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.upload(t.Context(), Result(id2), strings.NewReader("the second")); err != nil {
			t.Fatal(err)
		}
		return d, name, info.Size()
	}
	_, name, whole := build(t)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole; cut < info.Size(); cut++ {
		for _, zeros := range []bool{false, true} {
			d, name, _ := build(t)
			if err := os.Truncate(name, cut); err != nil {
				t.Fatal(err)
			}
			if zeros {
				if err := os.Truncate(name, info.Size()); err != nil {
					t.Fatal(err)
				}
			}
			d, err := OpenDisk(d.cfg)
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, Result(id1), "the first")
			if _, err := d.Seal(t.Context(), Result(id2)); !errors.Is(err, ErrNotFound) {
				t.Fatalf("cut at %d, zeros %v: half an upload was sealed: %v", cut, zeros, err)
			}
			if err := d.upload(t.Context(), Result(id2), strings.NewReader("again")); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Seal(t.Context(), Result(id2)); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, Result(id2), "again")
		}
	}
}

func TestUploadsChangeBetweenSmallAndLarge(t *testing.T) {
	t.Parallel()
	large, little := bytes.Repeat([]byte("L"), smallObject+1), []byte("s")
	for name, order := range map[string][2][]byte{"small, then large": {little, large}, "large, then small": {large, little}} {
		d := openDisk(t, nil)
		for _, content := range order {
			if err := d.upload(t.Context(), Result(id1), bytes.NewReader(content)); err != nil {
				t.Fatal(name, err)
			}
		}
		if info, err := d.Seal(t.Context(), Result(id1)); err != nil || info.Size != int64(len(order[1])) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		wantContent(t, d, Result(id1), string(order[1]))
		for _, content := range order {
			if err := d.upload(t.Context(), Result(id1), bytes.NewReader(content)); !errors.Is(err, ErrSealed) {
				t.Errorf("%s: exchanged after it was sealed: %v", name, err)
			}
			if err := d.Put(t.Context(), Result(id1), content); err != nil {
				t.Error(name, err)
			}
		}
		wantContent(t, d, Result(id1), string(order[1]))
		d, err := OpenDisk(d.cfg)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, d, Result(id1), string(order[1]))
	}
}

// The seal of an object may be in another segment than the object.
func TestSegmentsEnd(t *testing.T) {
	t.Parallel()
	d := openDisk(t, func(c *DiskConfig) { c.Sync = true })
	if err := d.upload(t.Context(), Result(id2), strings.NewReader("across")); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("x"), smallObject)
	var group sync.WaitGroup
	for i := range maxSegment/smallObject + 2 {
		group.Go(func() {
			key := Result(fmt.Sprintf("00000000-0000-4000-8000-%012d", 100+i))
			if err := d.Put(t.Context(), key, content); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(segmentFiles(t, d)); n != 2 {
		t.Errorf("%d segments", n)
	}
	if _, err := d.Seal(t.Context(), Result(id2)); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDisk(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, Result(id2), "across")
	wantContent(t, d, Result("00000000-0000-4000-8000-000000000101"), string(content))
}

func TestADiskThatFailsIsNotBelievedAgain(t *testing.T) {
	t.Parallel()
	d := openDisk(t, func(c *DiskConfig) { c.Sync = true })
	if err := d.upload(t.Context(), Result(id1), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	s := d.small.segments[0]
	s.syncing.Lock()
	s.failed = errors.New("the disk failed")
	s.syncing.Unlock()
	for range 2 {
		if _, err := d.Seal(t.Context(), Result(id1)); err == nil {
			t.Fatal("sealed on a disk that has failed")
		}
		if _, err := d.Stat(t.Context(), Result(id1)); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is kept all the same: %v", err)
		}
	}
}
