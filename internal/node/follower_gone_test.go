// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
)

// TestANodeThatIsGoneCostsNothing is field case B057: of several nodes one that does not lead stops under load, and nobody who calls
// another sees an error, or waits.
func TestANodeThatIsGoneCostsNothing(t *testing.T) {
	t.Parallel()
	_, leader, follower := leaderAndFollower(t)
	const callers, calls = 4, 50
	var all sync.WaitGroup
	half := make(chan struct{})
	var once sync.Once
	for range callers {
		all.Go(func() {
			for i := range calls {
				if i == calls/2 {
					once.Do(func() { close(half) })
				}
				began := time.Now()
				a := ask4(t, "POST", leader.url+textPath, `{"prompt":"x","dry_run":true}`, "apikey", horde.AnonymousKey)
				if took := time.Since(began); a.status != http.StatusOK || took > 10*time.Second {
					t.Errorf("call %d: %d %s after %v", i, a.status, a.text, took)
				}
			}
		})
	}
	<-half
	follower.stop()
	all.Wait()
	if a := ask4(t, "GET", leader.url+"/api/v2/status/heartbeat", ""); a.status != http.StatusOK {
		t.Errorf("the heartbeat of the one that is left: %d %s", a.status, a.text)
	}
}
