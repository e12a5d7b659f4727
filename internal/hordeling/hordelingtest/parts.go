// SPDX-License-Identifier: AGPL-3.0-or-later

package hordelingtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Part returns the path of a program that hack/parts-hordeling.sh installs. Where it is missing the test is skipped, or
// fails if HORDE_TEST_REQUIRE is 1. Parts lie in HORDE_TEST_PARTS, or in .parts of the repository.
func Part(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("HORDE_TEST_PARTS")
	if dir == "" {
		dir = filepath.Join(root(t), ".parts")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		Missing(t, name+" is not installed: run hack/parts-hordeling.sh")
	}
	return path
}

// Missing skips the test for want of a part, or fails it if HORDE_TEST_REQUIRE is 1.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// root is the directory of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
