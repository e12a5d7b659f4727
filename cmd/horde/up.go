// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/localmodel"
	"horde/internal/node"
	"horde/internal/probe"
	"horde/internal/worker"
)

const defaultListen = "127.0.0.1:7001"

// upCommand runs everything on one machine: who has nothing but this program gets a text and an image from a horde.
type upCommand struct {
	Listen      string `env:"HORDE_LISTEN" default:"${up_listen}" placeholder:"ADDR" help:"Address and port to listen on; ${default} by default or, if that is taken, a free port."`
	Demo        bool   `help:"Do not set up a real text model: use the demo writer inside the program."`
	serverFlags `embed:""`
}

// Run serves and works until it is told to stop.
func (c *upCommand) Run(ctx context.Context) error {
	cfg, err := c.node()
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: max(c.LogLevel, slog.LevelWarn)}))
	l, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && c.Listen == defaultListen {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return listenError(c.Listen, err)
	}
	cfg.Listen = l.Addr().String()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		l.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		served <- n.Serve(serving, l)
		cancel()
	}()
	up := &upstart{node: n, url: "http://" + dialable(l.Addr()), log: cfg.Log, demo: c.Demo}
	err = up.run(ctx)
	stopServing() // the workers have drained; now nobody needs the server any more
	return errors.Join(err, <-served, n.Close())
}

// dialable is the address by which this machine reaches a listener.
func dialable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// upstart is what `horde up` does beside serving.
type upstart struct {
	node    *node.Node
	url     string
	log     *slog.Logger
	demo    bool
	keys    upKeys
	workers sync.WaitGroup
}

// upKeys are the keys of the accounts that `horde up` makes. They are kept in the data directory, readable by the user
// alone, because a key cannot be read back from the record.
type upKeys struct {
	User   string `json:"user"`
	Worker string `json:"worker"`
}

func (u *upstart) run(ctx context.Context) error {
	if err := u.accounts(ctx); err != nil {
		return err
	}
	fmt.Printf("horde %s\n  data in %s\n", worker.Version(), u.node.Data)
	found := u.look(ctx)
	text, stopText := u.textBackend(ctx, found)
	defer stopText()
	if ctx.Err() == nil {
		u.work(ctx, text, u.imageBackend(found))
		u.welcome()
	}
	<-ctx.Done()
	fmt.Println("\nstopping: workers finish what they have in hand")
	u.workers.Wait()
	return nil
}

// accounts makes the user and the owner of the workers at the first start.
func (u *upstart) accounts(ctx context.Context) error {
	path := filepath.Join(u.node.Data, "up.json")
	text, err := os.ReadFile(path)
	if err == nil && json.Unmarshal(text, &u.keys) == nil && u.valid(ctx) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, account := range []struct {
		key *string
		engine.NewUser
	}{
		{&u.keys.User, engine.NewUser{Name: "you", Kudos: 100_000_00, Roles: horde.Moderator}},
		// Models of a private horde are mostly in no reference list, which only customizers may offer.
		{&u.keys.Worker, engine.NewUser{Name: "worker", Roles: horde.Trusted | horde.Customizer}},
	} {
		account.OAuthID = engine.OperatorLogin()
		if _, *account.key, err = u.node.Engine.Register(ctx, account.NewUser); err != nil {
			return err
		}
	}
	text, err = json.MarshalIndent(u.keys, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func (u *upstart) valid(ctx context.Context) bool {
	for _, key := range []string{u.keys.User, u.keys.Worker} {
		if _, err := u.node.Engine.FindUser(ctx, key); err != nil {
			return false
		}
	}
	return true
}

// look finds the inference servers that run on this machine.
func (u *upstart) look(ctx context.Context) []probe.Found {
	found := probe.Look(ctx, probe.Usual())
	for _, f := range found {
		note := ""
		switch {
		case f.Locked:
			note = ", but it wants a password"
		case f.Loading:
			note = ", still loading"
		}
		fmt.Printf("  found %s%s\n", f, note)
	}
	return found
}

func first(found []probe.Found, images bool) (probe.Found, bool) {
	for _, f := range found {
		if f.Kind.Images() == images && !f.Locked {
			return f, true
		}
	}
	return probe.Found{}, false
}

// textBackend chooses what makes texts: a server that runs already, else a small real model, else the demo writer.
func (u *upstart) textBackend(ctx context.Context, found []probe.Found) (cfg worker.Config, stop func()) {
	if f, ok := first(found, false); ok {
		return worker.Config{ScribeBackend: string(f.Kind), KaiURL: f.URL}, func() {}
	}
	if u.demo {
		fmt.Println("  text: the demo writer inside this program, which is no real model")
		return worker.Config{ScribeBackend: "sandbox"}, func() {}
	}
	server, err := u.localModel(ctx)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Printf("  no real text model: %v\n  going on with the demo writer\n", err)
		}
		return worker.Config{ScribeBackend: "sandbox"}, func() {}
	}
	return worker.Config{ScribeBackend: "llamacpp", KaiURL: server.URL()}, server.Close
}

