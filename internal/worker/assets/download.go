// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"os"
	"strings"
	"time"
)

// Slack by which a file may be larger than CivitAI says, since that is rounded and not always up to date.
const (
	slackFactor = 1.05
	slackBytes  = 64 << 10
)

// errStalled is why a download is cut off that brings nothing any more.
var errStalled = errors.New("nothing came for too long")

// download is a file to be fetched.
type download struct {
	from *url.URL
	// to is the folder for the incomplete file.
	to string
	// size is what it should have, in bytes, 0 when unknown; limit the most that is taken.
	size, limit int64
	// sha256 is what it must have, in lower-case hex; empty: not known.
	sha256 string
}

// fetched is a complete file under a name that is not its own yet.
type fetched struct {
	part   string
	size   int64
	sha256 string
}

// download fetches d with repetitions, in one of the places for downloads.
func (s *Store) download(ctx context.Context, d download) (got fetched, err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return got, fmt.Errorf("%w: too many others", ErrSlow)
	}
	begin := time.Now()
	err = repeat(ctx, func() (f *failure) {
		got, f = s.downloadOnce(ctx, d)
		return f
	})
	if err == nil {
		s.log.Info("downloaded", "from", d.from.Host, "bytes", got.size, "took", time.Since(begin).Round(time.Millisecond))
	}
	return got, err
}

func (s *Store) downloadOnce(ctx context.Context, d download) (got fetched, f *failure) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, f := s.get(ctx, s.files, d.from)
	if f != nil {
		return got, f
	}
	defer resp.Body.Close()
	if f := judge(resp); f != nil {
		return got, f
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
		return got, &failure{err: fmt.Errorf("%w: a web page came instead", ErrDenied), cost: final}
	}
	limit := d.limit
	if d.size > 0 {
		limit = min(limit, int64(float64(d.size)*slackFactor)+slackBytes)
	}
	size := resp.ContentLength
	if size <= 0 {
		size = d.size
	}
	if size > limit {
		return got, &failure{err: fmt.Errorf("%w: %d bytes are too many", ErrRefused, size), cost: final}
	}
	file, err := os.CreateTemp(d.to, partPattern)
	if err != nil {
		return got, &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, err), cost: final}
	}
	defer func() {
		if f != nil {
			_ = os.Remove(file.Name())
		}
	}()
	hash := sha256.New()
	in := &paced{body: resp.Body, size: size, begin: time.Now()}
	in.end, _ = ctx.Deadline()
	stall := time.AfterFunc(stallLimit, func() { cancel(errStalled) })
	defer stall.Stop()
	in.alive = func() { stall.Reset(stallLimit) }
	n, err := io.Copy(io.MultiWriter(file, hash), io.LimitReader(in, limit+1))
	// A file of CreateTemp is for its owner alone; the image server may be somebody else.
	if err = errors.Join(err, file.Chmod(0o644), file.Close()); err == nil && n > limit {
		return got, &failure{err: fmt.Errorf("%w: more than %d bytes", ErrRefused, limit), cost: final}
	}
	switch {
	case errors.Is(err, ErrSlow):
		return got, &failure{err: err, cost: final}
	case errors.Is(context.Cause(ctx), errStalled):
		return got, &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, errStalled), cost: costSilent}
	case err != nil:
		return got, &failure{err: fmt.Errorf("%w: %w", ErrUnavailable, err), cost: costSilent}
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if d.sha256 != "" && !strings.EqualFold(sum, d.sha256) {
		return got, &failure{err: fmt.Errorf("%w: another hash than announced", ErrRefused), cost: costSilent}
	}
	return fetched{part: file.Name(), size: n, sha256: sum}, nil
}

// paced reads a body and ends with ErrSlow as soon as it is plain that it cannot be read to its end in time.
type paced struct {
	body  io.Reader
	size  int64 // bytes to come in all; 0 when unknown
	got   int64
	begin time.Time
	end   time.Time // zero: no limit
	alive func()    // called when something came
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	if n > 0 {
		p.alive()
	}
	p.got += int64(n)
	took := time.Since(p.begin)
	if err != nil || p.size <= 0 || p.end.IsZero() || took < judgeAfter || p.got == 0 {
		return n, err
	}
	if left := float64(p.size-p.got) * float64(took) / float64(p.got); left > float64(time.Until(p.end)) {
		return n, fmt.Errorf("%w: %d of %d bytes after %v", ErrSlow, p.got, p.size, took.Round(time.Second))
	}
	return n, nil
}
