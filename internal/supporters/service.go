// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"horde/internal/fetch"
	"horde/internal/horde"
)

const (
	// answerWithin bounds each exchange with a service.
	answerWithin = 30 * time.Second
	// maxAnswer bounds an answer in bytes: a page of a hundred has some hundred thousand.
	maxAnswer = 8 << 20
	// pageSize is how many a page has, the most that both services give; maxPages is how many pages are asked for.
	pageSize = 100
	maxPages = 1000
	// retryAfter is how soon a service is asked again that did not answer.
	retryAfter = 5 * time.Minute
)

// Service is where people support the horde.
type Service interface {
	// Source names it.
	Source() horde.SupportSource
	// Every is how often it is asked.
	Every() time.Duration
	// Fetch asks for everybody, in an order that does not depend on anything else. It is all or nothing.
	Fetch(context.Context) ([]horde.Supporter, error)
}

// Keeper asks services by the clock, for as long as it runs.
type Keeper struct {
	Services []Service
	// Set takes down who a source names.
	Set func(context.Context, horde.SupportSource, []horde.Supporter) error
	// Ran is told of each time that a service was asked.
	Ran func(job string, began time.Time, err error)
	Log *slog.Logger
}

// Run asks each service at once, and then each at its time, until ctx is done. What a service named last stays while it does not
// answer. A source that is not asked any more has nobody.
func (k *Keeper) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, source := range horde.SupportSources {
		at := slices.IndexFunc(k.Services, func(s Service) bool { return s.Source() == source })
		running.Go(func() {
			if at < 0 {
				if err := k.Set(ctx, source, nil); err != nil && ctx.Err() == nil {
					k.Log.Warn("those who supported the horde could not be forgotten", "source", source, "error", err)
				}
				return
			}
			k.keep(ctx, k.Services[at])
		})
	}
}

func (k *Keeper) keep(ctx context.Context, s Service) {
	for {
		began := time.Now()
		list, err := s.Fetch(ctx)
		if err == nil {
			err = k.Set(ctx, s.Source(), list)
		}
		if ctx.Err() != nil {
			return
		}
		k.Ran(string(s.Source()), began, err)
		pause := s.Every()
		if err != nil {
			k.Log.Warn("who supports the horde is not known anew; what was known stays", "source", s.Source(), "error", err)
			pause = min(pause, retryAfter)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// service is the way to the API of a service. The address is the operator's, so it may be a private one. No redirect is followed: the
// token is for nobody else.
type service struct {
	base   string
	token  string
	client *fetch.Client
}

func newService(base, token string) (service, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return service{}, fmt.Errorf("the address of a service begins with https://")
	}
	allow, ports := fetch.Exempt(u)
	return service{strings.TrimRight(base, "/"), token, fetch.New(fetch.Config{
		AllowPrefixes: allow, Ports: ports, Timeout: answerWithin, MaxBytes: maxAnswer,
	})}, nil
}

// get asks for a document. Errors tell the status at most, and nothing of what the other side said.
func (s *service) get(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return errors.New("the address cannot be asked")
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", "application/json")
	answer, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the token is refused with status %d", answer.StatusCode)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer has status %d", answer.StatusCode)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if json.Unmarshal(text, into) != nil {
		return errors.New("the answer is not understood")
	}
	return nil
}

var errPages = errors.New("the pages do not end")

// userID reads whose account a subscription is for: a number, or an alias, of which what is behind the last "#" counts. Nobody can
// support the horde as anonymous.
func userID(value any) (horde.UserID, bool) {
	var text string
	switch v := value.(type) {
	case string:
		text = strings.TrimSpace(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	}
	id, ok := horde.ParseAlias(text)
	return id, ok && id != horde.Anonymous
}

// sorted puts supporters in their order.
func sorted(list []horde.Supporter) []horde.Supporter {
	slices.SortFunc(list, func(a, b horde.Supporter) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(b.Kudos, a.Kudos), cmp.Compare(b.Monthly, a.Monthly),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Link, b.Link))
	})
	return list
}
