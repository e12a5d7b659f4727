// SPDX-License-Identifier: AGPL-3.0-or-later

// Package observer reads the public statistics of Lemmy instances from which suspicions are computed: from a GraphQL
// service, or from a file that an operator or a test keeps.
package observer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"horde/internal/fediseer"
)

const (
	// DefaultURL is the public service.
	DefaultURL = "https://api.fediverse.observer/"
	// keepFor is how long an answer serves; the source itself looks at instances a few times a day.
	keepFor = 5 * time.Minute
	// Timeout bounds a request; the answer has some megabytes.
	Timeout = 30 * time.Second
	// maxBytes bounds the answer: a hundred thousand nodes.
	maxBytes = 64 << 20
)

// ErrUnavailable tells that the statistics cannot be read at the moment.
var ErrUnavailable = errors.New("the statistics of the fediverse are not available")

// query asks for the fields of fediseer.Node.
const query = `{nodes(softwarename:"lemmy"){domain uptime_alltime total_users active_users_monthly signup local_posts comment_counts}}`

// Source reads and keeps the statistics. It may be used from any goroutine; one reads at a time.
type Source struct {
	// Location is an http(s) URL, or the path of a file with the same JSON.
	Location string
	HTTP     *http.Client

	mu    sync.Mutex
	nodes []fediseer.Node // guarded by mu
	read  time.Time       // guarded by mu
}

// node takes numbers that the source writes as text or leaves out.
type node struct {
	Domain  string `json:"domain"`
	Uptime  number `json:"uptime_alltime"`
	Users   number `json:"total_users"`
	Monthly number `json:"active_users_monthly"`
	Signup  any    `json:"signup"`
	Posts   number `json:"local_posts"`
	Comment number `json:"comment_counts"`
}

// number is a JSON number, a number in a text, or null, which is 0.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		return nil
	}
	var f float64
	if err := json.Unmarshal([]byte(s), &f); err != nil {
		return errors.New("not a number")
	}
	*n = number(f)
	return nil
}

// Nodes returns the statistics, at most some minutes old. Errors wrap ErrUnavailable.
func (s *Source) Nodes(ctx context.Context) ([]fediseer.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes != nil && time.Since(s.read) < keepFor {
		return s.nodes, nil
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	b, err := s.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var answer struct {
		Data struct {
			Nodes []node `json:"nodes"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("%w: the answer is not the expected JSON", ErrUnavailable)
	}
	if answer.Data.Nodes == nil {
		return nil, fmt.Errorf("%w: the answer holds no nodes", ErrUnavailable)
	}
	nodes := make([]fediseer.Node, 0, len(answer.Data.Nodes))
	for _, n := range answer.Data.Nodes {
		d, err := fediseer.ParseDomain(n.Domain)
		if err != nil {
			continue
		}
		nodes = append(nodes, fediseer.Node{Domain: string(d), UptimeAllTime: float64(n.Uptime), TotalUsers: int64(n.Users),
			ActiveUsersMonthly: int64(n.Monthly), Signup: n.Signup == true || n.Signup == float64(1) || n.Signup == "1",
			LocalPosts: int64(n.Posts), CommentCounts: int64(n.Comment)})
	}
	s.nodes, s.read = nodes, time.Now()
	return nodes, nil
}

func (s *Source) fetch(ctx context.Context) ([]byte, error) {
	if !strings.HasPrefix(s.Location, "http://") && !strings.HasPrefix(s.Location, "https://") {
		f, err := os.Open(s.Location)
		if err != nil {
			return nil, errors.New("the file cannot be read")
		}
		defer f.Close()
		return bounded(f)
	}
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Location, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return bounded(resp.Body)
}

func bounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err == nil && len(b) > maxBytes {
		err = errors.New("the answer is too large")
	}
	return b, err
}
