// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"time"
)

// kept is where the last good copies of lists from the network are, so that a server which starts while their server is away
// goes on with what it had. The zero value keeps none.
type kept struct{ dir string }

// path is where the copy of an address is. The address is not in it: there may be a password in that.
func (k kept) path(address string) string {
	sum := sha256.Sum256([]byte(address))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:12])+".list")
}

// save keeps a list that could be used.
func (k kept) save(address string, data []byte) error {
	if k.dir == "" {
		return nil
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.dir, "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone when it was renamed
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), k.path(address))
	}
	return err
}

// load is the last good copy of an address, and when it was made.
func (k kept) load(address string) (data []byte, made time.Time, ok bool) {
	if k.dir == "" {
		return nil, time.Time{}, false
	}
	info, err := os.Stat(k.path(address))
	if err != nil || info.Size() > maxListSize {
		return nil, time.Time{}, false
	}
	data, err = os.ReadFile(k.path(address))
	return data, info.ModTime(), err == nil
}
