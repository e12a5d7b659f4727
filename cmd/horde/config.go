// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// spelled writes options of the AI Horde's server as this program does: --allow_all_ips and --disable_filters. Values are left alone.
func spelled(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "--" {
			break
		}
		name, value, given := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "--") {
			continue
		}
		if name = strings.ReplaceAll(name, "_", "-"); name == "--disable-filters" {
			name = "--no-filters"
		}
		if out[i] = name; given {
			out[i] += "=" + value
		}
	}
	return out
}

// loadYAML resolves flags from a configuration file, whose keys are the names of the flags.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("the configuration file: %w", err)
	}
	return &yamlResolver{values}, nil
}

type yamlResolver struct{ values map[string]any }

// Validate refuses keys that no command knows, so that a typing error is not silently a default.
func (y *yamlResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, command := range app.Leaves(false) {
		for _, group := range command.AllFlags(false) {
			for _, f := range group {
				known[f.Name] = true
			}
		}
	}
	for key := range y.values {
		if !known[strings.ReplaceAll(key, "_", "-")] {
			return fmt.Errorf("the configuration file has %q, which is no option", key)
		}
	}
	return nil
}

// Resolve returns the value of a flag, or nil.
func (y *yamlResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs { // the environment comes before the file, and the command line before both
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	if v, ok := y.values[flag.Name]; ok {
		return v, nil
	}
	if v, ok := y.values[strings.ReplaceAll(flag.Name, "-", "_")]; ok {
		return v, nil
	}
	return nil, nil
}

type configCommand struct{}

// Run prints every option of the server with its explanation, commented out and set to its default.
func (configCommand) Run(ctx context.Context) error {
	var c cli
	parser, err := kong.New(&c, options(ctx)...)
	if err != nil {
		return err
	}
	return writeTemplate(os.Stdout, parser)
}

func writeTemplate(w io.Writer, parser *kong.Kong) error {
	fmt.Fprint(w, "# Configuration of a horde's server. Use it with: horde serve --config FILE\n"+
		"# Each option can also be given as a flag (--name) or by the environment variable that stands beside it: a flag\n"+
		"# comes before the environment, and that before this file.\n"+
		"# What is commented out is the default.\n")
	for _, command := range parser.Model.Leaves(false) {
		if command.Path() != "serve" {
			continue
		}
		for _, group := range command.AllFlags(false) {
			for _, f := range group {
				if f.Name == "help" || f.Name == "config" {
					continue
				}
				fmt.Fprintf(w, "\n# %s\n", f.Help)
				for _, env := range f.Envs {
					fmt.Fprintf(w, "# Environment: %s\n", env)
				}
				value := f.Default
				switch {
				case f.IsBool() && value == "":
					value = "false"
				case f.IsSlice():
					value = "[" + value + "]"
				case value == "":
					value = `""`
				}
				fmt.Fprintf(w, "# %s: %s\n", f.Name, value)
			}
		}
	}
	return nil
}
