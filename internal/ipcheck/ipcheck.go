// SPDX-License-Identifier: AGPL-3.0-or-later

// Package ipcheck tells the addresses of VPNs and proxies from others (accounts chapter, 8.3), by networks that the operator
// lists and by a service that the operator names. Answers of the service are kept for hours, one for each caller: an IPv4
// address, or an IPv6 /64.
package ipcheck

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"

	"horde/internal/fetch"
	"horde/internal/moderation"
)

// Defaults of a zero Config.
const (
	DefaultThreshold = 0.93
	DefaultTimeout   = 2 * time.Second
	DefaultTTL       = 6 * time.Hour
)

const (
	// cached is how many callers are remembered.
	cached = 50_000
	// maxAnswer is how many bytes of an answer are read: a number is short.
	maxAnswer = 1 << 10
	// maxAtOnce is how many questions are asked at once. Who comes when there are more is unknown.
	maxAtOnce = 16
	// placeholder is where the address goes in the URL.
	placeholder = "{ipaddr}"
)

// Config is how addresses are told apart.
type Config struct {
	// URL is asked, with {ipaddr} for the address. It answers with the probability that the address hides somebody, a number
	// from 0 to 1. Empty asks nobody.
	URL string
	// SafeCode is a text in answers with an error status that are not worth a line in the log.
	SafeCode string
	// Threshold is the probability from which an address is unsafe.
	Threshold float64
	Timeout   time.Duration
	TTL       time.Duration
	// Allow are networks that are safe, Deny networks that are not. Allow wins.
	Allow, Deny []netip.Prefix
	Log         *slog.Logger
}

// Checker is a [moderation.Checker]. It is safe for concurrent use.
type Checker struct {
	Config
	client  *fetch.Client
	answers *expirable.LRU[netip.Prefix, moderation.Safety]
	asking  chan struct{}

	mu      sync.Mutex // guards waiting
	waiting map[netip.Prefix]chan struct{}
}

// New makes a checker.
func New(c Config) (*Checker, error) {
	if c.Threshold == 0 {
		c.Threshold = DefaultThreshold
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &Checker{
		Config: c, answers: expirable.NewLRU[netip.Prefix, moderation.Safety](cached, nil, c.TTL),
		asking: make(chan struct{}, maxAtOnce), waiting: map[netip.Prefix]chan struct{}{},
	}
	if c.URL != "" {
		u, err := url.Parse(strings.ReplaceAll(c.URL, placeholder, "192.0.2.1"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(c.URL, placeholder) {
			return nil, fmt.Errorf("the URL of a checker of addresses begins with https:// and has %s in it", placeholder)
		}
		allow, ports := fetch.Exempt(u)
		k.client = fetch.New(fetch.Config{AllowPrefixes: allow, Ports: ports, Timeout: c.Timeout, MaxBytes: maxAnswer})
	}
	return k, nil
}

// Known tells what can be told without asking anybody.
func (k *Checker) Known(addr netip.Addr) (moderation.Safety, bool) {
	addr = addr.Unmap().WithZone("")
	contains := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case !addr.IsValid(), slices.ContainsFunc(k.Allow, contains):
		return moderation.Safe, true
	case slices.ContainsFunc(k.Deny, contains):
		return moderation.Unsafe, true
	case k.client == nil:
		return moderation.Safe, true
	}
	return k.answers.Get(moderation.Bucket(addr))
}

// Check tells what is thought of an address, and asks where it must. Those who ask about the same caller at once share one
// question.
func (k *Checker) Check(addr netip.Addr) moderation.Safety {
	if s, known := k.Known(addr); known {
		return s
	}
	bucket := moderation.Bucket(addr)
	k.mu.Lock()
	done, others := k.waiting[bucket]
	if !others {
		done = make(chan struct{})
		k.waiting[bucket] = done
	}
	k.mu.Unlock()
	if others {
		<-done
		if s, known := k.answers.Get(bucket); known {
			return s
		}
		return moderation.Unknown
	}
	defer func() {
		k.mu.Lock()
		delete(k.waiting, bucket)
		k.mu.Unlock()
		close(done)
	}()
	select {
	case k.asking <- struct{}{}:
		defer func() { <-k.asking }()
	default:
		return moderation.Unknown
	}
	s := k.ask(addr)
	if s != moderation.Unknown {
		k.answers.Add(bucket, s)
	}
	return s
}

// ask asks the service. It answers with a number; one that has too much to do does not count, and neither does silence. An
// address that the service cannot judge is safe.
func (k *Checker) ask(addr netip.Addr) moderation.Safety {
	ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
	defer cancel()
	resp, err := k.client.Get(ctx, strings.ReplaceAll(k.URL, placeholder, url.QueryEscape(addr.Unmap().WithZone("").String())))
	if err != nil {
		k.Log.Warn("the checker of addresses does not answer", "error", err)
		return moderation.Unknown
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil, resp.StatusCode == http.StatusTooManyRequests:
		return moderation.Unknown
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		if k.SafeCode == "" || !strings.Contains(string(text), k.SafeCode) {
			k.Log.Warn("the checker of addresses answers with an error", "status", resp.StatusCode)
		}
		return moderation.Safe
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	switch {
	case err != nil || math.IsNaN(p):
		k.Log.Warn("the checker of addresses answers with something that is no number")
		return moderation.Unknown
	case p < k.Threshold:
		return moderation.Safe
	}
	return moderation.Unsafe
}

// ReadNetworks reads a file of networks and addresses, one a line. Empty lines and what is behind a # do not count.
func ReadNetworks(path string) ([]netip.Prefix, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []netip.Prefix
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, _, ok := moderation.ParseNetwork(text)
		if !ok {
			return nil, fmt.Errorf("%s:%d: %.60q is no network", path, n, text)
		}
		list = append(list, p)
	}
	return list, lines.Err()
}
