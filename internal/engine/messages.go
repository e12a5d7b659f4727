// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"horde/internal/horde"
)

// message is a message to workers.
type message struct {
	horde.Message
	changed
}

const (
	// messagesPerPage is how many messages a page of the list has.
	messagesPerPage = 50
	// maxActiveMessages bounds what is delivered to one worker, which each of its pops carries. Moderators may go beyond it.
	maxActiveMessages = 50
	// maxKeptMessages bounds the messages of one worker that are kept, with those that have expired.
	maxKeptMessages = 200
	// expiredMessagesKept is how long a message is kept after it expired.
	expiredMessagesKept = 30 * 24 * time.Hour
)

// mail is the messages to workers.
type mail struct {
	messages map[horde.MessageID]*message
	// broadcasts are those for all workers, in order of creation. Those that have expired leave it soon, for every pop looks
	// at it.
	broadcasts []*message
}

// addMessage puts a message into the memory. Workers are there already; a message to one that is not is delivered to nobody.
func (s *state) addMessage(m *message) {
	s.messages[m.ID] = m
	if m.ToAll() {
		s.broadcasts = inOrder(s.broadcasts, m)
	} else if w := s.workers[m.Worker]; w != nil {
		w.messages = inOrder(w.messages, m)
	}
}

func inOrder(list []*message, m *message) []*message {
	at, _ := slices.BinarySearchFunc(list, m, func(a, b *message) int { return a.Created.Compare(b.Created) })
	return slices.Insert(list, at, m)
}

// mailFor is what a pop of the worker carries, and the batch to wait for before it is told.
func (e *Engine) mailFor(w *worker, now time.Time) (list []*horde.Message, wait *batch) {
	for _, from := range [][]*message{e.broadcasts, w.messages} {
		for _, m := range from {
			if !m.Active(now) {
				continue
			}
			list = append(list, &m.Message)
			if b := e.pending(&m.changed); b != nil && (wait == nil || b.number > wait.number) {
				wait = b
			}
		}
	}
	return list, wait
}

// MessageFilter says which messages are wanted. Empty fields do not matter.
type MessageFilter struct {
	Author, Worker string
	Validity       horde.Validity
	Page           int // from 1, of 50 messages
}

// Messages lists messages to workers, the newest first: to moderators all, to others their own and those to all workers.
func (e *Engine) Messages(ctx context.Context, key string, f MessageFilter) ([]horde.Message, error) {
	return change(ctx, e, func() ([]horde.Message, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return nil, nil, err
		}
		moderator := u.Has(horde.Moderator)
		author, fits := horde.ParseUserID(f.Author)
		switch worker, ok := horde.ParseWorkerID(f.Worker); {
		case f.Author != "" && !moderator && (!fits || author != u.ID):
			return nil, nil, horde.ErrMessagesForbidden
		case f.Author != "" && !fits:
			return nil, nil, horde.ErrMessageFilter.Withf("user_id is the number of an account.")
		case f.Worker != "" && !ok:
			return nil, nil, horde.ErrMessageFilter.Withf("worker_id is the id of a worker.")
		case f.Page < 1:
			return nil, nil, horde.ErrMessageFilter.Withf("Pages are counted from 1.")
		case f.Validity != horde.ActiveMessages && f.Validity != horde.ExpiredMessages && f.Validity != horde.AllMessages:
			return nil, nil, horde.ErrMessageFilter.Withf("validity is active, expired or all.")
		default:
			if !moderator {
				author = u.ID
			}
			now := time.Now()
			var found []*message
			for _, m := range e.messages {
				if !f.Validity.Takes(&m.Message, now) || f.Worker != "" && m.Worker != worker ||
					(!moderator || f.Author != "") && !m.ToAll() && m.Author != author {
					continue
				}
				found = append(found, m)
			}
			slices.SortFunc(found, func(a, b *message) int {
				return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID.String(), b.ID.String()))
			})
			from := min(len(found), min(f.Page-1, len(found))*messagesPerPage)
			found = found[from:min(len(found), from+messagesPerPage)]
			list := make([]horde.Message, len(found))
			var wait *batch
			for i, m := range found {
				list[i] = m.Message
				if b := e.pending(&m.changed); b != nil && (wait == nil || b.number > wait.number) {
					wait = b
				}
			}
			return list, wait, nil
		}
	})
}

// Message shows a message to anybody who knows its id.
func (e *Engine) Message(ctx context.Context, id string) (horde.Message, error) {
	return change(ctx, e, func() (horde.Message, *batch, *horde.Error) {
		m := e.messageByID(id)
		if m == nil {
			return horde.Message{}, nil, horde.ErrMessageNotFound
		}
		return m.Message, e.pending(&m.changed), nil
	})
}

