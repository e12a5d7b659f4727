// SPDX-License-Identifier: AGPL-3.0-or-later

package node_test

import (
	"net/http"
	"testing"

	"horde/internal/horde"
	"horde/internal/node/nodetest"
)

func TestAFreshNodeAnswersAboutTheAnonymousAccount(t *testing.T) {
	t.Parallel()
	s := nodetest.Start(t)
	for _, path := range []string{"/find_user", "/users", "/users/0"} {
		if a := s.Call("GET", path, horde.AnonymousKey, nil); a.Status != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Text)
		}
	}
}
