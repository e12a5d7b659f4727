// SPDX-License-Identifier: AGPL-3.0-or-later

package fediversetest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Missing skips a test that needs a part which is not there, or fails it where HORDE_TEST_REQUIRE is set.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Python is the path of a program in the environment that hack/parts-fediseer.sh makes.
func Python(t testing.TB, program string) string {
	t.Helper()
	dir := os.Getenv("HORDE_TEST_PARTS")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if root == filepath.Dir(root) {
				t.Fatal("the test does not run inside of the module")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, ".parts")
	}
	path := filepath.Join(dir, "fediseer-venv", "bin", program)
	if _, err := os.Stat(path); err != nil {
		Missing(t, "no "+path+"; hack/parts-fediseer.sh makes it")
	}
	return path
}

// MastodonToken is the token of the one account of MastodonMock.
const MastodonToken = "mock_token"

// MastodonMock starts the Mastodon-API server mastodon_mock on loopback and returns its address.
func MastodonMock(t testing.TB) string {
	t.Helper()
	program := Python(t, "mastodon_mock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	var log bytes.Buffer
	cmd := exec.Command(program, "serve", "--in-memory", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--log-level", "warning")
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := fmt.Sprintf("http://127.0.0.1:%d", port)
	for range 600 {
		resp, err := http.Get(address + "/api/v1/instance")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return address
			}
		}
		time.Sleep(100 * time.Millisecond) // another process starts; there is nothing to wait on
	}
	t.Fatalf("mastodon_mock does not answer: %s", log.String())
	return ""
}