func (s *state) messageByID(text string) *message {
	id, ok := horde.ParseMessageID(text)
	if !ok {
		return nil
	}
	return s.messages[id]
}

// SendMessage tells a worker of the caller's something or, from a moderator, any worker or all of them.
func (e *Engine) SendMessage(ctx context.Context, key string, d *horde.MessageDraft) (horde.Message, error) {
	return change(ctx, e, func() (horde.Message, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return horde.Message{}, nil, err
		}
		moderator, w, now := u.Has(horde.Moderator), e.workerByID(str(d.WorkerID)), time.Now().UTC()
		switch {
		case u.ID == horde.Anonymous:
			return horde.Message{}, nil, horde.ErrAnonForbidden
		case strings.Contains(str(d.Text)+str(d.Origin), "\x00"):
			return horde.Message{}, nil, horde.ErrNulByte
		case d.WorkerID == nil && !moderator:
			return horde.Message{}, nil, horde.ErrMessageToNobody
		case d.WorkerID != nil && w == nil:
			return horde.Message{}, nil, horde.ErrWorkerNotFound
		case !moderator && w.owner != u:
			return horde.Message{}, nil, horde.ErrMessagesOwnOnly
		case !moderator && w.activeMessages(now) >= maxActiveMessages:
			return horde.Message{}, nil, horde.ErrTooManyMessages
		}
		m := &message{Message: horde.Message{
			ID: horde.NewMessageID(), Author: u.ID, Text: str(d.Text), Origin: u.ID.String(), Created: now, Expires: now.Add(horde.DefaultMessageLife),
		}}
		if d.Expiry != nil {
			m.Expires = now.Add(time.Duration(*d.Expiry) * time.Hour)
		}
		if moderator {
			m.Origin = cmp.Or(str(d.Origin), horde.ModeratorOrigin)
		}
		if w != nil {
			m.Worker = w.ID
			for len(w.messages) >= maxKeptMessages {
				e.dropMessage(w.messages[w.soonest()])
			}
		}
		e.addMessage(m)
		e.open.document(messageDocument, m.ID.String(), m)
		return m.Message, e.open, nil
	})
}

func (w *worker) activeMessages(now time.Time) (n int) {
	for _, m := range w.messages {
		if m.Active(now) {
			n++
		}
	}
	return n
}

// soonest is the index of the message to the worker that expires, or has expired, before the others.
func (w *worker) soonest() (at int) {
	for i, m := range w.messages {
		if m.Expires.Before(w.messages[at].Expires) {
			at = i
		}
	}
	return at
}

// DeleteMessage takes a message back: its author may, and moderators.
func (e *Engine) DeleteMessage(ctx context.Context, key, id string) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		u, err := e.userOf(key)
		if err != nil {
			return struct{}{}, nil, err
		}
		m := e.messageByID(id)
		switch {
		case m == nil:
			return struct{}{}, nil, horde.ErrMessageNotFound
		case u.ID == horde.Anonymous, m.Author != u.ID && !u.Has(horde.Moderator):
			return struct{}{}, nil, horde.ErrMessageForbidden
		}
		e.dropMessage(m)
		return struct{}{}, e.open, nil
	})
	return err
}

// dropMessage takes a message out of memory and record.
func (e *Engine) dropMessage(m *message) {
	same := func(other *message) bool { return other == m }
	if m.ToAll() {
		e.broadcasts = slices.DeleteFunc(e.broadcasts, same)
	} else if w := e.workers[m.Worker]; w != nil {
		w.messages = slices.DeleteFunc(w.messages, same)
	}
	delete(e.messages, m.ID)
	e.open.forgetDocument(messageDocument, m.ID.String())
}

// dropMessagesOf takes back all that an account has said, which names it.
func (e *Engine) dropMessagesOf(author horde.UserID) {
	for _, m := range e.messages {
		if m.Author == author {
			e.dropMessage(m)
		}
	}
}

// sweepMessages forgets what expired long ago, and what was for a worker that is gone.
func (e *Engine) sweepMessages(now time.Time) {
	e.broadcasts = slices.DeleteFunc(e.broadcasts, func(m *message) bool { return !m.Active(now) })
	for _, m := range e.messages {
		if now.Sub(m.Expires) > expiredMessagesKept || !m.ToAll() && e.workers[m.Worker] == nil {
			e.dropMessage(m)
		}
	}
}
