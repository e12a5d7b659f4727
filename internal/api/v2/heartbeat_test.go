// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"horde/internal/api"
)

// TestAHeartbeatAnswersInAnyCase is example 13 of the status chapter.
func TestAHeartbeatAnswersInAnyCase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		vitals Vitals
		want   string
	}{
		"idle": {Vitals{Active: 1, Threads: 2, Database: true, Serving: true},
			`{"message":"OK","version":"1","queue":0,"threads":2,"active_count":0,"db_connection":true}`},
		"busy": {Vitals{Active: 6, Threads: 2, Database: true, Serving: true},
			`{"message":"OK","version":"1","queue":0,"threads":2,"active_count":5,"db_connection":true}`},
		"three wait": {Vitals{Queue: 3, Active: 1, Database: true, Serving: true},
			`{"message":"OVERLOADED","version":"1","queue":3,"threads":0,"active_count":0,"db_connection":true}`},
		"no database": {Vitals{Active: 1, Serving: true},
			`{"message":"DOWN","version":"1","queue":0,"threads":0,"active_count":0,"db_connection":false}`},
		"no database, and some wait": {Vitals{Queue: 1, Active: 1},
			`{"message":"OVERLOADED","version":"1","queue":1,"threads":0,"active_count":0,"db_connection":false}`},
		"not serving": {Vitals{Active: 1, Database: true},
			`{"message":"DOWN","version":"1","queue":0,"threads":0,"active_count":0,"db_connection":true}`},
	} {
		r := api.NewRouter(api.Options{})
		RegisterHeartbeat(r, "1", func(context.Context) Vitals { return c.vitals })
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/api/v2/status/heartbeat", nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != c.want {
			t.Errorf("%s: %d %s, want %s", name, w.Code, got, c.want)
		}
	}
}
