// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// indexName is the file in a folder that tells what is known of the files in it. Image servers look for models by
	// their endings and do not see it.
	indexName = ".horde-assets.json"
	// partPattern is the name of a file that is not complete yet.
	partPattern = ".horde-*.part"
	// partAge is how old such a file is when nobody writes to it any more.
	partAge = time.Hour
)

// entry is a file that this program fetched.
type entry struct {
	File      string    `json:"file"`
	Name      string    `json:"name"`
	ModelID   int64     `json:"model_id"`
	VersionID int64     `json:"version_id,omitempty"`
	BaseModel string    `json:"base_model,omitempty"`
	Words     []string  `json:"trained_words,omitempty"`
	NSFW      bool      `json:"nsfw,omitempty"`
	SHA256    string    `json:"sha256"`
	Size      int64     `json:"size"`
	Used      time.Time `json:"used"`
}

// shelf is a folder of an image server with the files that were put into it. mu guards what stands below it.
type shelf struct {
	dir    string
	budget int64 // bytes that the files in entries may take together

	mu      sync.Mutex
	entries map[string]*entry // by File
	inUse   map[string]int    // jobs that need a file
}

// openShelf reads what is known of a folder and removes what a crash left half-written.
func openShelf(dir string, budget int64) (*shelf, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder", dir)
	}
	s := &shelf{dir: dir, budget: budget, entries: map[string]*entry{}, inUse: map[string]int{}}
	data, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []*entry
	if err == nil && json.Unmarshal(data, &list) != nil {
		list = nil // what is known anew is written over it
	}
	for _, e := range list {
		// A name with a directory in it could only come from somebody else.
		if e != nil && filepath.Base(e.File) == e.File && s.there(e) {
			s.entries[e.File] = e
		}
	}
	parts, _ := filepath.Glob(filepath.Join(dir, partPattern))
	for _, p := range parts {
		if info, err := os.Stat(p); err == nil && time.Since(info.ModTime()) > partAge {
			_ = os.Remove(p)
		}
	}
	return s, nil
}

func (s *shelf) path(file string) string { return filepath.Join(s.dir, file) }

func (s *shelf) there(e *entry) bool {
	info, err := os.Stat(s.path(e.File))
	return err == nil && info.Mode().IsRegular() && info.Size() == e.Size
}

// take finds the file that fits best, the most recently used one of several, and keeps it from being removed until it is
// put back. It returns a copy, or nil when nothing fits.
func (s *shelf) take(fits func(*entry) int) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var best *entry
		score := fitsNot
		for _, e := range s.entries {
			if n := fits(e); n > score || n == score && n != fitsNot && e.Used.After(best.Used) {
				best, score = e, n
			}
		}
		if best == nil {
			return nil
		}
		if !s.there(best) {
			delete(s.entries, best.File)
			continue
		}
		best.Used = time.Now()
		s.inUse[best.File]++
		_ = s.save() // the order of use is all that would be lost
		c := *best
		return &c
	}
}

// back is the opposite of take.
func (s *shelf) back(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse[file]--; s.inUse[file] <= 0 {
		delete(s.inUse, file)
	}
}

// put moves a complete file from part to its place and writes its hash beside it.
func (s *shelf) put(part string, e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(e.Size)
	if err := os.Rename(part, s.path(e.File)); err != nil {
		return err
	}
	return s.register(e)
}

// adopt takes a file in that lies there already.
func (s *shelf) adopt(e entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.register(e)
}

// register is called with mu held.
func (s *shelf) register(e entry) error {
	e.Used = time.Now()
	s.entries[e.File] = &e
	return errors.Join(os.WriteFile(s.sidecar(e.File), fmt.Appendf(nil, "%s *%s\n", e.SHA256, e.File), 0o644), s.save())
}

func (s *shelf) sidecar(file string) string {
	return s.path(strings.TrimSuffix(file, filepath.Ext(file)) + ".sha256")
}

// makeRoom removes the least recently used files that no job needs until size more bytes fit. mu is held.
func (s *shelf) makeRoom(size int64) {
	total := size
	for _, e := range s.entries {
		total += e.Size
	}
	for total > s.budget {
		var oldest *entry
		for _, e := range s.entries {
			if s.inUse[e.File] == 0 && (oldest == nil || e.Used.Before(oldest.Used)) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		// A file that cannot be removed is not counted any more: the next one may do.
		_ = os.Remove(s.path(oldest.File))
		_ = os.Remove(s.sidecar(oldest.File))
		delete(s.entries, oldest.File)
		total -= oldest.Size
	}
}

// save writes the index. mu is held.
func (s *shelf) save() error {
	list := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, e)
	}
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(s.dir, partPattern)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(s.dir, indexName))
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
