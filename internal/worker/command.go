// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/alecthomas/kong"
)

// Command is `horde worker` for a kong command line:
//
//	var cli struct {
//		Worker worker.Command `cmd:"" help:"Work for a horde."`
//	}
type Command struct {
	Kind   string `arg:"" optional:"" enum:"dreamer,scribe,alchemist,all,check" default:"all" help:"dreamer for images, scribe for text, alchemist for what can be told of images, all for those with a name, check to look at everything and take no job."`
	File   string `name:"config" short:"c" default:"bridgeData.yaml" env:"WORKER_CONFIG" placeholder:"FILE" help:"Configuration file. If it does not exist and no name is given, a commented one is written."`
	Config `embed:""`

	file *File
}

// BeforeResolve reads the configuration file, so that it comes before the command line and the environment.
func (c *Command) BeforeResolve(ctx *kong.Context) error {
	path := c.File
	for _, p := range ctx.Path {
		for _, f := range p.Flags {
			if f.Name == "config" {
				if v, ok := ctx.FlagValue(f).(string); ok && v != "" {
					path = v
				}
			}
		}
	}
	c.File = path
	f, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		f = &File{values: map[string]any{}, used: map[string]bool{}}
	} else if err != nil {
		return &ExitError{Code: ExitConfig, Err: err}
	}
	c.file = f
	ctx.AddResolver(f)
	return nil
}

// Run works until it is told to stop. The error is an *ExitError.
func (c *Command) Run() error {
	ui := DefaultUI(c.Config)
	if c.DreamerName == "" && c.ScribeName == "" && c.AlchemistName == "" && c.WorkerName == "" {
		if len(c.file.values) == 0 {
			if err := WriteTemplate(c.File); err != nil {
				return &ExitError{Code: ExitConfig, Err: err}
			}
			return exitf(ExitConfig, "the worker has no name; wrote %s: fill it in and start again", c.File)
		}
		return exitf(ExitConfig, "none of dreamer_name, scribe_name and alchemist_name is set in %s", c.File)
	}
	for _, w := range c.file.Warnings() {
		ui.Log.Warn(w)
	}
	var kinds []string
	switch c.Kind {
	case "check":
		return Check(context.Background(), c.Config, ui, Backends{})
	case "all":
	default:
		kinds = []string{c.Kind}
	}
	return Run(context.Background(), c.Config, ui, Backends{}, kinds...)
}

// Check validates the configuration, asks horde and inference servers, prints what a worker would offer, and pops
// nothing. The error is an *ExitError.
func Check(ctx context.Context, cfg Config, ui UI, given Backends) error {
	p, err := newProcess(ctx, cfg, &ui)
	if err != nil {
		return err
	}
	defer p.close()
	out := ui.Out
	if hb, err := p.horde.Heartbeat(ctx); err != nil {
		fmt.Fprintf(out, "horde %s: %v\n", cfg.HordeURL, err)
	} else {
		fmt.Fprintf(out, "horde %s: %s, version %s\n", cfg.HordeURL, hb.Message, hb.Version)
	}
	if u, err := p.horde.FindUser(ctx); err != nil {
		fmt.Fprintf(out, "account: %v\n", err)
	} else {
		fmt.Fprintf(out, "account: %s, %.0f kudos\n", u.Username, u.Kudos)
		p.user = u
	}
	loops, err := p.loops(ctx, given, nil)
	if err != nil {
		return err
	}
	for _, l := range loops {
		fmt.Fprint(out, l.kind.report())
	}
	return nil
}
