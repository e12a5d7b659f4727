// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"context"
	"sync"
	"time"

	"gocloud.dev/blob"

	"horde/internal/hordeling/archive"
)

// room keeps the archive from evicting what somebody may still fetch by a link. The archive evicts what was not used for
// longest, so what was used within the life of a link is safe exactly as long as all of that fits the budget; room adds
// it up, and lets nothing in beyond. It is safe for use by many goroutines.
type room struct {
	archive *archive.Archive
	budget  int64         // 0 means no bound: then nothing is ever evicted, and nothing is added up
	life    time.Duration // how long something is safe after its last use

	// gate is held for writing while something is put into the archive, and for reading while something is looked up:
	// in between, the order of the archive and what is added up here agree.
	gate sync.RWMutex

	mu    sync.Mutex
	used  map[string]use // by stem; guarded by mu
	bytes int64          // sum over used; guarded by mu
	swept time.Time      // when used was last looked through; guarded by mu
	full  bool           // whether the last file was turned away; guarded by mu
}

type use struct {
	bytes int64
	last  time.Time
}

func newRoom(a *archive.Archive, budget int64, life time.Duration) *room {
	return &room{archive: a, budget: budget, life: life, used: make(map[string]use)}
}

// touch notes a use of stem. It is called with gate held.
func (r *room) touch(stem string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += bytes - r.used[stem].bytes
	r.used[stem] = use{bytes, time.Now()}
}

func (r *room) drop(stem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes -= r.used[stem].bytes
	delete(r.used, stem)
}

// find is archive.Find.
func (r *room) find(ctx context.Context, stem string) (*archive.Row, error) {
	if r.budget == 0 {
		return r.archive.Find(ctx, stem)
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	row, err := r.archive.Find(ctx, stem)
	if row != nil {
		r.touch(stem, archive.Cost(row.Size))
	} else if err == nil {
		r.drop(stem)
	}
	return row, err
}

// object is archive.Object.
func (r *room) object(ctx context.Context, key string) (*blob.Reader, *archive.Row, error) {
	if r.budget == 0 {
		return r.archive.Object(ctx, key)
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	object, row, err := r.archive.Object(ctx, key)
	if row != nil {
		r.touch(archive.Stem(row.FileID, row.SourceSHA256), archive.Cost(row.Size))
	}
	return object, row, err
}

// keep runs put, which puts an object of that size under stem into the archive, and tells whether there was room.
func (r *room) keep(stem string, object int64, put func() error) (ok bool, err error) {
	if r.budget == 0 {
		return true, put()
	}
	r.gate.Lock()
	defer r.gate.Unlock()
	if !r.fits(stem, object) {
		return false, nil
	}
	if err := put(); err != nil {
		return true, err
	}
	r.touch(stem, archive.Cost(object))
	return true, nil
}

// turned notes whether a file was turned away, and tells whether it is the first since one was not.
func (r *room) turned(away bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := away && !r.full
	r.full = away
	return first
}

// fits tells whether an object of that size fits beside what is in use. What is larger than the whole budget may come
// where nothing else is in use: the archive keeps the newest in any case.
func (r *room) fits(stem string, object int64) bool {
	if r.budget == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.bytes+archive.Cost(object) > r.budget || now.Sub(r.swept) > r.life {
		r.swept = now
		for s, u := range r.used {
			if now.Sub(u.last) > r.life {
				r.bytes -= u.bytes
				delete(r.used, s)
			}
		}
	}
	others := r.bytes - r.used[stem].bytes
	return others == 0 || others+archive.Cost(object) <= r.budget
}
