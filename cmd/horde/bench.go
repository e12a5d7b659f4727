// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"horde/internal/bench"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
)

// benchCommand measures a server.
type benchCommand struct {
	Server      []string `default:"http://127.0.0.1:7001" placeholder:"URL" help:"The server, or the nodes of one horde; ${default} by default."`
	Remote      bool     `help:"Allow servers on other machines. Without it only this machine is put under load."`
	ServerPID   []int    `name:"server-pid" placeholder:"PID" help:"Processes of the server, for its use of processor and memory; children count too."`
	DatabasePID []int    `name:"database-pid" placeholder:"PID" help:"Processes of its database, likewise."`

	Data      string   `type:"path" placeholder:"DIR" xor:"accounts" help:"Data directory of the server, if it is ours: accounts are made through its administration socket."`
	Database  string   `env:"HORDE_DATABASE" placeholder:"URL" help:"The server's PostgreSQL, if it has one, beside --data: accounts are made through whoever leads."`
	Keys      []string `placeholder:"KEY" env:"HORDE_BENCH_KEYS" xor:"accounts" help:"API keys to use in place of new accounts. They should be trusted and have a high concurrency."`
	TestUsers bool     `xor:"accounts" help:"Make accounts by POST /dev/test-user; the server must run with HORDE_TEST_APIKEYS=1."`

	Clients        int           `default:"0" help:"Closed loop: so many clients, each with one request at a time."`
	Rate           float64       `default:"0" help:"Open loop instead: so many requests a second, whether or not the server keeps up."`
	MaxOutstanding int           `default:"20000" help:"Open loop: most requests under way at a time."`
	Workers        int           `default:"64" help:"Workers that serve them."`
	Images         float64       `default:"0.5" help:"Part of the requests that are for images, 0 to 1; the others are for texts."`
	WarmUp         time.Duration `default:"2s" help:"Not measured at first."`
	Duration       time.Duration `default:"10s" help:"Measured after that."`
	Lifecycles     int           `default:"0" help:"End after so many lifecycles; 0 for no such bound."`
	Timeout        time.Duration `default:"1m" help:"After which an accepted request counts as lost, and a call as failed."`
	CheckEvery     time.Duration `default:"0s" help:"How often clients check. 0: once, when the worker's delivery was acknowledged, so that a lifecycle is exactly five calls."`
	PopEvery       time.Duration `default:"0s" help:"How often workers without a job pop. 0: when a request was accepted."`
	PopWait        time.Duration `default:"0s" help:"Ask the server to hold pops so long (long poll) and pop without a pause."`

	Preload       int           `default:"0" help:"Requests that wait in the queue meanwhile."`
	PreloadKind   string        `default:"other" enum:"other,same,mixed" help:"other: for models that no worker here has; same: for the model of the workers here, with lower priority; mixed: half of each."`
	PreloadModels int           `default:"20" help:"Models of other requests."`
	Settle        time.Duration `default:"15s" help:"For the server's memory to come to rest after that."`
	Pops          int           `default:"0" help:"Measure so many single pops and checks with that queue; needs same or mixed."`

	IdleWorkers int           `default:"0" help:"Workers that poll and find nothing."`
	IdleEvery   time.Duration `default:"2s" help:"How often each polls."`
	IdleFor     time.Duration `default:"20s" help:"How long that is measured."`

	Yardstick   time.Duration `default:"3s" help:"How long to measure net/http alone, to compare with; 0 for not."`
	ImageModel  string        `default:"stable_diffusion" help:"Image model; the server's model reference must have it."`
	TextModel   string        `default:"horde-bench/parrot" help:"Text model."`
	PromptBytes int           `default:"300" help:"Length of prompts."`
	TextBytes   int           `default:"400" help:"Length of texts."`
	ImageBytes  int           `default:"20480" help:"Length of images."`

	ReadySince float64  `placeholder:"SECONDS" help:"Wait until the server answers, and report how long that took since this time (seconds since 1970)."`
	Summary    []string `type:"existingfile" placeholder:"FILE" help:"Measure nothing: print minimum, median and maximum of what these files, written by --json, hold."`

	JSON  string `name:"json" type:"path" placeholder:"FILE" help:"Write everything that was measured to this file."`
	Quiet bool   `help:"Do not tell what is going on."`
}

