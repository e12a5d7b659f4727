// SPDX-License-Identifier: AGPL-3.0-or-later

package hordelingtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The keys of StartS3.
const (
	S3Access = "access"
	S3Secret = "secretsecret"
)

// StartS3 starts versitygw, a real S3 server, over a directory with an empty bucket "hordeling", until
// the test ends. Its keys are S3Access and S3Secret.
func StartS3(t testing.TB) (endpoint string) {
	t.Helper()
	program := Part(t, "bin/versitygw")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "hordeling"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "--port", addr, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+S3Access, "ROOT_SECRET_KEY="+S3Secret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "http://" + addr
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
