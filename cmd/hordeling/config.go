// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
	"gopkg.in/yaml.v3"
)

// configFile is a YAML file with the options of serve at its top, by the names of their flags.
type configFile struct {
	kong.Resolver
	keys []string
}

func loadConfig(r io.Reader) (kong.Resolver, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var options map[string]any
	if err := yaml.Unmarshal(data, &options); err != nil {
		return nil, err
	}
	// The loader looks for the options of a command under the command's name.
	nested, err := yaml.Marshal(map[string]any{"serve": options})
	if err != nil {
		return nil, err
	}
	resolver, err := kongyaml.Loader(bytes.NewReader(nested))
	if err != nil {
		return nil, err
	}
	return configFile{resolver, slices.Sorted(maps.Keys(options))}, nil
}

// Validate refuses keys that are no option: a misspelt limit must not go unnoticed.
func (c configFile) Validate(app *kong.Application) error {
	for _, key := range c.keys {
		if !slices.ContainsFunc(serveFlags(app), func(f *kong.Flag) bool { return f.Name == key }) {
			return fmt.Errorf("the configuration file has the unknown option %q", key)
		}
	}
	return nil
}

// Resolve gives way to environment variables, which are for the machine at hand.
func (c configFile) Resolve(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	return c.Resolver.Resolve(ctx, parent, flag)
}

func serveFlags(app *kong.Application) []*kong.Flag {
	for _, n := range app.Children {
		if n.Name == "serve" {
			return n.Flags
		}
	}
	return nil
}

type configCommand struct{}

func (configCommand) Run(p *program) error {
	var b strings.Builder
	b.WriteString("# Configuration of 'hordeling serve'. Every option is also a flag (--listen) and an environment variable\n" +
		"# (HORDELING_LISTEN); flags win over variables, variables over this file.\n")
	for _, f := range serveFlags(p.parser.Model) {
		if f.Name == "help" {
			continue
		}
		value := f.Default
		if f.IsSlice() {
			value = `["` + strings.ReplaceAll(value, ",", `", "`) + `"]`
		} else if value == "" {
			value = `""`
		} else if strings.HasPrefix(value, ":") {
			value = `"` + value + `"`
		}
		fmt.Fprintf(&b, "\n%s#%s: %s\n", comment(f.Help), f.Name, value)
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// commentWidth is the longest line of a comment in the printed file.
const commentWidth = 100

// comment breaks text into lines that begin with "# ".
func comment(text string) string {
	var b strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}
