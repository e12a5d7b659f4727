// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/internal/horde"
	"horde/internal/limit"
)

// LimitBy says whose hits are counted together.
type LimitBy uint8

const (
	// ByAddress counts the calls from one [Caller.Addr] to all methods and paths of a pattern.
	ByAddress LimitBy = iota
	// ByPath counts the calls for one [Caller.Client] with one method to one path.
	ByPath
	// ByKey counts the calls with one apikey (none counts as the anonymous one) with one method to one path.
	ByKey
)

// Limit is one rate limit of an operation. Addresses are counted by [limit.Unit].
type Limit struct {
	By     LimitBy
	Amount int
	Per    time.Duration
	// Relaxed is the amount for clients on [Options.Relaxed]; 0 means Amount.
	Relaxed int
	// Anonymous is the amount for the anonymous key, of a limit by key; 0 means Amount.
	Anonymous int
}

// Limits are the rate limits of an operation. Nil means that it is not limited at all.
type Limits []Limit

// DefaultLimits are for every operation and page that the table of limits does not name.
var DefaultLimits = Limits{{By: ByAddress, Amount: 90, Per: time.Minute}}

// AnonymousKey is the apikey of those who have none.
const AnonymousKey = "0000000000"

// compiledLimit is a Limit of one pattern with its three possible rules.
type compiledLimit struct {
	by                         LimitBy
	normal, relaxed, anonymous limit.Rule
}

func compileLimits(pattern string, limits Limits) []compiledLimit {
	var compiled []compiledLimit
	for _, l := range limits {
		rule := func(amount int) limit.Rule {
			if amount == 0 {
				amount = l.Amount
			}
			name := pattern + [...]string{ByAddress: " by address", ByPath: " by path", ByKey: " by key"}[l.By]
			return limit.Rule{Name: name, Amount: amount, Per: l.Per}
		}
		compiled = append(compiled, compiledLimit{by: l.By, normal: rule(0), relaxed: rule(l.Relaxed), anonymous: rule(l.Anonymous)})
	}
	slices.SortStableFunc(compiled, func(a, b compiledLimit) int { return int(min(max(a.normal.Per-b.normal.Per, -1), 1)) })
	return compiled
}

// takeLimits counts a call against the limits of its operation, tells the caller where they stand, and returns the 429
// when one is breached.
func (r *Router) takeLimits(h http.Header, req *http.Request, limits []compiledLimit, c *Caller) error {
	if len(limits) == 0 || r.options.Limiter == nil || r.exempt(c.Addr) {
		return nil
	}
	relaxed := r.options.Relaxed != nil && r.options.Relaxed.Has(c.Client)
	service := within(r.options.Services, c.Client)
	var few [4]limit.Hit
	hits := few[:0]
	for i := range limits {
		l := &limits[i]
		hit := limit.Hit{Rule: l.normal}
		if relaxed || service && l.by != ByKey {
			hit.Rule = l.relaxed
		}
		switch l.by {
		case ByAddress:
			hit.Key = limit.Bucket(c.Addr)
		case ByPath:
			hit.Key = limit.Bucket(c.Client) + "@" + callOf(req)
		case ByKey:
			key := req.Header.Get("apikey")
			if key == "" {
				key = AnonymousKey
			}
			if key == AnonymousKey {
				hit.Rule = l.anonymous
			}
			hit.Key = key + "@" + callOf(req)
		}
		hits = append(hits, hit)
	}
	result := r.options.Limiter.TakeAll(hits...)
	wait := result.RetryAfter()
	h["X-Ratelimit-Limit"] = []string{strconv.Itoa(result.Rule.Amount)}
	h["X-Ratelimit-Remaining"] = []string{strconv.Itoa(result.Remaining)}
	h["X-Ratelimit-Reset"] = []string{strconv.FormatInt(ceilUnix(result.Reset), 10)}
	h["Retry-After"] = []string{seconds(wait)}
	if !result.OK {
		return &horde.Error{Status: http.StatusTooManyRequests, Message: result.Rule.String(), RetryAfter: wait}
	}
	return nil
}

// Limits tells whether the rate limits apply to a caller.
func (r *Router) Limits(c Caller) bool { return r.options.Limiter != nil && !r.exempt(c.Addr) }

// callOf is the method and path that a hit is counted for. Spellings of one path that mean the same are one.
func callOf(req *http.Request) string {
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return method + "@" + strings.ToLower(req.URL.Path)
}

func ceilUnix(t time.Time) int64 { return t.Add(time.Second - 1).Unix() }

// seconds writes a delay as Retry-After has it: whole seconds, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
