// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"horde/internal/store/storetest"
)

// TestFullDisk fills a small disk, in the file, in the log and in between, and then makes room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("mounting a small disk needs rights that this process does not have: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(t.Context(), filepath.Join(dir, "horde.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	traffic, first := storetest.NewTraffic(1)
	if err := s.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	full := 0
	for round := range 24 {
		// In each round two pages more are left, from nothing to more than the batch needs.
		var disk syscall.Statfs_t
		if err := syscall.Statfs(dir, &disk); err != nil {
			t.Fatal(err)
		}
		room := int64(disk.Bavail)*disk.Bsize - int64(round)*8192
		if err := os.WriteFile(ballast, make([]byte, max(0, room)), 0o600); err != nil {
			t.Fatal(err)
		}
		before := requests(t, s)
		batch := traffic.Waiting(60) // more than what is free in the log
		failed := s.Commit(t.Context(), batch)
		if n := requests(t, s); failed != nil && n != before || failed == nil && n != before+60 {
			t.Fatalf("round %d: from %d requests to %d (commit: %v)", round, before, n, failed)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if failed != nil {
			full++
			if err := s.Commit(t.Context(), batch); err != nil {
				t.Fatalf("round %d: there is room again: %v", round, err)
			}
		}
		// The disk is small: what was written goes again.
		state, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		batch = traffic.Waiting(0)
		for _, r := range state.Requests {
			batch.DeletedRequests = append(batch.DeletedRequests, r.ID)
		}
		if err := s.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 24 commits found the disk full", full)
	if full == 0 {
		t.Fatal("the disk was never full")
	}
}
