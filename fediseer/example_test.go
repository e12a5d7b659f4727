// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"horde/fediseer"
	"horde/internal/fediseer/server"
)

// offline is a name server that knows nothing, so that the examples touch no network.
type offline struct{}

func (offline) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (offline) LookupTXT(_ context.Context, host string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// service starts a Fediseer in this process whose admin has the key "admin-key".
func service() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "fediseer-example-")
	if err != nil {
		log.Fatal(err)
	}
	cfg := server.Default()
	cfg.Listen, cfg.PublicURL, cfg.Data, cfg.AdminKey, cfg.Resolver, cfg.UpdateEvery = "127.0.0.1:0", "", dir, "admin-key", offline{}, 0
	s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		log.Fatal(err)
	}
	return s.URL(), func() {
		s.Close()
		os.RemoveAll(dir)
	}
}

// A whole round: log in, judge, and read the combined list back.
func Example() {
	url, stop := service()
	defer stop()
	ctx := context.Background()

	c, err := fediseer.New(fediseer.WithBaseURL(url), fediseer.WithAPIKey("admin-key"), fediseer.WithClientAgent("example", "1", "me@example.org"))
	if err != nil {
		log.Fatal(err)
	}
	me, err := c.LogIn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("acting for", me.Domain)

	changed, err := c.Censures.Put(ctx, "https://Spam.Example/about", fediseer.Judgement{Reason: "spam, open registrations"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("changed:", changed)

	for x, err := range c.Censures.Given(ctx, []string{me.Domain}, fediseer.GivenFilter{Reasons: []string{"spam"}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(x.Domain, x.CensureReasons, *x.CensureCount)
	}
	// Output:
	// acting for fediseer.com
	// changed: true
	// spam.example [spam, open registrations] 1
}

// Many judgements at once. With Delete, the list becomes exactly what the batch says.
func ExampleJudgements_Batch() {
	url, stop := service()
	defer stop()
	ctx := context.Background()
	c, err := fediseer.New(fediseer.WithBaseURL(url), fediseer.WithAPIKey("admin-key"))
	if err != nil {
		log.Fatal(err)
	}
	for _, list := range [][]fediseer.JudgementEntry{{{Domain: "a.example", Reason: "spam"}, {Domain: "b.example"}}, {{Domain: "b.example"}}} {
		if _, err := c.Hesitations.Batch(ctx, list, fediseer.BatchOptions{Delete: true}); err != nil {
			log.Fatal(err)
		}
		names, err := c.Hesitations.GivenDomains(ctx, []string{"fediseer.com"}, fediseer.GivenFilter{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(names)
	}
	// Output:
	// [a.example b.example]
	// [b.example]
}

// The public log, newest first. The loop ends whenever the reader has seen enough.
func ExampleReports_List() {
	url, stop := service()
	defer stop()
	ctx := context.Background()
	c, err := fediseer.New(fediseer.WithBaseURL(url), fediseer.WithAPIKey("admin-key"))
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range []string{"one.example", "two.example"} {
		if _, err := c.Guarantees.Put(ctx, d); err != nil {
			log.Fatal(err)
		}
	}
	for r, err := range c.Reports.List(ctx, fediseer.ReportFilter{Type: fediseer.ReportGuarantee}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Source, r.Activity, r.Type, r.Target)
	}
	// Output:
	// fediseer.com ADDED GUARANTEE two.example
	// fediseer.com ADDED GUARANTEE one.example
}
