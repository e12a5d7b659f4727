// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// lockFile takes the lock that keeps other processes out, and leaves the number of this one for them to read. The file
// stays when the lock is gone: removing it could take away the lock of the next process.
func lockFile(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if !ok {
		// A file without a number is one whose owner is just starting.
		owner, _ := os.ReadFile(path)
		if pid := strings.TrimSpace(string(owner)); pid != "" {
			return nil, fmt.Errorf("in use by another process (%s)", pid)
		}
		return nil, fmt.Errorf("in use by another process")
	}
	// The number only helps people: where it cannot be written, the lock holds all the same.
	_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return lock, nil
}
