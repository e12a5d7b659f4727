// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"time"

	"github.com/google/uuid"
)

// MessageID is the random id of a message to workers.
type MessageID struct{ uuid.UUID }

// NewMessageID returns a fresh random id.
func NewMessageID() MessageID { return MessageID{uuid.New()} }

// ParseMessageID is ParseRequestID for messages.
func ParseMessageID(s string) (MessageID, bool) {
	id, err := uuid.Parse(s)
	return MessageID{id}, err == nil
}

// Message is what somebody tells a worker, or all of them: pops carry it until it expires. It never changes.
type Message struct {
	ID MessageID `json:"id"`
	// Worker is whom it is for; zero for all.
	Worker  WorkerID  `json:"worker,omitzero"`
	Author  UserID    `json:"author"`
	Text    string    `json:"text"`
	Origin  string    `json:"origin"` // who says so, in words
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// ToAll tells whether the message is for all workers.
func (m *Message) ToAll() bool { return m.Worker == WorkerID{} }

// Active tells whether the message is still delivered.
func (m *Message) Active(now time.Time) bool { return now.Before(m.Expires) }

const (
	// DefaultMessageLife is how long a message is delivered whose author says nothing about it.
	DefaultMessageLife = 12 * time.Hour
	// ModeratorOrigin is who says what moderators say, unless they say otherwise.
	ModeratorOrigin = "AI Horde Moderators"
)

// MessageDraft is the body of a new message.
type MessageDraft struct {
	// WorkerID is whom it is for. Without it, it is for all workers.
	WorkerID *string `json:"worker_id" minLength:"36" maxLength:"36"`
	Text     *string `json:"message" required:"true" minLength:"1" maxLength:"10240"`
	// Origin is who says so, which only moderators choose.
	Origin *string `json:"origin" minLength:"1" maxLength:"255"`
	// Expiry is for how many hours it is delivered.
	Expiry *int `json:"expiry" minimum:"1" maximum:"720" default:"12"`
}

// Validity is which messages a list has.
type Validity string

// The validities of lists of messages.
const (
	ActiveMessages  Validity = "active"
	ExpiredMessages Validity = "expired"
	AllMessages     Validity = "all"
)

// Takes tells whether a message belongs to the list.
func (v Validity) Takes(m *Message, now time.Time) bool {
	return v == AllMessages || m.Active(now) == (v == ActiveMessages)
}
