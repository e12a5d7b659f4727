// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Restart is how long a server took from its start to its first answer.
type Restart struct {
	Seconds float64 `json:"seconds"`
	// Waiting is how many results the server says that it has waiting, images and texts.
	Waiting int64 `json:"waiting"`
}

// readyPause is between two tries to reach a server that is being started.
const readyPause = 10 * time.Millisecond

// ready waits until the server answers with what it has waiting.
func (r *run) ready(ctx context.Context) (*Restart, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	c := newCaller(&r.Config, 0)
	defer c.close()
	for {
		status, answer, err := c.api(ctx, http.MethodGet, "/status/performance", "", nil)
		if err == nil && status == http.StatusOK {
			took := time.Since(r.ReadySince)
			var waiting struct {
				Images int64 `json:"queued_requests"`
				Texts  int64 `json:"queued_text_requests"`
			}
			if err := json.Unmarshal(answer, &waiting); err != nil {
				return nil, err
			}
			return &Restart{Seconds: took.Seconds(), Waiting: waiting.Images + waiting.Texts}, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("no good answer within %v: status %d, %w", r.Timeout, status, err)
		}
		sleepFor(ctx, readyPause)
	}
}
