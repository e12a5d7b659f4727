// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"time"

	"github.com/google/uuid"
)

// SharedKeyID is the random id of a shared key, which is also what is sent as the key.
type SharedKeyID struct{ uuid.UUID }

// NewSharedKeyID returns a fresh random id.
func NewSharedKeyID() SharedKeyID { return SharedKeyID{uuid.New()} }

// ParseSharedKeyID is ParseRequestID for shared keys. Every request passes here with its key, so what is too short to be a UUID
// costs nothing.
func ParseSharedKeyID(s string) (SharedKeyID, bool) {
	if len(s) < shortestUUID {
		return SharedKeyID{}, false
	}
	id, err := uuid.Parse(s)
	return SharedKeyID{id}, err == nil
}

// shortestUUID is how many characters a UUID has that is written without hyphens.
const shortestUUID = 32

// Unlimited is the value of a budget and of a limit that there is none.
const Unlimited = -1

// The bounds of what is set for a shared key (accounts chapter, 4.1), and what it starts with.
const (
	DefaultSharedKeyBudget = 5000
	MaxSharedKeyBudget     = 50_000_000
	MaxSharedKeyDays       = 36_500
	MaxSharedKeyName       = 255 // characters
)

// How many shared keys an account may have (accounts chapter, 4.1).
const (
	SharedKeysTrusted   = 10
	SharedKeysEducation = 1000
	SharedKeysOthers    = 3
)

// SharedKeyLimit is how many shared keys an account of these roles may have.
func (r Roles) SharedKeyLimit() int {
	switch {
	case r&Trusted != 0:
		return SharedKeysTrusted
	case r&Education != 0:
		return SharedKeysEducation
	}
	return SharedKeysOthers
}

// SharedKey lets others generate on its owner's account, which pays for everything: the key only limits.
type SharedKey struct {
	ID    SharedKeyID `json:"id"`
	Owner UserID      `json:"owner"`
	Name  string      `json:"name,omitempty"` // sanitised; empty for none
	// Unlimited tells that there is no budget. Else Budget is what is left of it, never below zero; at zero the key is empty.
	Unlimited bool  `json:"unlimited,omitempty"`
	Budget    Kudos `json:"budget"`
	// Utilized is what was charged through the key; it only grows.
	Utilized Kudos `json:"utilized"`
	// Expiry is when the key ends; zero is never.
	Expiry  time.Time `json:"expiry,omitzero"`
	Created time.Time `json:"created"`
	SharedKeyLimits
}

// SharedKeyLimits are what one job may have at most, [Unlimited] for any.
type SharedKeyLimits struct {
	MaxImagePixels int64 `json:"max_image_pixels"` // width times height
	MaxImageSteps  int64 `json:"max_image_steps"`
	MaxTextTokens  int64 `json:"max_text_tokens"` // of max_length
}

// Empty tells that the budget is used up.
func (k *SharedKey) Empty() bool { return !k.Unlimited && k.Budget <= 0 }

// Expired tells whether the key has ended.
func (k *SharedKey) Expired(now time.Time) bool { return !k.Expiry.IsZero() && !now.Before(k.Expiry) }

// Valid tells whether the key can be used.
func (k *SharedKey) Valid(now time.Time) bool { return !k.Empty() && !k.Expired(now) }

// Consume counts what was charged through the key. An empty key counts nothing. It tells whether something changed.
func (k *SharedKey) Consume(amount Kudos) bool {
	if k.Empty() || amount <= 0 {
		return false
	}
	k.Utilized += amount
	if !k.Unlimited {
		k.Budget = max(0, k.Budget-amount)
	}
	return true
}

// Title is how the owner is called where the key stands for it.
func (k *SharedKey) Title(ownerAlias string) string {
	if k.Name == "" {
		return ownerAlias + " (Shared Key)"
	}
	return ownerAlias + " (Shared Key: " + k.Name + ")"
}

// Check refuses an order that is more than the key allows for one job.
func (l SharedKeyLimits) Check(o *Order) *Error {
	check := func(what string, value, limit int64) *Error {
		if limit < 0 || value <= limit {
			return nil
		}
		return ErrSharedKeyLimit.Withf("This shared key allows %d %s a job; this one has %d.", limit, what, value)
	}
	if o.Image != nil {
		if err := check("pixels", o.Image.Pixels(), l.MaxImagePixels); err != nil {
			return err
		}
		return check("steps", int64(o.Image.Steps), l.MaxImageSteps)
	}
	if o.Text != nil && o.Text.MaxLength != nil {
		return check("tokens", int64(*o.Text.MaxLength), l.MaxTextTokens)
	}
	return nil
}

// SharedKeyChange is what a shared key is made of, or what of it is changed. Nil is what was not given. The bounds of the limits of a
// job are published, but clients send others.
type SharedKeyChange struct {
	Kudos          *int64  `json:"kudos" coerce:"true" minimum:"-1" maximum:"50000000" default:"5000" doc:"What may be spent through the key: -1 for any amount."`
	Expiry         *int64  `json:"expiry" coerce:"true" minimum:"-1" maximum:"36500" published:"maximum=" default:"-1" doc:"In how many days the key ends: -1 for never."`
	Name           *string `json:"name" coerce:"true" minLength:"0" maxLength:"255" published:"minLength=3"`
	MaxImagePixels *int64  `json:"max_image_pixels" coerce:"true" minimum:"-1" maximum:"2147483647" published:"maximum=4194304" default:"-1" doc:"Width times height that an image may have: -1 for any, 0 for no images."`
	MaxImageSteps  *int64  `json:"max_image_steps" coerce:"true" minimum:"-1" maximum:"2147483647" published:"maximum=500" default:"-1" doc:"Steps that an image may have: -1 for any, 0 for no images."`
	MaxTextTokens  *int64  `json:"max_text_tokens" coerce:"true" minimum:"-1" maximum:"2147483647" published:"maximum=500" default:"-1" doc:"The max_length that a text may have: -1 for any, 0 for no texts."`
}

// Empty tells that nothing is to be changed.
func (c *SharedKeyChange) Empty() bool { return *c == SharedKeyChange{} }

// Onto sets what was given. A name is set as it is.
func (c *SharedKeyChange) Onto(k *SharedKey, now time.Time) {
	if c.Kudos != nil {
		k.Unlimited, k.Budget = *c.Kudos < 0, Kudos(max(0, *c.Kudos))*100
	}
	if c.Expiry != nil {
		if k.Expiry = now.AddDate(0, 0, int(*c.Expiry)); *c.Expiry < 0 {
			k.Expiry = time.Time{}
		}
	}
	if c.Name != nil {
		k.Name = *c.Name
	}
	set := func(to *int64, from *int64) {
		if from != nil {
			*to = *from
		}
	}
	set(&k.MaxImagePixels, c.MaxImagePixels)
	set(&k.MaxImageSteps, c.MaxImageSteps)
	set(&k.MaxTextTokens, c.MaxTextTokens)
}
