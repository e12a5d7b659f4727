// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/alecthomas/kong"
)

// FuzzConfig reads configuration files of the server. One that is accepted makes a configuration or an error, and never ends the
// program by itself.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:1\ntitle: x\nadmins: [1, a#2]\ntrust-threshold: .nan\nblobs: s3://images\n"))
	f.Add([]byte("trusted_proxies: 10.0.0.0/8\nrate-limit: false\nlog-level: [debug]\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Add([]byte("? {x: y}\n: z\n"))
	f.Add([]byte("title: !!binary zz\npublic-url: {a: b}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		resolver, err := loadYAML(bytes.NewReader(file))
		if err != nil {
			return
		}
		var c cli
		parser, err := kong.New(&c, append(options(t.Context()), kong.Resolvers(resolver), kong.Writers(io.Discard, io.Discard),
			kong.Exit(func(int) { t.Error("the program ends") }))...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"serve"}); err == nil {
			_, _ = c.Serve.node()
		}
	})
}
