// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import "horde/internal/horde"

// hidden takes a field out of a document: a field of the same name that is nearer to the surface hides one below, and is itself
// left out because it is nil.
type hidden = *struct{}

// UserRest is what drivers keep of a user beside its columns: the JSON document without the fields that have one. So a new
// field of a user is kept without a change here.
type UserRest struct {
	*horde.User
	ID              hidden `json:"id,omitempty"`
	Name            hidden `json:"name,omitempty"`
	OAuthID         hidden `json:"oauth_id,omitempty"`
	KeyHash         hidden `json:"key_hash,omitempty"`
	Created         hidden `json:"created,omitempty"`
	LastActive      hidden `json:"last_active,omitempty"`
	Roles           hidden `json:"roles,omitempty"`
	Concurrency     hidden `json:"concurrency,omitempty"`
	MonthlyKudos    hidden `json:"monthly_kudos,omitempty"`
	MonthlyReceived hidden `json:"monthly_received,omitempty"`
	Suspicions      hidden `json:"suspicions,omitempty"`
	WipedAt         hidden `json:"wiped_at,omitempty"`
}

// WorkerRest is UserRest for workers.
type WorkerRest struct {
	*horde.Worker
	ID             hidden `json:"id,omitempty"`
	Kind           hidden `json:"kind,omitempty"`
	Owner          hidden `json:"owner,omitempty"`
	Name           hidden `json:"name,omitempty"`
	Created        hidden `json:"created,omitempty"`
	Paused         hidden `json:"paused,omitempty"`
	Maintenance    hidden `json:"maintenance,omitempty"`
	Suspicions     hidden `json:"suspicions,omitempty"`
	LastCheckIn    hidden `json:"last_check_in,omitempty"`
	Agent          hidden `json:"agent,omitempty"`
	Speed          hidden `json:"speed,omitempty"`
	Uptime         hidden `json:"uptime,omitempty"`
	RewardedUptime hidden `json:"rewarded_uptime,omitempty"`
}
