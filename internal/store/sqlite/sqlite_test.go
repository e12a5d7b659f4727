// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"horde/internal/store"
	"horde/internal/store/sqlite"
	"horde/internal/store/storetest"
)

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// template is a record that was just made: to copy it is quicker than to make another.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "horde")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "horde.db")
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		path := filepath.Join(t.TempDir(), "a horde's #1? 100%.db") // what would be special in a URI
		data, err := template()
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, path)
		t.Cleanup(func() { closeStore(t, s) })
		return s, func() store.Store {
			closeStore(t, s)
			s = open(t, path)
			return s
		}
	})
}

func TestOpenMakesTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new.db")
	for range 2 { // made, then found
		s := open(t, path)
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	}
	if _, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "no such directory", "new.db")); err == nil {
		t.Fatal("a file was made in a directory that does not exist")
	}
}

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "horde.db")
	s := open(t, path)
	_, err := sqlite.Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("a second store opened the same file: %v", err)
	}
	closeStore(t, s)
	closeStore(t, open(t, path))
}
