// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import (
	"os/exec"
	"syscall"
)

// ownGroup puts cmd into a process group of its own, ends the whole group when cmd's context ends, and has the kernel
// kill the process when the thread that started it dies. A caller of long-lived children must therefore start them
// from a goroutine that stays locked to its thread.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = killDelay
}

func killGroup(cmd *exec.Cmd) error {
	return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}
