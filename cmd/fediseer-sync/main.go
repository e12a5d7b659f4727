// SPDX-License-Identifier: AGPL-3.0-or-later

// Command fediseer-sync keeps the block lists of fediverse servers in step with what is said in a Fediseer.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"horde/fediseer"
	"horde/internal/fediseer/blocksync"
)

// httpTimeout bounds each request; Lemmy takes its time to store a long list.
const httpTimeout = 2 * time.Minute

type program struct {
	Plan   planCmd   `cmd:"" help:"Show what would change; nothing is written."`
	Apply  applyCmd  `cmd:"" help:"Bring the lists into step."`
	Export exportCmd `cmd:"" help:"Write everything that is wanted to a file."`
	Push   pushCmd   `cmd:"" help:"Censure in the Fediseer what the server blocks."`
	Whoami whoamiCmd `cmd:"" help:"Show as whom the tool acts."`
	Show   showCmd   `cmd:"" name:"config" help:"Print a configuration file in which every key is explained."`
}

type common struct {
	Config string `short:"c" help:"Configuration file. See: fediseer-sync config." default:"fediseer-sync.yaml" env:"FEDISEER_SYNC_CONFIG" type:"path"`
}

type chosen struct {
	common
	Target string `help:"Only this target. Empty: all of them."`
}

// result carries an exit code out of a command.
type result struct {
	exit blocksync.Exit
	err  error
}

func (r *result) Error() string {
	if r.err == nil {
		return ""
	}
	return r.err.Error()
}

func (c *common) runner() (*blocksync.Runner, error) {
	f, err := os.Open(c.Config)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cfg, err := blocksync.ReadConfig(f, os.Getenv)
	if err != nil {
		return nil, err
	}
	client, err := fediseer.New(fediseer.WithBaseURL(cfg.Fediseer.URL), fediseer.WithAPIKey(cfg.Fediseer.APIKey),
		fediseer.WithClientAgent("fediseer-sync", "1", "unknown"))
	if err != nil {
		return nil, err
	}
	return &blocksync.Runner{Config: cfg, Fediseer: client, HTTP: &http.Client{Timeout: httpTimeout}, Out: os.Stdout}, nil
}

// each runs f for the chosen targets and returns the worst result.
func (c *chosen) each(f func(r *blocksync.Runner, target string) (blocksync.Exit, error)) error {
	r, err := c.runner()
	if err != nil {
		return &result{blocksync.Failed, err}
	}
	names := slices.Sorted(maps.Keys(r.Config.Targets))
	if c.Target != "" {
		if r.Config.Targets[c.Target] == nil {
			return &result{blocksync.Failed, fmt.Errorf("there is no target %q in %s", c.Target, c.Config)}
		}
		names = []string{c.Target}
	}
	if len(names) == 0 {
		return &result{blocksync.Failed, fmt.Errorf("%s names no target", c.Config)}
	}
	exit := blocksync.Done
	var all error
	for _, name := range names {
		e, err := f(r, name)
		exit = exit.Worse(e)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", name, err))
		}
	}
	if exit != blocksync.Done || all != nil {
		return &result{exit, all}
	}
	return nil
}

type planCmd struct {
	chosen
	JSON  bool `help:"Print JSON."`
	Purge bool `help:"Plan the removal of everything that is not wanted, also of what people added."`
}

func (c *planCmd) Run(ctx context.Context) error {
	return c.each(func(r *blocksync.Runner, target string) (blocksync.Exit, error) {
		return r.Sync(ctx, target, blocksync.Options{DryRun: true, JSON: c.JSON, Purge: c.Purge})
	})
}

type applyCmd struct {
	chosen
	DryRun bool          `help:"Show what would change; nothing is written."`
	Yes    bool          `help:"Do not ask."`
	Force  bool          `help:"Go on where a safety rule stops."`
	Purge  bool          `help:"Remove everything that is not wanted, also what people added."`
	JSON   bool          `help:"Print JSON."`
	Every  time.Duration `help:"Run again after this time, until the program is ended. 0: run once." default:"0"`
}

