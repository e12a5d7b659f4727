// SPDX-License-Identifier: AGPL-3.0-or-later

// Command horde runs a horde, works for one, and asks one for images and texts.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"horde/internal/dotenv"
	"horde/internal/horde"
	"horde/internal/supporters"
	"horde/internal/worker"
)

type cli struct {
	Up       upCommand       `cmd:"" help:"Run a whole horde on this machine to try it: server, workers and pages."`
	Serve    serveCommand    `cmd:"" help:"Run the server of a horde."`
	Worker   worker.Command  `cmd:"" help:"Work for a horde with an inference server of yours."`
	Generate generateCommand `cmd:"" help:"Ask a horde for an image or a text."`
	Register registerCommand `cmd:"" help:"Make yourself an account at a horde, and print its key."`
	User     userCommand     `cmd:"" help:"Create, list, show and change accounts."`
	Bench    benchCommand    `cmd:"" help:"Measure a server: lifecycles, latency, processor and memory."`
	Audit    auditCommand    `cmd:"" help:"Recompute every balance from the ledger, and fail if one differs."`
	Models   modelsCommand   `cmd:"" help:"Make a text model list (db.json) of a table (models.csv), for workers and other programs; the server reads either."`
	Config   configCommand   `cmd:"" help:"Print a commented configuration file with every option of the server."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

const description = `A crowdsourced inference system: volunteers lend their GPUs, everybody else gets images and text from them.

Every option can also be given by the environment variable that its help names and, for the server, in a configuration file
(--config; "horde config" prints one). A flag comes before the environment, and that before the file. The commands serve, user and
audit take variables that are not set from a file .env in the working directory, or .env_NAME if PROFILE=NAME is set.`

func main() {
	err := run(os.Args[1:])
	var exit *worker.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, "horde:", err)
		os.Exit(worker.CodeOf(err))
	default:
		fmt.Fprintln(os.Stderr, "horde:", message(err))
		os.Exit(1)
	}
}

// message is what a person needs to know of an error.
func message(err error) string {
	var refusal *horde.Error
	if !errors.As(err, &refusal) {
		return err.Error()
	}
	text := refusal.Message
	for _, field := range slices.Sorted(maps.Keys(refusal.Fields)) {
		text += fmt.Sprintf("; %s: %s", field, refusal.Fields[field])
	}
	return text
}

func run(args []string) error {
	if len(args) > 0 && slices.Contains([]string{"serve", "user", "audit"}, args[0]) { // the operator's, where a server is
		if err := dotenv.Load(dotenv.File(os.Getenv("PROFILE"))); err != nil {
			return err
		}
	}
	var c cli
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parser, err := kong.New(&c, options(ctx)...)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(spelled(args))
	if err != nil {
		var wrong *kong.ParseError
		if errors.As(err, &wrong) {
			_ = wrong.Context.PrintUsage(true)
		}
		return err
	}
	return parsed.Run()
}

func options(ctx context.Context) []kong.Option {
	return []kong.Option{
		kong.Name("horde"), kong.Description(description),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Configuration(loadYAML), kong.Vars{
			"data": dataDir(), "up_listen": defaultListen, "patreon": supporters.PatreonURL, "stripe": supporters.StripeURL,
			"amounts": supporters.DefaultAmounts, "products": supporters.DefaultProducts,
		},
	}
}

type versionCommand struct{}

func (versionCommand) Run() error {
	fmt.Println("horde", worker.Version())
	return nil
}
