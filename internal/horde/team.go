// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"time"

	"github.com/google/uuid"
)

// TeamID is the random id of a team.
type TeamID struct{ uuid.UUID }

// NewTeamID returns a fresh random id.
func NewTeamID() TeamID { return TeamID{uuid.New()} }

// ParseTeamID is ParseRequestID for teams.
func ParseTeamID(s string) (TeamID, bool) {
	id, err := uuid.Parse(s)
	return TeamID{id}, err == nil
}

// Team is a group of workers that is proud of what they make together. Any owner may join a worker to any team. The counts
// grow while a worker is a member, and stay when it leaves.
type Team struct {
	ID      TeamID    `json:"id"`
	Name    string    `json:"name"` // sanitised; unique without regard to case
	Info    string    `json:"info,omitempty"`
	Creator UserID    `json:"creator"`
	Created time.Time `json:"created"`

	// Fulfilments are results delivered, Kudos what they earned.
	Fulfilments int64         `json:"fulfilments"`
	Kudos       Kudos         `json:"kudos"`
	Uptime      time.Duration `json:"uptime"`
}

// TeamChange is the body of a creation or a change of a team.
type TeamChange struct {
	Name *string `json:"name" minLength:"3" maxLength:"100"`
	Info *string `json:"info" minLength:"3" maxLength:"1000"`
}
