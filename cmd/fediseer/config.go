// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// yamlResolver reads a configuration file: a flat mapping from the long names of flags to values. Names that no flag has
// are errors, so that a misspelled option is not silently ignored.
func yamlResolver(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && err != io.EOF {
		return nil, fmt.Errorf("the configuration file is not a YAML mapping: %w", err)
	}
	return resolver(values), nil
}

type resolver map[string]any

// Validate implements kong.Resolver.
func (r resolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			known[f.Name] = true
		}
		return next(nil)
	})
	for name := range r {
		if !known[name] {
			return fmt.Errorf("the configuration file names %q, which is no option", name)
		}
	}
	return nil
}

// Resolve implements kong.Resolver. What is set in the environment is not taken from the file.
func (r resolver) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	for _, name := range f.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	v, ok := r[f.Name]
	if !ok || v == nil {
		return nil, nil
	}
	if list, ok := v.([]any); ok {
		texts := make([]string, len(list))
		for i, x := range list {
			texts[i] = fmt.Sprint(x)
		}
		return strings.Join(texts, ","), nil
	}
	return fmt.Sprint(v), nil
}

type showConfig struct{}

// Run prints a configuration file in which every option of serve is explained where it stands.
func (showConfig) Run(k *kong.Kong) error {
	w := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(w, "# Configuration of the Fediseer. Use it with: fediseer serve --config FILE")
	fmt.Fprintln(w, "# Every option is also a flag of the same name and an environment variable; flags win over the environment, and")
	fmt.Fprintln(w, "# that wins over this file. What is commented out has the value that is shown.")
	for _, cmd := range k.Model.Children {
		if cmd.Name != "serve" {
			continue
		}
		for _, f := range cmd.Flags {
			fmt.Fprintf(w, "\n# %s\n", f.Help)
			if len(f.Envs) > 0 {
				fmt.Fprintf(w, "# Environment: %s\n", strings.Join(f.Envs, ", "))
			}
			value := f.Default
			if value == "" {
				value = `""`
			}
			if f.IsBool() && f.Default == "" {
				value = "false"
			}
			fmt.Fprintf(w, "#%s: %s\n", f.Name, value)
		}
	}
	return w.Flush()
}
