// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

// ModesChange is the body of a change to the modes of the horde.
type ModesChange struct {
	MaintenanceMode *bool `json:"maintenance_mode" coerce:"true"`
	InviteOnlyMode  *bool `json:"invite_only_mode" coerce:"true"`
	RaidMode        *bool `json:"raid_mode" coerce:"true"`
}
