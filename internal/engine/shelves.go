// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"bytes"
	"cmp"
	"time"

	"github.com/tidwall/btree"

	"horde/internal/horde"
)

// stylesPerPage is the length of a page of a list of styles or of collections.
const stylesPerPage = 25

// use counts how often a style or a collection was used. It is a document of its own, for a use is no reason to write all of a style.
type use struct {
	Uses int64 `json:"uses"`
	changed
}

// used is what orders styles and collections.
type used struct {
	uses    int64
	created time.Time
	id      [16]byte
}

func (t *style) used() used      { return used{t.Uses, t.Created, t.ID.UUID} }
func (c *collection) used() used { return used{c.Uses, c.Created, c.ID.UUID} }

// byUse puts what is used most first, the oldest first among equals.
func byUse(a, b used) int { return cmp.Or(cmp.Compare(b.uses, a.uses), byAge(a, b)) }

func byAge(a, b used) int {
	return cmp.Or(a.created.Compare(b.created), bytes.Compare(a.id[:], b.id[:]))
}

// listing checks how a list is asked for.
func listing(sort string, page int) *horde.Error {
	switch {
	case sort != "popular" && sort != "age":
		return horde.ErrStyleSort
	case page < 1:
		return horde.ErrStylePage
	}
	return nil
}

// shelf has what is listed together, in each of the orders of lists, so that a page costs the same however many there are.
type shelf[T interface{ used() used }] struct{ popular, aged *btree.BTreeG[T] }

func newShelf[T interface{ used() used }]() *shelf[T] {
	ordered := func(order func(a, b used) int) *btree.BTreeG[T] {
		return btree.NewBTreeGOptions(func(a, b T) bool { return order(a.used(), b.used()) < 0 }, btree.Options{NoLocks: true})
	}
	return &shelf[T]{ordered(byUse), ordered(byAge)}
}

func (s *shelf[T]) put(x T) {
	s.popular.Set(x)
	s.aged.Set(x)
}

func (s *shelf[T]) take(x T) {
	s.popular.Delete(x)
	s.aged.Delete(x)
}

// page is a page, from 1, of what fits. Nil fits all, and costs what a page costs.
func (s *shelf[T]) page(sort string, page int, fits func(T) bool) []T {
	order := s.popular
	if sort == "age" {
		order = s.aged
	}
	if page > order.Len()/stylesPerPage+1 {
		return nil
	}
	found, skip := make([]T, 0, stylesPerPage), (page-1)*stylesPerPage
	if fits == nil {
		for i := skip; i < min(skip+stylesPerPage, order.Len()); i++ {
			x, _ := order.GetAt(i)
			found = append(found, x)
		}
		return found
	}
	order.Scan(func(x T) bool {
		switch {
		case !fits(x):
		case skip > 0:
			skip--
		default:
			found = append(found, x)
		}
		return len(found) < stylesPerPage
	})
	return found
}

// shelfKey names a shelf of public styles: those of a kind, of them those with a tag, or of them those with a model.
type shelfKey struct {
	kind       horde.Kind
	tag, model string
}

// shelvesOf are the shelves that a style belongs on.
func shelvesOf(t *style) []shelfKey {
	if !t.Public {
		return nil
	}
	keys := make([]shelfKey, 1, 1+len(t.Tags)+len(t.Models))
	keys[0] = shelfKey{kind: t.Kind}
	for _, tag := range t.Tags {
		if tag != "" {
			keys = append(keys, shelfKey{t.Kind, tag, ""})
		}
	}
	for _, model := range t.Models {
		if model != "" {
			keys = append(keys, shelfKey{t.Kind, "", model})
		}
	}
	return keys
}

func (s *styleIndex) shelve(t *style) {
	for _, key := range shelvesOf(t) {
		if s.shelves[key] == nil {
			s.shelves[key] = newShelf[*style]()
		}
		s.shelves[key].put(t)
	}
}

func (s *styleIndex) unshelve(t *style) {
	for _, key := range shelvesOf(t) {
		if s.shelves[key].take(t); s.shelves[key].aged.Len() == 0 {
			delete(s.shelves, key)
		}
	}
}

// styleUsed counts uses of a style, and moves it to where it is listed now.
func (s *styleIndex) styleUsed(t *style, by int64) {
	keys := shelvesOf(t)
	for _, key := range keys {
		s.shelves[key].popular.Delete(t)
	}
	t.Uses += by
	for _, key := range keys {
		s.shelves[key].popular.Set(t)
	}
}

// everyKind is the shelf of the collections of both kinds.
const everyKind horde.Kind = 0

// collectionShelves are the shelves that a collection belongs on.
func (s *styleIndex) collectionShelves(c *collection) []*shelf[*collection] {
	if !c.Public {
		return nil
	}
	return []*shelf[*collection]{s.shelvesOfCollections[everyKind], s.shelvesOfCollections[c.Kind]}
}

// collectionUsed is styleUsed for collections.
func (s *styleIndex) collectionUsed(c *collection, by int64) {
	shelves := s.collectionShelves(c)
	for _, shelf := range shelves {
		shelf.popular.Delete(c)
	}
	c.Uses += by
	for _, shelf := range shelves {
		shelf.popular.Set(c)
	}
}

// keepUse counts one use more.
func (b *batch) keepUse(u **use, id string) {
	if *u == nil {
		*u = new(use)
	}
	(*u).Uses++
	b.document(useDocument, id, *u)
}

// forgetUse is for what is removed.
func (b *batch) forgetUse(u *use, id string) {
	if u != nil {
		b.forgetDocument(useDocument, id)
	}
}

// restoreUses counts the uses that the record has. Styles and collections are there already.
func (s *styleIndex) restoreUses() {
	for _, t := range s.styles {
		t.counted = s.uses[t.ID.String()]
		s.styleUsed(t, t.Earlier+t.counted.total())
	}
	for _, c := range s.collections {
		c.counted = s.uses[c.ID.String()]
		s.collectionUsed(c, c.Earlier+c.counted.total())
	}
	s.uses = nil
}

func (u *use) total() int64 {
	if u == nil {
		return 0
	}
	return u.Uses
}
