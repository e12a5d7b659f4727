// SPDX-License-Identifier: AGPL-3.0-or-later

package dotenv

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Setenv("DOTENV_TEST_SET", "before")
	for _, name := range []string{"DOTENV_TEST_QUOTED", "DOTENV_TEST_PLAIN"} {
		t.Setenv(name, "") // so that it is put back afterwards
		os.Unsetenv(name)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, File("test"))
	text := "# comment\nexport DOTENV_TEST_QUOTED='a b'\n DOTENV_TEST_PLAIN = [\"x\"]\r\nDOTENV_TEST_SET=after\nno line\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(file); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"DOTENV_TEST_QUOTED": "a b", "DOTENV_TEST_PLAIN": `["x"]`, "DOTENV_TEST_SET": "before"} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := Load(filepath.Join(dir, File(""))); err != nil {
		t.Error("a file that is not there:", err)
	}
	if err := Load(dir); err == nil {
		t.Error("a file that cannot be read is no error")
	}
	if err := os.WriteFile(file, []byte("=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(file); err == nil {
		t.Error("a variable without a name is no error")
	}
}
