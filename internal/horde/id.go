// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// UserID numbers the accounts from 1. The anonymous account is 0.
type UserID int32

// Anonymous is the account behind the key "0000000000", which everybody may use.
const Anonymous UserID = 0

// ParseUserID reads a user's number as it stands in a path. Anything but digits, and any number above 2147483647, is no id.
func ParseUserID(s string) (UserID, bool) {
	if s == "" || strings.TrimLeft(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return UserID(n), err == nil
}

// ParseAlias finds the user id in "name#12". Only the digits behind the last "#" count, or the whole string where there is
// none: names are not unique and change.
func ParseAlias(s string) (UserID, bool) {
	return ParseUserID(s[strings.LastIndexByte(s, '#')+1:])
}

// RequestID is the id of a request, and the only credential for reading it: 82 of its bits are random. See newID.
type RequestID struct{ uuid.UUID }

// SourceName is what the source images of a request are called by. Workers are told it, so it must not tell the id: whoever
// knows that reads the results of others and cancels the request.
func (id RequestID) SourceName() string {
	sum := sha256.Sum256(append([]byte("source images of "), id.UUID[:]...))
	name := uuid.UUID(sum[:16])
	name[6], name[8] = name[6]&0x0f|0x80, name[8]&0x3f|0x80 // version 8: made in a way of our own
	return name.String()
}

// JobID is the id of one result of a request. It is made like a RequestID.
type JobID struct{ uuid.UUID }

// WorkerID is the random id of a worker.
type WorkerID struct{ uuid.UUID }

// FormID is the id of one form of an alchemy request. It is made like a RequestID.
type FormID struct{ uuid.UUID }

// NewRequestID returns a fresh id.
func NewRequestID() RequestID { return RequestID{newID()} }

// NewJobID returns a fresh id.
func NewJobID() JobID { return JobID{newID()} }

// NewFormID returns a fresh id.
func NewFormID() FormID { return FormID{newID()} }

// NewWorkerID returns a fresh random id.
func NewWorkerID() WorkerID { return WorkerID{uuid.New()} }

// newID returns a random UUID (version 4) whose first five bytes are the time, in 256ths of a second. Ids that are made
// together are neighbours in the indexes of a database, so that a commit touches a few pages and not one for each id: six
// times less is written for a lifecycle. What is left to chance is beyond guessing, and when a request was made is no
// secret to those who know its id.
func newID() uuid.UUID {
	id, now := uuid.New(), time.Now()
	binary.BigEndian.PutUint32(id[:], uint32(now.Unix())) // as far as 2106
	id[4] = byte(now.Nanosecond() / (1e9 / 256))
	return id
}

// ParseRequestID accepts any spelling of a UUID, with or without hyphens.
func ParseRequestID(s string) (RequestID, bool) {
	id, err := uuid.Parse(s)
	return RequestID{id}, err == nil
}

// ParseJobID is ParseRequestID for jobs.
func ParseJobID(s string) (JobID, bool) {
	id, err := uuid.Parse(s)
	return JobID{id}, err == nil
}

// ParseFormID is ParseRequestID for forms.
func ParseFormID(s string) (FormID, bool) {
	id, err := uuid.Parse(s)
	return FormID{id}, err == nil
}

// ParseWorkerID is ParseRequestID for workers.
func ParseWorkerID(s string) (WorkerID, bool) {
	id, err := uuid.Parse(s)
	return WorkerID{id}, err == nil
}

// Kind is what a request wants and what a worker makes.
type Kind uint8

// The kinds of work. The values are stored: never renumber them.
const (
	Image   Kind = 1
	Text    Kind = 2
	Alchemy Kind = 3
)

// Kinds lists every kind.
var Kinds = []Kind{Image, Text, Alchemy}

// Generated lists the kinds that are made from an [Order]: what alchemy works on is not generated, and has a queue of its own.
var Generated = []Kind{Image, Text}

func (k Kind) String() string {
	switch k {
	case Image:
		return "image"
	case Text:
		return "text"
	case Alchemy:
		return "interrogation" // its first form, and its name on the wire ever since
	}
	return "unknown"
}

// ThingsDivisor is how many raw things make one displayed thing: pixelsteps are shown in millions, tokens one by one.
func (k Kind) ThingsDivisor() float64 {
	if k == Image {
		return 1_000_000
	}
	return 1
}

func (id UserID) String() string { return strconv.Itoa(int(id)) }
