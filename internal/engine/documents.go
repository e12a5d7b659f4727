// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"encoding/json"
	"fmt"

	"horde/internal/horde"
	"horde/internal/moderation"
	"horde/internal/store"
)

// The kinds of things that the record keeps as documents, in JSON. The names are stored: never change them.
const (
	teamDocument       = "team"
	styleDocument      = "style"
	collectionDocument = "collection"
	// useDocument is a [use], with the id of the style or of the collection.
	useDocument      = "use"
	transferDocument = "transfer"
	messageDocument  = "message"
	// interrogationDocument is a [horde.Interrogation], formDocument a [horde.Form].
	interrogationDocument = "interrogation"
	formDocument          = "form"
	// The statistics of a kind of work are a [horde.StatMinute], a [horde.StatPast] and many a [horde.StatHour]. Their ids begin
	// with the kind.
	minuteDocument = "stat minute"
	hourDocument   = "stat hour"
	pastDocument   = "stat past"
	// Of moderation: a [moderation.Filter], a [moderation.Place], a [moderation.Evidence], a [moderation.SuspicionEvent], and the
	// next ids of these.
	filterDocument   = "filter"
	placeDocument    = "place"
	evidenceDocument = "evidence"
	reportDocument   = "suspicion"
	countersDocument = "moderation"
	// shownDocument is a [shown].
	shownDocument = "shown"
	// handedDocument is a [handed], ratersPaidDocument a [ratersPaid].
	handedDocument     = "handed"
	ratersPaidDocument = "raters paid"
	// sharedKeyDocument is a [horde.SharedKey].
	sharedKeyDocument = "shared key"
	// supportersDocument is a [supporters]; its id is the source.
	supportersDocument = "supporters"
)

// documentKey names a document.
type documentKey struct{ kind, id string }

// documented is what is kept as a document: it embeds changed, and goes to JSON and back without losing anything.
type documented interface{ note(batch int64) }

func (c *changed) note(batch int64) { c.in = batch }

// document notes that something which is kept as a document is new or has changed.
func (b *batch) document(kind, id string, d documented) {
	b.documents[documentKey{kind, id}] = d
	d.note(b.number)
}

// forgetDocument notes that a document is to be removed.
func (b *batch) forgetDocument(kind, id string) { b.documents[documentKey{kind, id}] = nil }

// sealedDocuments are the documents of a batch as they are now.
func (b *batch) sealedDocuments() []store.Document {
	var list []store.Document
	for key, d := range b.documents {
		out := store.Document{Kind: key.kind, ID: key.id}
		if d != nil {
			data, err := json.Marshal(d)
			if err != nil {
				panic(fmt.Errorf("%s %s: %w", key.kind, key.id, err)) // a type that does not fit JSON
			}
			out.Data = data
		}
		list = append(list, out)
	}
	return list
}

// addDocument puts what the record keeps as a document into the memory. Users and workers are there already. Documents of kinds
// that a later version of the program made stay in the record, untouched.
func (s *state) addDocument(d store.Document) error {
	var err error
	switch d.Kind {
	case teamDocument:
		err = restore(d, s.addTeam)
	case styleDocument:
		err = restore(d, s.addStyle)
	case collectionDocument:
		err = restore(d, s.addCollection)
	case useDocument:
		err = restore(d, func(u *use) { s.uses[d.ID] = u })
	case transferDocument:
		err = restore(d, s.addTransfer)
	case messageDocument:
		err = restore(d, s.addMessage)
	case interrogationDocument:
		err = restore(d, s.addInterrogation)
	case formDocument:
		err = restore(d, s.addForm)
	case sharedKeyDocument:
		err = restore(d, s.addSharedKey)
	case supportersDocument:
		err = restore(d, s.addSupporters)
	case shownDocument:
		err = restore(d, s.addShown)
	case handedDocument:
		err = restore(d, s.addHanded)
	case ratersPaidDocument:
		err = restore(d, s.addRatersPaid)
	case minuteDocument, hourDocument, pastDocument:
		err = s.addStatistics(d)
	case filterDocument:
		err = restore(d, func(f *filter) { s.filters[f.ID] = f })
	case placeDocument:
		err = restore(d, func(p *moderation.Place) { s.places.Add(p) })
	case evidenceDocument:
		err = restore(d, func(v *evidence) { s.evidence = append(s.evidence, v) })
	case reportDocument:
		err = restore(d, func(r *report) { s.reports = append(s.reports, r) })
	case countersDocument:
		err = restore(d, func(c *moderationCounters) { s.counters = c })
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", d.Kind, d.ID, err)
	}
	return nil
}

func restore[T any](d store.Document, add func(*T)) error {
	v := new(T)
	if err := json.Unmarshal(d.Data, v); err != nil {
		return err
	}
	add(v)
	return nil
}

// StoredForms are the forms of alchemy among the documents of a record, for an audit.
func StoredForms(documents []store.Document) (forms []*horde.Form, err error) {
	for _, d := range documents {
		if d.Kind != formDocument {
			continue
		}
		f := new(horde.Form)
		if err := json.Unmarshal(d.Data, f); err != nil {
			return nil, fmt.Errorf("form %s: %w", d.ID, err)
		}
		forms = append(forms, f)
	}
	return forms, nil
}