// Help explains the command.
func (benchCommand) Help() string {
	return `Plays the clients and the workers of a horde and measures what the server makes of it. Start the server with
--no-rate-limit, and give --server-pid. For example:

  horde serve --listen 127.0.0.1:7001 --data ./trial --no-rate-limit &
  horde bench --data ./trial --server-pid $! --clients 128

Accounts that the measurement needs are made through the server's data directory (--data), by --test-users, or given as
--keys. The command fails if a single request is lost, doubled or answered with another's result.`
}

// Run measures and reports.
func (c *benchCommand) Run(ctx context.Context) error {
	cfg := bench.Config{
		Servers: c.Server, Remote: c.Remote, ServerPIDs: c.ServerPID, DatabasePIDs: c.DatabasePID,
		Clients: c.Clients, Rate: c.Rate, MaxOutstanding: c.MaxOutstanding, Workers: c.Workers, ImageShare: c.Images,
		WarmUp: c.WarmUp, Duration: c.Duration, MaxLifecycles: c.Lifecycles, Timeout: c.Timeout,
		CheckEvery: c.CheckEvery, PopEvery: c.PopEvery, PopWait: c.PopWait,
		Preload: c.Preload, PreloadKind: c.PreloadKind, PreloadModels: c.PreloadModels, Settle: c.Settle, Pops: c.Pops,
		IdleWorkers: c.IdleWorkers, IdleEvery: c.IdleEvery, IdleFor: c.IdleFor, Yardstick: c.Yardstick,
		ImageModel: c.ImageModel, TextModel: c.TextModel,
		PromptBytes: c.PromptBytes, TextBytes: c.TextBytes, ImageBytes: c.ImageBytes,
	}
	if len(c.Summary) > 0 {
		return summarize(c.Summary)
	}
	if c.ReadySince > 0 {
		cfg.ReadySince = time.UnixMicro(int64(c.ReadySince * 1e6))
	}
	if c.ReadySince == 0 && c.Clients == 0 && c.Rate == 0 && c.Preload == 0 && c.IdleWorkers == 0 {
		return errors.New("nothing to measure: give --clients, --rate, --preload, --idle-workers or --ready-since")
	}
	if c.Clients > 0 && c.Rate > 0 {
		return errors.New("--clients is for the closed loop and --rate for the open one: give one of them")
	}
	switch {
	case c.Data != "":
		record, err := recordFlags{dataFlag{Data: c.Data}, databaseFlag{c.Database}}.config(true)
		if err != nil {
			return err
		}
		cfg.Accounts = operatorAccounts{record}
	case len(c.Keys) > 0:
		cfg.Accounts = bench.Keys(c.Keys)
	case c.TestUsers:
		cfg.Accounts = &bench.TestUsers{Server: c.Server[0], Run: strings.ToLower(rand.Text()[:10])}
	case c.Clients == 0 && c.Rate == 0 && c.Preload == 0 && c.IdleWorkers == 0:
		cfg.Accounts = bench.Keys{} // none are needed
	default:
		return errors.New("whose accounts? give --data, --keys or --test-users")
	}
	if !c.Quiet {
		cfg.Progress = func(text string) { fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), text) }
	}
	report, err := bench.Run(ctx, cfg)
	if report == nil {
		return err
	}
	err = errors.Join(err, report.Print(os.Stdout), report.Honest())
	if c.JSON != "" {
		text, failed := json.MarshalIndent(report, "", "  ")
		if failed == nil {
			failed = os.WriteFile(c.JSON, append(text, '\n'), 0o644)
		}
		err = errors.Join(err, failed)
	}
	return err
}

// summarize prints what several runs have in common.
func summarize(files []string) error {
	reports := make([]bench.Report, len(files))
	for i, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &reports[i]); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return bench.Summarize(os.Stdout, reports)
}

// operatorAccounts makes accounts as an operator does.
type operatorAccounts struct{ node.Config }

// maxOperatorWaiting is far above what any run needs.
const maxOperatorWaiting = 20_000_000

func (operatorAccounts) MaxWaiting() int { return maxOperatorWaiting }

func (o operatorAccounts) Make(ctx context.Context, n int, a bench.Account) ([]string, error) {
	keys := make([]string, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(accountsAtOnce)
	for i := range keys {
		group.Go(func() error {
			var made node.Account
			err := node.Administer(ctx, o.Config, "create", engine.NewUser{
				Name: a.Name, OAuthID: engine.OperatorLogin(), Kudos: horde.NewKudos(float64(a.Kudos)), Concurrency: a.Waiting, Roles: horde.Trusted,
			}, &made)
			keys[i] = made.Key
			return err
		})
	}
	return keys, group.Wait()
}

// accountsAtOnce shares the waits for the disk.
const accountsAtOnce = 16
