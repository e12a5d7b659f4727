// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"horde/internal/blob"
	"horde/internal/engine"
	"horde/internal/horde"
)

// blobs are images in memory, and what makes images of what comes. They are slow and fail as the seed says.
type blobs struct {
	mu      sync.Mutex // guards all below
	rng     *rand.Rand
	kept    map[blob.Key][]byte
	uploads map[blob.Key][]byte
}

func newBlobs(rng *rand.Rand) *blobs {
	return &blobs{rng: rng, kept: map[blob.Key][]byte{}, uploads: map[blob.Key][]byte{}}
}

// errBlob is what storage answers that fails.
var errBlob = errors.New("the storage of images failed, as the seed wants it")

// fault waits and fails as the seed says.
func (b *blobs) fault(ctx context.Context) error {
	b.mu.Lock()
	n, d := b.rng.IntN(100), time.Duration(b.rng.IntN(3_000_000))*time.Microsecond
	b.mu.Unlock()
	if n < 20 {
		timer := time.NewTimer(d + 211*time.Nanosecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch {
	case n == 0:
		return errBlob
	case n == 1:
		return blob.ErrFull
	}
	return nil
}

// upload is what a worker does with a signed link.
func (b *blobs) upload(key blob.Key, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uploads[key] = []byte(data)
}

// Put implements blob.Store.
func (b *blobs) Put(ctx context.Context, key blob.Key, data []byte) error {
	if err := b.fault(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.kept[key]; !ok {
		b.kept[key] = data
	}
	return nil
}

// Seal implements blob.Store.
func (b *blobs) Seal(ctx context.Context, key blob.Key) (blob.Info, error) {
	if err := b.fault(ctx); err != nil {
		return blob.Info{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.kept[key]; !ok {
		data, ok := b.uploads[key]
		if !ok {
			return blob.Info{}, blob.ErrNotFound
		}
		b.kept[key] = data
	}
	return blob.Info{Size: int64(len(b.kept[key]))}, nil
}

// Open implements blob.Store.
func (b *blobs) Open(_ context.Context, key blob.Key) (io.ReadCloser, blob.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.kept[key]
	if !ok {
		return nil, blob.Info{}, blob.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), blob.Info{Size: int64(len(data))}, nil
}

// Stat implements blob.Store.
func (b *blobs) Stat(ctx context.Context, key blob.Key) (blob.Info, error) {
	_, info, err := b.Open(ctx, key)
	return info, err
}

// Delete implements blob.Store.
func (b *blobs) Delete(_ context.Context, key blob.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.kept, key)
	delete(b.uploads, key)
	return nil
}

// Prune implements blob.Store.
func (b *blobs) Prune(context.Context, time.Time) (int, error) { return 0, nil }

// SignGet implements blob.Store.
func (b *blobs) SignGet(_ context.Context, key blob.Key, _ time.Duration) (string, error) {
	return "get:" + string(key), nil
}

// SignPut implements blob.Store.
func (b *blobs) SignPut(_ context.Context, key blob.Key, _ time.Duration) (string, error) {
	return "put:" + string(key), nil
}

// The beginnings of what comes as an image.
const (
	picture  = "picture:"
	broken   = "broken:"
	unusable = "unusable:"
)

// Source implements engine.Pictures.
func (b *blobs) Source(ctx context.Context, input string, _ bool) ([]byte, error) {
	if err := b.fault(ctx); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(input, picture) {
		return nil, horde.ErrRequestWorker // some refusal
	}
	return []byte(input), nil
}

// Result implements engine.Pictures.
func (b *blobs) Result(ctx context.Context, input string) ([]byte, error) {
	if err := b.fault(ctx); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(input, picture):
		return []byte(input), nil
	case strings.HasPrefix(input, broken):
		return nil, horde.ErrCorruptResult
	}
	return nil, engine.ErrNoImage
}

// Alchemy implements engine.Pictures.
func (b *blobs) Alchemy(ctx context.Context, input string) ([]byte, int, error) {
	webp, err := b.Source(ctx, input, false)
	return webp, 1, err
}