// localModel sets up and starts the small model that a machine without a text server gets.
func (u *upstart) localModel(ctx context.Context) (*localmodel.Server, error) {
	dir := filepath.Join(u.node.Data, "model")
	show := newSetupLine(os.Stdout)
	if _, err := localmodel.Find(dir); err != nil {
		fmt.Println("  no text server is running here: setting up a small real model (SmolLM2 135M on llama.cpp, 130 MB; --demo skips this)")
	}
	m, err := localmodel.Setup(ctx, dir, show.progress)
	show.end()
	if err != nil {
		return nil, err
	}
	server, err := m.Start(ctx, localmodel.Options{})
	if err == nil {
		fmt.Printf("  text: %s on llama.cpp at %s\n", m.Name, server.URL())
	}
	return server, err
}

func (u *upstart) imageBackend(found []probe.Found) worker.Config {
	f, ok := first(found, true)
	switch {
	case !ok:
		fmt.Println("  images: no image server is running here, so the demo painter inside this program, which is no real model")
		return worker.Config{DreamerBackend: "sandbox"}
	case f.Kind == probe.ComfyUI:
		return worker.Config{DreamerBackend: "comfyui", ComfyUIURL: f.URL}
	}
	return worker.Config{DreamerBackend: "a1111", A1111URL: f.URL}
}

// work starts the workers. They run inside this process and end with it, after they have delivered.
func (u *upstart) work(ctx context.Context, text, image worker.Config) {
	host, _ := os.Hostname()
	if host == "" {
		host = "this machine"
	}
	start := func(kind string, cfg worker.Config) {
		u.workers.Add(1)
		go func() {
			defer u.workers.Done()
			ui := worker.UI{Out: io.Discard, Log: u.log.With("worker", kind)}
			if err := worker.Run(ctx, cfg, ui, worker.Backends{}, kind); err != nil && ctx.Err() == nil {
				u.log.Error("a worker ended", "worker", kind, "error", err)
			}
		}()
	}
	base, err := worker.Defaults()
	if err != nil {
		u.log.Error("the workers cannot be configured", "error", err)
		return
	}
	common := func(cfg worker.Config) worker.Config {
		base := base
		base.HordeURL, base.APIKey = u.url, u.keys.Worker
		base.ScribeBackend, base.KaiURL = cfg.ScribeBackend, cfg.KaiURL
		base.DreamerBackend, base.ComfyUIURL, base.A1111URL = cfg.DreamerBackend, cfg.ComfyUIURL, cfg.A1111URL
		return base
	}
	scribe := common(text)
	scribe.ScribeName = "Scribe on " + host
	start("scribe", scribe)
	dreamer := common(image)
	dreamer.DreamerName = "Dreamer on " + host
	dreamer.MaxPower = upMaxPower
	start("dreamer", dreamer)
}

// upMaxPower lets the image worker of `horde up` make up to 1024x1024.
const upMaxPower = 32

func (u *upstart) welcome() {
	fmt.Printf(`
The horde is up.

  page          %[1]s/
  your key      %[2]s   (for requests)
  worker's key  %[3]s   (for workers: %[5]s worker -u %[1]s -a KEY)

Try it, from another terminal:

  %[5]s generate text "The sea at night is" --url %[1]s
  %[5]s generate image "a lighthouse in a storm, watercolor" --url %[1]s --out lighthouse.png

or with nothing but curl:

%[4]s

Ctrl-C stops it.
`, u.url, u.keys.User, u.keys.Worker, curlExample(u.url, u.keys.User), self())
}

// self is how this program was started, as far as it can be typed again.
func self() string {
	path, err := os.Executable()
	switch {
	case err != nil:
		return "horde"
	case strings.Contains(path, string(filepath.Separator)+"go-build"):
		return "go run ./cmd/horde"
	}
	if found, err := exec.LookPath("horde"); err == nil && found == path {
		return "horde"
	}
	return os.Args[0]
}

// curlExample asks for a text and waits for it. It works as pasted into a shell.
func curlExample(url, key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(`id=$(curl -s URL/api/v2/generate/text/async -H 'apikey: KEY' -H 'Content-Type: application/json' \
  -d '{"prompt":"The sea at night is","params":{"max_length":60}}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
until curl -s "URL/api/v2/generate/text/status/$id" | grep '"done":true'; do sleep 1; done`, "URL", url), "KEY", key)
}

// setupLine shows how the set-up of the model gets on: one line that is written over on a terminal, else a line a stage.
type setupLine struct {
	out      *os.File
	terminal bool
	stage    string
	shown    time.Time
}

func newSetupLine(out *os.File) *setupLine {
	return &setupLine{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

func (s *setupLine) progress(p localmodel.Progress) {
	text := fmt.Sprint(p)
	switch {
	case s.terminal:
		fmt.Fprintf(s.out, "\r\033[K  %s", text)
	case string(p.Stage) != s.stage || time.Since(s.shown) > 5*time.Second:
		s.stage, s.shown = string(p.Stage), time.Now()
		fmt.Fprintf(s.out, "  %s\n", text)
	}
}

func (s *setupLine) end() {
	if s.terminal {
		fmt.Fprint(s.out, "\r\033[K")
	}
}
