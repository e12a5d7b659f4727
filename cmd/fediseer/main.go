// SPDX-License-Identifier: AGPL-3.0-or-later

// Command fediseer runs the Fediseer: fediverse instances vouch for and judge each other.
//
//	fediseer serve --listen 127.0.0.1:10001 --data ./data
//
// needs nothing else. Every flag can also be set in the environment and in a YAML file; "fediseer config" prints one with
// all of them explained.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"horde/internal/dotenv"
	"horde/internal/fediseer/server"
)

// options are shared by serve and update. Defaults are those of server.Default.
type options struct {
	Data      string `help:"Directory for the database, keys and secrets." default:"fediseer-data" env:"FEDISEER_DATA" type:"path"`
	Database  string `help:"postgres:// URL, or path of a SQLite file. Empty: fediseer.db in the data directory." env:"FEDISEER_DATABASE,POSTGRES_URI"`
	Domain    string `help:"Domain of the root instance and of the service's account on the fediverse." default:"fediseer.com" env:"FEDISEER_DOMAIN,FEDISEER_LEMMY_DOMAIN"`
	PublicURL string `name:"public-url" help:"Address under which others reach the service. Messages are signed with it." default:"https://fediseer.com" env:"FEDISEER_PUBLIC_URL"`
	GUIURL    string `name:"gui-url" help:"Address that messages lead people to. Empty: the public URL." env:"FEDISEER_GUI_URL"`
	RootUser  string `name:"root-user" help:"User name of the service's admin." default:"fediseer" env:"FEDISEER_ROOT_USER"`
	Operator  string `help:"Fediverse account (user@domain) that messages to the root instance go to. Empty: none." env:"FEDISEER_OPERATOR"`
	Contact   string `help:"Where messages tell people to ask. Empty: the service's account." env:"FEDISEER_CONTACT"`

	AdminKey         string `name:"admin-api-key" help:"API key of the service's admin, read when the database is made. Empty: one is made and left in admin-key in the data directory." env:"ADMIN_API_KEY"`
	Salt             string `help:"Salt of the key hashes. It must stay the same as long as the database. Empty: one is made and kept in salt in the data directory." env:"FEDISEER_SALT,secret_key"`
	AllowDefaultSalt bool   `help:"Accept the salt that old installations used and everybody knows." env:"FEDISEER_ALLOW_DEFAULT_SALT"`
	PrivateKey       string `help:"PEM file with the RSA key that signs messages. Empty: private.pem in the data directory, made if it is missing." env:"FEDISEER_PRIVATE_KEY"`

	MastodonURL   string `name:"mastodon-url" help:"Mastodon-API server through which instances can choose to receive messages. Empty: none." env:"FEDISEER_MASTODON_URL,MASTODON_INSTANCE"`
	MastodonToken string `help:"Access token of the service's account there." env:"FEDISEER_MASTODON_TOKEN,MASTODON_TOKEN"`

	ProbeTimeout   time.Duration  `help:"Patience with a foreign instance while somebody waits." default:"5s" env:"FEDISEER_PROBE_TIMEOUT"`
	UpdateParallel int            `help:"Instances that are polled at the same time." default:"25" env:"FEDISEER_UPDATE_THREADS"`
	IgnoreFails    int            `name:"ignore-poll-fails" help:"Do not poll instances with more failed polls than this. -1: poll all." default:"-1" env:"FEDISEER_IGNORE_POLL_FAILS"`
	AllowAddresses []netip.Prefix `help:"Private networks (CIDR) in which foreign instances may be, for closed fediverses and tests." env:"FEDISEER_ALLOW_ADDRESSES"`
	CAFile         string         `help:"PEM file with certificate authorities that are trusted besides the system's." env:"FEDISEER_CA_FILE"`
}