func (c *applyCmd) Run(ctx context.Context) error {
	o := blocksync.Options{DryRun: c.DryRun, Yes: c.Yes, Force: c.Force, Purge: c.Purge, JSON: c.JSON}
	if term.IsTerminal(int(os.Stdin.Fd())) && c.Every == 0 { // a character device may be /dev/null, which answers nothing
		o.Ask = ask
	}
	once := func() error {
		return c.each(func(r *blocksync.Runner, target string) (blocksync.Exit, error) { return r.Sync(ctx, target, o) })
	}
	if c.Every <= 0 {
		return once()
	}
	for t := time.NewTicker(c.Every); ; {
		if err := once(); err != nil && ctx.Err() == nil {
			// A failure is not the end: the next run may find the server up again.
			slog.Error("a run failed", "error", err)
		}
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// ask puts a question on the terminal; everything but yes is no.
func ask(question string) bool {
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return false
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes"
}

type exportCmd struct {
	common
	Target string `help:"Write it as it holds for this target: with its own domain protected, its severity and its public_reasons."`
	Format string `help:"mastodon-csv, gotosocial-json or plain." required:"" enum:"mastodon-csv,gotosocial-json,plain"`
	Output string `short:"o" help:"File to write. Empty: standard output."`
	Public bool   `help:"Write the reasons where the public sees them, also without public_reasons."`
}

func (c *exportCmd) Run(ctx context.Context) error {
	r, err := c.runner()
	if err != nil {
		return err
	}
	var out bytes.Buffer // so that a failure leaves an older file as it is
	if err := r.Export(ctx, c.Target, c.Format, c.Public, &out); err != nil {
		return err
	}
	if c.Output != "" {
		return os.WriteFile(c.Output, out.Bytes(), 0o644)
	}
	_, err = out.WriteTo(os.Stdout)
	return err
}

type pushCmd struct {
	chosen
	DryRun bool `help:"Show what would be censured; nothing is written."`
}

func (c *pushCmd) Run(ctx context.Context) error {
	return c.each(func(r *blocksync.Runner, target string) (blocksync.Exit, error) {
		return r.Push(ctx, target, blocksync.Options{DryRun: c.DryRun})
	})
}

type whoamiCmd struct{ common }

func (c *whoamiCmd) Run(ctx context.Context) error {
	r, err := c.runner()
	if err != nil {
		return err
	}
	return r.WhoAmI(ctx)
}

type showCmd struct{}

func (showCmd) Run() error {
	_, err := fmt.Print(blocksync.Example)
	return err
}

func main() { os.Exit(int(run(os.Args[1:], os.Stdout, os.Stderr))) }

// run is the program; it returns the exit code. Help is the one thing that ends the program itself, with 0.
func run(args []string, stdout, stderr io.Writer) blocksync.Exit {
	var p program
	parser, err := kong.New(&p, kong.Name("fediseer-sync"), kong.Writers(stdout, stderr),
		kong.Description("Keeps the block lists of fediverse servers in step with what is said in a Fediseer.\n\nExit codes: 0 done or nothing to do, 1 failed before anything was written or called wrongly, 2 changes are pending (plan, dry run), 3 stopped by a safety rule, 4 partly applied."))
	if err != nil {
		fmt.Fprintln(stderr, "fediseer-sync: "+err.Error())
		return blocksync.Failed
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, "fediseer-sync: "+err.Error()+"; see fediseer-sync --help")
		return blocksync.Failed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err = k.Run(); err == nil {
		return blocksync.Done
	}
	exit := blocksync.Failed
	var r *result
	if errors.As(err, &r) {
		exit = r.exit
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, "fediseer-sync: "+text)
	}
	return exit
}
