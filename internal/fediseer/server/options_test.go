// SPDX-License-Identifier: AGPL-3.0-or-later

package server_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"horde/internal/fediseer/server"
)

// Options that cannot be meant are refused with a word about why, and nothing is made.
func TestWrongOptions(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	open := func(set func(*server.Config)) (string, error) {
		cfg := server.Default()
		cfg.Data, cfg.AdminKey = data, "first"
		set(&cfg)
		var said bytes.Buffer
		s, err := server.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			return said.String(), err
		}
		return said.String(), s.Close()
	}
	if said, err := open(func(*server.Config) {}); err != nil || strings.Contains(said, "does not count") {
		t.Fatal(said, err)
	}
	if info, err := os.Stat(filepath.Join(data, "fediseer.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if said, err := open(func(c *server.Config) { c.Existing = true }); err != nil {
		t.Error(said, err)
	}
	if said, err := open(func(c *server.Config) { c.AdminKey = "second" }); err != nil || !strings.Contains(said, "does not count") || strings.Contains(said, "second") {
		t.Error(said, err)
	}
	typo := filepath.Join(t.TempDir(), "typo")
	for want, set := range map[string]func(*server.Config){
		"there is no record":     func(c *server.Config) { c.Data, c.Existing = typo, true },
		"is that of fediseer":    func(c *server.Config) { c.Domain = "other.example" },
		"--probe-timeout":        func(c *server.Config) { c.Data, c.ProbeTimeout = typo, -time.Second },
		"--batch-deadline":       func(c *server.Config) { c.Data, c.BatchDeadline = typo, 0 },
		"--update-every":         func(c *server.Config) { c.Data, c.UpdateEvery = typo, -1 },
		"--update-parallel":      func(c *server.Config) { c.Data, c.UpdateParallel = typo, 0 },
		"--ignore-poll-fails":    func(c *server.Config) { c.Data, c.IgnoreFails = typo, -2 },
		"--trusted-proxies":      func(c *server.Config) { c.Data, c.TrustedProxies = typo, -1 },
		"postgres:// URL or the": func(c *server.Config) { c.Database = "mysql://u:hidden@x/y" },
		"no such file":           func(c *server.Config) { c.Database = filepath.Join(typo, "x", "y.db") },
	} {
		_, err := open(set)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := os.Stat(typo); err == nil {
		t.Error("a directory was made")
	}
}

// The files that SQLite puts beside the record are as private as the record.
func TestPrivateRecord(t *testing.T) {
	t.Parallel()
	cfg := server.Default()
	cfg.Data, cfg.Listen, cfg.PublicURL, cfg.UpdateEvery = t.TempDir(), "127.0.0.1:0", "", 0
	s, err := server.Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	files, err := filepath.Glob(filepath.Join(cfg.Data, "fediseer.db*"))
	if err != nil || len(files) != 3 {
		t.Error(files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(f, info, err)
		}
	}
}