func (o *options) config() server.Config {
	c := server.Default()
	c.Data, c.Database, c.Domain, c.PublicURL, c.GUIURL = o.Data, o.Database, o.Domain, o.PublicURL, o.GUIURL
	c.RootUser, c.Operator, c.Contact = o.RootUser, o.Operator, o.Contact
	c.AdminKey, c.Salt, c.AllowDefaultSalt, c.PrivateKey = o.AdminKey, o.Salt, o.AllowDefaultSalt, o.PrivateKey
	c.MastodonURL, c.MastodonToken = o.MastodonURL, o.MastodonToken
	c.ProbeTimeout, c.UpdateParallel, c.IgnoreFails = o.ProbeTimeout, o.UpdateParallel, o.IgnoreFails
	c.AllowAddresses, c.CAFile = o.AllowAddresses, o.CAFile
	return c
}

type serve struct {
	options
	Listen         string        `help:"Address and port to listen on." default:"127.0.0.1:10001" env:"FEDISEER_LISTEN"`
	TrustedProxies int           `help:"Number of reverse proxies in front whose X-Forwarded-For is believed." default:"0" env:"FEDISEER_TRUSTED_PROXIES"`
	RateLimits     bool          `help:"Limit how often a client may ask." default:"true" negatable:"" env:"FEDISEER_RATE_LIMITS"`
	Suspicions     string        `help:"URL of the GraphQL service, or path of a file, with the numbers from which suspicions come." default:"https://api.fediverse.observer/" env:"FEDISEER_SUSPICIONS"`
	BatchDeadline  time.Duration `help:"Time that a batch spends on looking at domains that were never seen." default:"20s" env:"FEDISEER_BATCH_DEADLINE"`
	UpdateEvery    time.Duration `help:"Time between two polls of all instances. 0: leave that to fediseer update." default:"12h" env:"FEDISEER_UPDATE_EVERY"`
}

func (c *serve) Run(ctx context.Context, log *slog.Logger) error {
	cfg := c.config()
	cfg.Listen, cfg.TrustedProxies, cfg.RateLimits, cfg.Suspicions = c.Listen, c.TrustedProxies, c.RateLimits, c.Suspicions
	cfg.BatchDeadline, cfg.UpdateEvery = c.BatchDeadline, c.UpdateEvery
	s, err := server.Start(ctx, cfg, log)
	if err != nil {
		return err
	}
	log.Info("the Fediseer is ready", "address", s.URL(), "public", c.PublicURL)
	<-ctx.Done()
	log.Info("the Fediseer ends")
	return s.Close()
}

type update struct{ options }

func (c *update) Run(ctx context.Context, log *slog.Logger) error {
	cfg := c.config()
	cfg.Existing = true
	s, err := server.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	if err := s.Update(ctx); err != nil {
		s.Close()
		return err
	}
	return s.Close()
}

// program is the whole command line.
type program struct {
	Config  kong.ConfigFlag `short:"c" help:"YAML file with any of the flags. See: fediseer config." type:"path" env:"FEDISEER_CONFIG"`
	Verbose bool            `short:"v" help:"Log details." env:"FEDISEER_VERBOSE"`
	Quiet   bool            `short:"q" help:"Log errors only." env:"FEDISEER_QUIET"`

	Serve   serve       `cmd:"" help:"Run the service."`
	Update  update      `cmd:"" help:"Poll all instances once. Works beside a running service."`
	Show    showConfig  `cmd:"" name:"config" help:"Print a configuration file with every option, its default and its meaning."`
	Version versionInfo `cmd:"" help:"Print the version."`
}

type versionInfo struct{}

func (versionInfo) Run() error {
	fmt.Println(server.Version)
	return nil
}

func main() {
	if err := dotenv.Load(dotenv.File("")); err != nil {
		fmt.Fprintln(os.Stderr, "fediseer:", err)
		os.Exit(1)
	}
	var p program
	k := kong.Parse(&p, kong.Name("fediseer"), kong.Description("The Fediseer: fediverse instances vouch for and judge each other."),
		kong.ShortUsageOnError(), kong.Configuration(yamlResolver))
	level := slog.LevelInfo
	if p.Verbose {
		level = slog.LevelDebug
	}
	if p.Quiet {
		level = slog.LevelError
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	k.FatalIfErrorf(k.Run(log, k))
}
