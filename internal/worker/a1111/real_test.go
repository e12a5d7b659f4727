// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build real

package a1111

import (
	"os"
	"testing"

	"horde/internal/worker/recorded"
)

// realServer names the variable with the address of a running sd-server that hack/sdserver.sh built:
//
//	HORDE_TEST_SDSERVER=http://127.0.0.1:1234 go test -tags real -run Real ./internal/worker/a1111
//
// With HORDE_TEST_RECORD=FILE it writes what TestRecorded replays.
const realServer = "HORDE_TEST_SDSERVER"

func TestReal(t *testing.T) {
	at := os.Getenv(realServer)
	if at == "" {
		t.Fatal(realServer + " is not set")
	}
	file := os.Getenv("HORDE_TEST_RECORD")
	rec := recorded.NewRecorder(at, nil)
	exercise(t, New(start(t, rec), "sdcpp", nil))
	if file != "" && !t.Failed() {
		if err := rec.Save(file, "sd-server of stable-diffusion.cpp"); err != nil {
			t.Error(err)
		}
	}
}
