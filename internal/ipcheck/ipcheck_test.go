// SPDX-License-Identifier: AGPL-3.0-or-later

package ipcheck

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/moderation"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Query().Get("ip") {
		case "203.0.113.1":
			fmt.Fprint(w, "0.9299")
		case "203.0.113.2", "2001:db8:1:2::1":
			fmt.Fprint(w, " 0.93\n")
		case "203.0.113.3":
			http.Error(w, "0.99", http.StatusTooManyRequests)
		case "203.0.113.4":
			http.Error(w, "0.99", http.StatusInternalServerError)
		case "203.0.113.5":
			fmt.Fprint(w, "<html>")
		case "203.0.113.6":
			fmt.Fprint(w, "NaN")
		case "203.0.113.7":
			time.Sleep(time.Second)
		}
	}))
	t.Cleanup(service.Close)
	k, err := New(Config{
		URL: service.URL + "/?ip={ipaddr}", Timeout: 300 * time.Millisecond,
		Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Deny: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("198.51.100.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr  string
		want  moderation.Safety
		asked int64 // by two checks
	}{
		{"203.0.113.1", moderation.Safe, 1}, {"203.0.113.2", moderation.Unsafe, 1}, {"::ffff:203.0.113.2", moderation.Unsafe, 0},
		{"203.0.113.3", moderation.Unknown, 2}, {"203.0.113.4", moderation.Safe, 1}, {"203.0.113.5", moderation.Unknown, 2},
		{"203.0.113.6", moderation.Unknown, 2}, {"203.0.113.7", moderation.Unknown, 2}, {"10.1.2.3", moderation.Safe, 0},
		{"198.51.100.9", moderation.Unsafe, 0}, {"2001:db8:1:2::1", moderation.Unsafe, 1}, {"2001:db8:1:2:ffff::9", moderation.Unsafe, 0},
	} {
		before := asked.Load()
		for range 2 {
			if got := k.Check(netip.MustParseAddr(c.addr)); got != c.want {
				t.Errorf("%s: got %d, want %d", c.addr, got, c.want)
			}
		}
		if n := asked.Load() - before; n != c.asked {
			t.Errorf("%s: asked %d times, want %d", c.addr, n, c.asked)
		}
	}
	if got := k.Check(netip.Addr{}); got != moderation.Safe {
		t.Errorf("no address: %d", got)
	}
}

func TestWhoAskAtOnceShareOneQuestion(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		time.Sleep(50 * time.Millisecond)
		fmt.Fprint(w, "1")
	}))
	t.Cleanup(service.Close)
	k, err := New(Config{URL: service.URL + "/{ipaddr}"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := k.Check(netip.MustParseAddr("203.0.113.2")); got != moderation.Unsafe {
				t.Errorf("got %d", got)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"https://check.example/", "ftp://check.example/{ipaddr}", "{ipaddr}", "http://{ipaddr} /"} {
		if _, err := New(Config{URL: u}); err == nil {
			t.Errorf("%s is taken", u)
		}
	}
	file := filepath.Join(t.TempDir(), "networks")
	for text, want := range map[string]int{"10.0.0.0/8\n\n# none\n2001:db8::/32 # all\n192.0.2.1\n": 3, "10.0.0.1/8": -1, "x": -1, "": 0} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := ReadNetworks(file)
		if err == nil && len(list) != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %v %v", text, list, err)
		}
	}
}
