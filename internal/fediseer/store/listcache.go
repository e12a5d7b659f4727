// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"container/list"
	"sync"
	"unique"
	"unsafe"

	"horde/internal/fediseer"
)

// DefaultListCacheBytes bounds the memory of the cached lists. A million judgements take about 80 MB.
const DefaultListCacheBytes = 96 << 20

// listCache keeps the lists of judges that were asked for most recently. A list is valid as long as its judge's row has
// the version under which it was read, so a change by any process shows at once. Names and reasons are shared between
// lists, since many judges say the same about the same.
type listCache struct {
	mu      sync.Mutex
	limit   int64                     // bytes
	size    int64                     // guarded by mu
	entries map[listKey]*list.Element // guarded by mu; values are *cachedList
	recent  *list.List                // guarded by mu; front is the latest
}

type listKey struct {
	kind  fediseer.Kind
	judge int64
}

type cachedList struct {
	key     listKey
	version int64
	entries []fediseer.ListEntry
	bytes   int64
}

func newListCache(limit int64) *listCache {
	return &listCache{limit: limit, entries: map[listKey]*list.Element{}, recent: list.New()}
}

func (c *listCache) get(k fediseer.Kind, judge, version int64) ([]fediseer.ListEntry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[listKey{k, judge}]
	if el == nil {
		return nil, false
	}
	l := el.Value.(*cachedList)
	if l.version != version {
		return nil, false
	}
	c.recent.MoveToFront(el)
	return l.entries, true
}

func (c *listCache) put(k fediseer.Kind, judge, version int64, entries []fediseer.ListEntry) {
	const perEntry = int64(unsafe.Sizeof(fediseer.ListEntry{})) + 16 // and a share of the interned texts
	l := &cachedList{key: listKey{k, judge}, version: version, entries: entries, bytes: int64(len(entries))*perEntry + 128}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[l.key]; el != nil {
		if el.Value.(*cachedList).version > version { // a slow reader of an older state
			return
		}
		c.drop(el)
	}
	c.entries[l.key] = c.recent.PushFront(l)
	c.size += l.bytes
	for c.size > c.limit && c.recent.Len() > 0 {
		c.drop(c.recent.Back())
	}
}

// drop is called with mu held.
func (c *listCache) drop(el *list.Element) {
	l := c.recent.Remove(el).(*cachedList)
	delete(c.entries, l.key)
	c.size -= l.bytes
}

// interner shares texts between the lists that one query reads, and with those that were read before while these are in
// use. Equal reasons of one query have one address, which makes filtering them cheap.
type interner struct {
	reasons map[string]*string
}

func (c *listCache) interner() *interner { return &interner{reasons: map[string]*string{}} }

func (i *interner) domain(d fediseer.Domain) fediseer.Domain { return unique.Make(d).Value() }

func (i *interner) reason(s string) *string {
	if p := i.reasons[s]; p != nil {
		return p
	}
	s = unique.Make(s).Value()
	i.reasons[s] = &s
	return &s
}
