// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Accounts makes accounts on the server under test. What limits accounts must not limit the measurement: they are trusted, and
// may have as many results waiting as is asked for.
type Accounts interface {
	// Make returns the keys of n accounts.
	Make(ctx context.Context, n int, a Account) (keys []string, err error)
	// MaxWaiting is the most results that an account can be allowed to have waiting.
	MaxWaiting() int
}

// Account is what an account must be good for.
type Account struct {
	Name  string
	Kudos int
	// Waiting is how many results it must be able to have waiting. 0 for an account that only works.
	Waiting int
}

// Keys are accounts that exist: whoever made them saw to it that they may do enough. They are used in turn.
type Keys []string

// Make returns n keys, the same ones again where there are fewer.
func (k Keys) Make(_ context.Context, n int, _ Account) ([]string, error) {
	if len(k) == 0 {
		return nil, errors.New("there are no keys")
	}
	out := make([]string, n)
	for i := range out {
		out[i] = k[i%len(k)]
	}
	return out, nil
}

// MaxWaiting is without bound, as far as is known.
func (k Keys) MaxWaiting() int { return maxPreload }

// TestUsers makes accounts by POST /dev/test-user, which servers offer to callers on the same machine when they were started
// with HORDE_TEST_APIKEYS=1.
type TestUsers struct {
	Server string
	// Run makes their logins unique.
	Run string

	mu        sync.Mutex
	made      int
	moderator string
	client    *caller
}

// maxTestWaiting is the highest concurrency that a moderator can give an account through the API.
const maxTestWaiting = 500

// MaxWaiting is what a moderator can give through the API.
func (t *TestUsers) MaxWaiting() int { return maxTestWaiting }

// Make makes n accounts.
func (t *TestUsers) Make(ctx context.Context, n int, a Account) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == nil {
		cfg := Default()
		cfg.Servers = []string{t.Server}
		t.client = newCaller(&cfg, 0)
		key, _, err := t.user(ctx, "bench moderator", true, 0)
		if err != nil {
			t.client = nil
			return nil, err
		}
		t.moderator = key
	}
	var keys []string
	for range n {
		key, id, err := t.user(ctx, a.Name, false, a.Kudos)
		if err != nil {
			return nil, err
		}
		if a.Waiting > 0 {
			body := fmt.Appendf(nil, `{"concurrency":%d}`, min(a.Waiting, maxTestWaiting))
			status, answer, err := t.client.api(ctx, http.MethodPut, "/users/"+id, t.moderator, body)
			if err != nil {
				return nil, fmt.Errorf("raise the concurrency of an account: %w", err)
			}
			if status != http.StatusOK {
				return nil, fmt.Errorf("raise the concurrency of an account: %d %.200s", status, answer)
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (t *TestUsers) user(ctx context.Context, name string, moderator bool, kudos int) (key, id string, err error) {
	t.made++
	body, err := json.Marshal(map[string]any{
		"username": name, "oauth_id": fmt.Sprintf("bench-%s-%d", t.Run, t.made), "moderator": moderator, "trusted": true, "kudos": kudos,
	})
	if err != nil {
		return "", "", err
	}
	status, answer, err := t.client.api(ctx, http.MethodPost, "/dev/test-user", "", body)
	if err != nil {
		return "", "", fmt.Errorf("make a test account: %w", err)
	}
	var out struct {
		Key string `json:"api_key"`
		ID  any    `json:"user_id"`
	}
	if status/100 != 2 || json.Unmarshal(answer, &out) != nil || out.Key == "" {
		return "", "", fmt.Errorf("make a test account: %d %.200s (was the server started with HORDE_TEST_APIKEYS=1?)", status, answer)
	}
	return out.Key, fmt.Sprint(out.ID), nil
}
