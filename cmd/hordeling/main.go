// SPDX-License-Identifier: AGPL-3.0-or-later

// Command hordeling gives workers CivitAI's textual inversions as safetensors, and converts and inspects such files on
// the command line. No pickle is ever executed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// version of the program; releases set it with -ldflags "-X main.version=...".
var version = ""

// programVersion is version, or what the Go toolchain knows of the build.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// command is the command line.
type command struct {
	Config  kong.ConfigFlag  `help:"Read options from this YAML file ('hordeling config' prints one). Flags and environment variables win." env:"HORDELING_CONFIG" placeholder:"FILE"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve   serveCommand   `cmd:"" help:"Run the service."`
	Convert convertCommand `cmd:"" help:"Convert files to safetensors without executing anything."`
	Inspect inspectCommand `cmd:"" help:"Print what is in a file, opcode by opcode, and what loading it with Python would do."`
	Show    configCommand  `cmd:"" name:"config" help:"Print a commented configuration file with all options of 'serve' and their defaults."`
}

// program is what the commands are run with.
type program struct {
	ctx            context.Context
	stdout, stderr io.Writer
	parser         *kong.Kong
	// listening is told the addresses of the service once it can be reached. Nil outside of tests.
	listening func(public, admin string)
}

// exitStatus is an error that has been reported already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exit is how kong asks to stop after --help and --version.
type exit int

// run is the whole program; it returns the exit status: 0, 1 for a failure or a refused file, 2 for a wrong command line.
func run(p *program, args []string) (status int) {
	defer func() {
		if r := recover(); r != nil {
			code, ok := r.(exit)
			if !ok {
				panic(r)
			}
			status = int(code)
		}
	}()
	var c command
	parser, err := kong.New(&c,
		kong.Name("hordeling"),
		kong.Description("CivitAI's textual inversions as safetensors, for the workers of an AI Horde. Pickles are read as inert data and never executed."),
		kong.Vars{"version": "hordeling " + programVersion()},
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Configuration(loadConfig),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(helpWithDefault),
	)
	if err != nil {
		panic(err) // the struct tags are wrong
	}
	p.parser = parser
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(p.stderr, "hordeling: %v\n", err)
		return 2
	}
	err = ctx.Run(p)
	var reported exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &reported):
		return int(reported)
	}
	fmt.Fprintf(p.stderr, "hordeling: %v\n", err)
	return 1
}

// helpWithDefault is the help of a flag with its default, which kong leaves out where there is a placeholder.
func helpWithDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Default != "" && (v.IsBool() || v.Flag != nil && v.Flag.PlaceHolder != "") {
		help += " Default: " + v.Default + "."
	}
	return help
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(&program{ctx: ctx, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(status)
}
