// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config says what is measured and how. A zero value of a measurement leaves it out.
type Config struct {
	// Servers are the addresses of the nodes of one horde, "http://127.0.0.1:7001"; virtual clients and workers spread over
	// them. Required.
	Servers []string
	// Remote allows servers that are not on this machine: this program is a load, and unasked it goes to nobody else.
	Remote bool
	// Accounts makes the accounts that the run uses. Required.
	Accounts Accounts
	// ServerPIDs are the server's processes, DatabasePIDs its database's; both count with their children. Empty leaves out
	// what can only be read there.
	ServerPIDs, DatabasePIDs []int

	// Clients is the number of clients of the closed loop, each with one request at a time. 0 for none.
	Clients int
	// Rate starts this many requests a second instead, evenly, whether or not the server keeps up. 0 for a closed loop.
	Rate float64
	// MaxOutstanding bounds the requests that Rate may have under way at a time; what would be more is an error.
	MaxOutstanding int
	// Workers is the number of workers that serve the clients. They are split between images and texts as the requests are.
	Workers int
	// ImageShare is the part of the requests that are for images, 0..1.
	ImageShare float64
	// WarmUp runs before Duration and is not measured.
	WarmUp, Duration time.Duration
	// MaxLifecycles ends the measurement early. 0 for no such bound.
	MaxLifecycles int
	// Timeout is how long a request may take before it counts as lost, and a single call before it counts as failed.
	Timeout time.Duration
	// CheckEvery is how often a client checks on its request. 0 checks when the worker's delivery has been acknowledged, which
	// the client knows since it runs in the same process: then a lifecycle is exactly five calls.
	CheckEvery time.Duration
	// PopEvery is how often a worker without a job pops. 0 pops when a request was accepted, as above.
	PopEvery time.Duration
	// PopWait asks the server to hold a pop this long until there is a job, and pops without a pause. Servers that do not know
	// the field answer at once; PopEvery then paces the workers. 0 for not at all.
	PopWait time.Duration

	// ReadySince is when the server was started: the run waits until it answers and reports how long that took, before
	// anything else. Zero for not.
	ReadySince time.Time

	// Preload requests wait in the queue before anything else is measured, and are not served.
	Preload int
	// PreloadKind is which: "other" requests are for models that no worker of the run has; "same" are for the model that the
	// run's workers have, so that every pop meets them, from accounts of low priority, so that they stay; "mixed" is half of each.
	PreloadKind string
	// PreloadModels is the number of models that "other" requests are spread over.
	PreloadModels int
	// Settle is how long the memory may come to rest before it is read.
	Settle time.Duration
	// Collect, where given, makes the server free what it does not need before its memory is read.
	Collect func(context.Context)
	// Pops is the number of jobs that one worker takes from the preloaded queue, one after another. It needs PreloadKind
	// "same" or "mixed".
	Pops int

	// IdleWorkers poll every IdleEvery for IdleFor, and nobody has work for them.
	IdleWorkers        int
	IdleEvery, IdleFor time.Duration

	// Yardstick is how long to measure what net/http itself does on this machine. 0 for not at all.
	Yardstick time.Duration

	// ImageModel and TextModel are the models of all requests but the preloaded "other" ones.
	ImageModel, TextModel string
	// PromptBytes, TextBytes and ImageBytes are the sizes of what is sent.
	PromptBytes, TextBytes, ImageBytes int

	// Progress is told what is going on. May be nil.
	Progress func(string)
}

// The kinds of preloaded requests.
const (
	PreloadOther = "other"
	PreloadSame  = "same"
	PreloadMixed = "mixed"
)

// Bounds of a run. They are far above anything sensible and keep a typing error from taking a machine down.
const (
	maxVirtual  = 50_000
	maxPreload  = 20_000_000
	maxRate     = 100_000
	maxDuration = 24 * time.Hour
	maxPayload  = 8 << 20 // bytes
)

// Default is a configuration with everything set but the server and its accounts. It measures nothing by itself.
func Default() Config {
	return Config{
		MaxOutstanding: 20_000, ImageShare: 0.5, WarmUp: 2 * time.Second, Duration: 10 * time.Second, Timeout: time.Minute,
		PreloadKind: PreloadOther, PreloadModels: 20, Settle: 15 * time.Second,
		IdleEvery: 2 * time.Second, IdleFor: 20 * time.Second,
		ImageModel: "stable_diffusion", TextModel: "horde-bench/parrot",
		PromptBytes: 300, TextBytes: 400, ImageBytes: 20 << 10,
	}
}

// load tells whether lifecycles are asked for.
func (c *Config) load() bool { return c.Clients > 0 || c.Rate > 0 }

