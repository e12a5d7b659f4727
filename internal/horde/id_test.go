// SPDX-License-Identifier: AGPL-3.0-or-later

package horde_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
)

func TestNewIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := map[uuid.UUID]bool{}
		last := uuid.Nil
		for range 1000 {
			request, job := horde.NewRequestID().UUID, horde.NewJobID().UUID
			for _, id := range []uuid.UUID{request, job} {
				if id.Version() != 4 || id.Variant() != uuid.RFC4122 || seen[id] {
					t.Fatalf("%s is no fresh random UUID", id)
				}
				seen[id] = true
			}
			if bytes.Compare(last[:], request[:]) >= 0 || bytes.Compare(last[:], job[:]) >= 0 {
				t.Fatalf("%s and %s come before %s, which is older", request, job, last)
			}
			last = request
			time.Sleep(time.Second / 128)
		}
	})
}
