// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"testing"

	"horde/internal/horde"
)

func TestWhatIsWrongIsSaidToPeople(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("no"), "no"},
		{fmt.Errorf("set: %w", horde.ErrNotAdmin), horde.ErrNotAdmin.Message},
		{horde.Invalid(map[string]string{"kudos": "too much", "concurrency": "too little"}),
			"Input payload validation failed; concurrency: too little; kudos: too much"},
	} {
		if got := message(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