func (c *Config) check() error {
	switch {
	case len(c.Servers) == 0:
		return errors.New("no server is given")
	case c.Accounts == nil:
		return errors.New("no accounts are given")
	case c.Clients < 0, c.Workers < 0, c.IdleWorkers < 0, c.Clients > maxVirtual, c.Workers > maxVirtual, c.IdleWorkers > maxVirtual:
		return fmt.Errorf("the numbers of clients and workers must be 0 to %d", maxVirtual)
	case c.Rate < 0 || c.Rate > maxRate:
		return fmt.Errorf("the rate must be 0 to %d a second", maxRate)
	case c.Rate > 0 && (c.MaxOutstanding < 1 || c.MaxOutstanding > maxVirtual):
		return fmt.Errorf("the number of requests under way must be 1 to %d", maxVirtual)
	case c.load() && c.Workers == 0:
		return errors.New("clients need workers")
	case c.ImageShare < 0 || c.ImageShare > 1:
		return errors.New("the share of images must be 0 to 1")
	case c.load() && c.ImageShare > 0 && c.ImageShare < 1 && (c.Workers < 2 || c.Rate == 0 && c.Clients < 2):
		return errors.New("a mix of images and texts needs two clients and two workers at least")
	case c.load() && (c.Duration <= 0 || c.Duration > maxDuration || c.WarmUp < 0 || c.WarmUp > maxDuration):
		return fmt.Errorf("the duration must be above 0 and at most %v", maxDuration)
	case c.MaxLifecycles < 0:
		return errors.New("the number of lifecycles must not be negative")
	case c.Timeout <= 0:
		return errors.New("the timeout must be above 0")
	case c.Preload < 0 || c.Preload > maxPreload:
		return fmt.Errorf("at most %d requests can be preloaded", maxPreload)
	case c.Preload > 0 && c.PreloadKind != PreloadOther && c.PreloadKind != PreloadSame && c.PreloadKind != PreloadMixed:
		return fmt.Errorf("the kind of the preload is %s, %s or %s", PreloadOther, PreloadSame, PreloadMixed)
	case c.Preload > 0 && c.PreloadModels < 1:
		return errors.New("the preload needs one model at least")
	case c.Pops < 0 || c.Pops > 0 && (c.PreloadKind == PreloadOther || c.Pops > c.preloaded(PreloadSame)):
		return errors.New("jobs can be taken from a preload of the kinds same or mixed that holds as many")
	case c.IdleWorkers > 0 && (c.IdleEvery <= 0 || c.IdleFor <= 0 || c.IdleFor > maxDuration):
		return errors.New("idle workers need an interval and a duration above 0")
	case c.PromptBytes < minPrompt || c.PromptBytes > maxPayload:
		return fmt.Errorf("a prompt has %d to %d bytes", minPrompt, maxPayload)
	case c.TextBytes < minText || c.TextBytes > maxPayload:
		return fmt.Errorf("a text has %d to %d bytes", minText, maxPayload)
	case c.ImageBytes < 0 || c.ImageBytes > maxPayload:
		return fmt.Errorf("an image has at most %d bytes", maxPayload)
	}
	for _, s := range c.Servers {
		if _, err := parseBase(s); err != nil {
			return err
		}
	}
	if !c.Remote {
		return c.onlyLoopback()
	}
	return nil
}

// preloaded is how many requests of the preload are of a kind.
func (c *Config) preloaded(kind string) int {
	switch {
	case c.PreloadKind == kind:
		return c.Preload
	case c.PreloadKind == PreloadMixed && kind == PreloadSame:
		return c.Preload / 2
	case c.PreloadKind == PreloadMixed:
		return c.Preload - c.Preload/2
	}
	return 0
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is no address of a server: write http://127.0.0.1:7001", s)
	}
	return u, nil
}

// ErrNotLoopback refuses to load a machine that nobody said may be loaded.
var ErrNotLoopback = errors.New("the server is not on this machine; whoever may put load on it says so with --remote")

func (c *Config) onlyLoopback() error {
	for _, s := range c.Servers {
		u, err := parseBase(s)
		if err != nil {
			return err
		}
		host := u.Hostname()
		if host == "localhost" {
			continue
		}
		if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
			continue
		}
		return fmt.Errorf("%s: %w", s, ErrNotLoopback)
	}
	return nil
}

// dialer refuses, for servers on this machine, links that lead away from it.
func (c *Config) dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.Timeout}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil || c.Remote {
		return nc, err
	}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		nc.Close()
		return nil, ErrNotLoopback
	}
	return nc, nil
}
