// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !linux && !darwin

package localmodel

import "os/exec"

// ownGroup leaves cmd as it is: wheelsFor refuses these platforms before anything but a question is started.
func ownGroup(cmd *exec.Cmd) { cmd.WaitDelay = killDelay }

func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }
