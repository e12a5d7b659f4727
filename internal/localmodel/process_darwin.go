// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"os/exec"
	"syscall"
)

// ownGroup puts cmd into a process group of its own and ends the whole group when cmd's context ends. There is no
// signal at a parent's death here: the launcher ends with its standard input instead.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = killDelay
}

func killGroup(cmd *exec.Cmd) error {
	return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}
