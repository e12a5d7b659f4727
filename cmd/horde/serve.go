// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"horde/internal/api"
	"horde/internal/blob"
	"horde/internal/horde"
	"horde/internal/ipcheck"
	"horde/internal/login"
	"horde/internal/modelref"
	"horde/internal/moderation"
	"horde/internal/node"
	"horde/internal/ratings"
	"horde/internal/trace"
	"horde/internal/web"
	"horde/internal/worker"
)

// dataFlag is where a horde keeps everything.
type dataFlag struct {
	Data string `env:"HORDE_DATA" default:"${data}" type:"path" placeholder:"DIR" help:"Directory of everything that the horde keeps: the record (SQLite) and the images. By default ${default}."`
}

// databaseFlag is where the record is, when it is not in the data directory.
type databaseFlag struct {
	Database string `env:"HORDE_DATABASE,HORDE_DATABASE_URL" placeholder:"URL" help:"Keep the record in this PostgreSQL in place of SQLite: postgres://user@host/name. Several servers may share it."`
}

// check refuses what is no PostgreSQL. It does not repeat it: there may be a password in it.
func (f databaseFlag) check() error {
	if u := f.Database; u != "" && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		return errors.New("--database must begin with postgres://; without it the record is kept in the data directory, in SQLite")
	}
	return nil
}

// recordFlags name a horde to administer: one in a directory, or one in a database.
type recordFlags struct {
	dataFlag     `embed:""`
	databaseFlag `embed:""`
}

// config is what package node needs to find the horde. With mustExist it refuses a directory that holds none.
func (f recordFlags) config(mustExist bool) (node.Config, error) {
	if err := f.check(); err != nil {
		return node.Config{}, err
	}
	if f.Database == "" && mustExist {
		if err := f.exists(); err != nil {
			return node.Config{}, err
		}
	}
	return node.Config{Data: f.Data, Database: f.Database, Log: quiet()}, nil
}

// quiet is a log for commands, whose output is for people: it has what needs a look.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// exists refuses a directory that holds no horde: a mistyped one must not pass for an empty horde.
func (f dataFlag) exists() error {
	if _, err := os.Stat(filepath.Join(f.Data, node.RecordFile)); err != nil && !node.Running(f.Data) {
		return fmt.Errorf("there is no horde in %s", f.Data)
	}
	return nil
}

// serverFlags are the options of the server.
type serverFlags struct {
	dataFlag `embed:""`
	Config   kong.ConfigFlag `placeholder:"FILE" env:"HORDE_CONFIG" help:"Read options from this file; horde config prints one."`

	PublicURL       string   `env:"HORDE_PUBLIC_URL,HORDE_URL" placeholder:"URL" help:"Where the world reaches this server, for links to images: https://horde.example. Without it links use the address by which each caller came."`
	Title           string   `env:"HORDE_TITLE" default:"Horde" help:"What the horde is called on its pages."`
	Noun            string   `env:"HORDE_NOUN,HORDE_noun" default:"horde" help:"What the pages call a horde in a sentence."`
	SourceURL       string   `env:"HORDE_REPOSITORY_URL,HORDE_REPOSITORY" placeholder:"URL" help:"Where the source of this program is to be had; its licence asks you to say so on the pages if you changed it."`
	TrustedProxies  []string `env:"HORDE_TRUSTED_PROXIES" default:"127.0.0.0/8,::1/128" placeholder:"CIDR" help:"Networks of reverse proxies whose X-Forwarded-For is believed."`
	RateLimitExempt []string `env:"HORDE_RATE_LIMIT_EXEMPT" placeholder:"CIDR" help:"Networks whose calls are not limited."`
	RateLimit       bool     `env:"HORDE_RATELIMIT" default:"true" negatable:"" help:"Limit how often an address or a key may call."`
	AllowPrivate    []string `env:"HORDE_ALLOW_PRIVATE" placeholder:"CIDR" help:"Private networks from which source images are fetched and to which webhooks are sent. None by default: who asks for images could look around in them."`

	peopleFlags      `embed:""`
	SiteVerification string `env:"HORDE_SITE_VERIFICATION,GOOGLE_VERIFICATION_STRING" placeholder:"TEXT" help:"What a search engine wants to read on the front page to believe that it is yours (google-site-verification)."`
	LogoURL          string `name:"logo-url" env:"HORDE_LOGO_URL,HORDE_LOGO" placeholder:"URL" help:"A picture of the horde, for programs that show it; the icon of the pages by default."`

	KeySalt             string   `env:"HORDE_KEY_SALT,secret_key" help:"Salt of the hashes of API keys. Only to take over the accounts of another horde: without it the horde makes its own at first start. HORDE_KEY_SALT_FILE names a file that holds it."`
	Admins              []string `env:"HORDE_ADMINS,ADMINS" placeholder:"ID" help:"Accounts (ids or aliases) that may change kudos, moderators and maintenance mode."`
	Awarders            []string `env:"HORDE_AWARDERS" default:"1" placeholder:"ID" help:"Accounts (ids or aliases) that may award kudos; the first account by default."`
	TrustThreshold      float64  `env:"HORDE_TRUST_THRESHOLD,KUDOS_TRUST_THRESHOLD" default:"0" placeholder:"KUDOS" help:"Kudos in escrow above which an account that is a week old becomes trusted; 0 for never."`
	Anonymous           bool     `env:"HORDE_ANONYMOUS" default:"true" negatable:"" help:"Let everybody use the anonymous account."`
	StylesPerAccount    uint16   `env:"HORDE_STYLES_PER_ACCOUNT" default:"500" placeholder:"N" help:"How many styles an account may have, and how many collections; 0 for any number."`
	MatchedTargeting    bool     `env:"HORDE_REQUIRE_MATCHED_TARGETING" help:"Serve requests that name workers only by workers that know the requester, nearly for free."`
	UpfrontOnWorkerlist bool     `env:"HORDE_UPFRONT_KUDOS_ON_WORKERLIST" help:"Demand kudos upfront for every request that names workers."`
	ProfanityFile       string   `env:"HORDE_PROFANITY_FILE" type:"existingfile" placeholder:"FILE" help:"Words that public names may not hold, one a line, in place of the built-in list."`
	News                string   `env:"HORDE_NEWS_FILE" type:"path" placeholder:"FILE" help:"JSON file with news, an array of {date_published, title, newspiece, importance, tags, more_info_urls}. It is read again when it changes."`
	Terms               string   `env:"HORDE_TERMS_HTML,HORDE_HTML_TERMS" type:"path" placeholder:"FILE" help:"Terms and conditions in place of the built-in ones, in HTML or, if the name ends with .md, Markdown. {title}, {url} and {contact} stand for what they say. It is read again when it changes."`
	Privacy             string   `env:"HORDE_PRIVACY_HTML,HORDE_HTML_PRIVACY" type:"path" placeholder:"FILE" help:"Privacy policy, likewise."`
	Sponsors            string   `env:"HORDE_SPONSORS_FILE" type:"path" placeholder:"FILE" help:"Thanks to sponsors, likewise, or a JSON file with an array of {name, url, monthly}."`
	Landing             string   `env:"HORDE_INDEX_MD,HORDE_MARKDOWN_INDEX" type:"path" placeholder:"FILE" help:"Markdown file to show at / in place of the built-in front page; names in braces stand for figures of the horde. It is read again when it changes."`
	Contact             string   `env:"HORDE_CONTACT_EMAIL,HORDE_EMAIL" placeholder:"EMAIL" help:"How people reach you, for these documents."`
	ImageModels         []string `env:"HORDE_IMAGE_REFERENCE_URL,HORDE_IMAGE_COMPVIS_REFERENCE" placeholder:"URL" help:"Image model reference: files or addresses, later ones on top; \"builtin\" is the list inside the program."`
	DiffusersModels     []string `env:"HORDE_DIFFUSERS_REFERENCE_URL,HORDE_IMAGE_DIFFUSERS_REFERENCE" placeholder:"URL" help:"Further image model lists, on top of those."`
	TextModels          []string `env:"HORDE_TEXT_REFERENCE_URL,HORDE_IMAGE_LLM_REFERENCE" placeholder:"URL" help:"Text model reference, likewise; tables in CSV (models.csv) are read too."`
	Blobs               string   `env:"HORDE_BLOBS" placeholder:"URL" help:"Where images are kept: s3://BUCKET?endpoint=URL&region=NAME for S3 or a service like it, with keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Without it on the local disk, in the data directory."`
	SyncImages          bool     `env:"HORDE_SYNC_IMAGES" default:"true" negatable:"" help:"Write images on the local disk through before they count as delivered, so that a power failure loses none."`

	Filters        bool          `env:"HORDE_FILTERS" default:"true" negatable:"" help:"Look at the prompts of image requests with the filters that moderators keep."`
	FilterData     string        `env:"HORDE_FILTER_DATA" type:"path" placeholder:"FILE" help:"JSON file with what you decide on beside the filters: negative, emoji, rules, count_tag_model. See docs/moderation.md."`
	FilterFold     bool          `env:"HORDE_FILTER_FOLD" help:"Look at prompts a second time with digits, signs and foreign letters taken for the Latin letters that they look like."`
	AgeRule        bool          `env:"HORDE_AGE_RULE" help:"Refuse prompts of images that tell an age up to 22 years."`
	PromptCheckers []string      `env:"HORDE_PROMPT_CHECKERS" placeholder:"ID" help:"Accounts (ids or aliases) that may test prompts against the filters, beside moderators."`
	BannedAgents   []string      `env:"HORDE_BANNED_AGENTS" default:"My-Project:v0.0.1:My-Contact" sep:"|" placeholder:"AGENT" help:"Values of Client-Agent whose requests are refused, with | between them; by default the one of the reference's example."`
	KeepEvidence   bool          `env:"HORDE_KEEP_EVIDENCE" default:"true" negatable:"" help:"Keep refused and reported prompts, with the addresses they came from, for moderators: for 30 days, what they write on for longer."`
	ProblemExempt  []string      `env:"HORDE_PROBLEM_EXEMPT" default:"1" placeholder:"ID" help:"Accounts (ids or aliases) of which reports of workers are not counted."`
	NotifyPaused   string        `name:"notify-paused-url" env:"HORDE_NOTIFY_PAUSED_URL,DISCORD_PAUSED_NOTICE_WEBHOOK" placeholder:"URL" help:"Chat webhook (POST of {content}) that is told of workers which were paused."`
	NotifyProblem  string        `name:"notify-problem-url" env:"HORDE_NOTIFY_PROBLEM_URL,DISCORD_PROBLEM_USER_WEBHOOK" placeholder:"URL" help:"Chat webhook that is told of users and addresses which are a problem."`
	IPCheckURL     string        `name:"ipcheck-url" env:"HORDE_IPCHECK_URL,IP_CHECKER" placeholder:"URL" help:"Ask this address, with {ipaddr} in it, how probable it is that an address is a VPN's or a proxy's: it answers with a number from 0 to 1."`
	IPCheckSafe    string        `name:"ipcheck-safe-code" env:"HORDE_IPCHECK_SAFE_CODE,IP_CHECKER_LC" placeholder:"TEXT" help:"Text in its answers with an error that are not worth a line in the log."`
	IPCheckLimit   float64       `name:"ipcheck-threshold" env:"HORDE_IPCHECK_THRESHOLD" default:"0.93" placeholder:"P" help:"Probability from which an address is unsafe; ${default} by default."`
	IPCheckTimeout time.Duration `name:"ipcheck-timeout" env:"HORDE_IPCHECK_TIMEOUT" default:"2s" placeholder:"TIME" help:"How long to wait for the answer; ${default} by default."`
	IPCheckTTL     time.Duration `name:"ipcheck-ttl" env:"HORDE_IPCHECK_TTL" default:"6h" placeholder:"TIME" help:"How long an answer holds; ${default} by default."`
	IPCheckAllow   []string      `name:"ipcheck-allow" env:"HORDE_IPCHECK_ALLOW" placeholder:"CIDR" help:"Networks that are safe, whatever anybody says."`
	IPCheckFile    string        `name:"ipcheck-networks" env:"HORDE_IPCHECK_NETWORKS" type:"path" placeholder:"FILE" help:"Networks of VPNs and proxies, one a line."`
	AllowAllIPs    bool          `name:"allow-all-ips" env:"HORDE_ALLOW_ALL_IPS" help:"Take every address for safe."`
	ServiceIPs     []string      `name:"service-ips" env:"HORDE_SERVICE_IPS" placeholder:"CIDR" help:"Networks of services with many people behind one address: their rate limits are raised, and no timeout of theirs is longer than 5 minutes."`

	Sharing       string   `env:"HORDE_SHARING" enum:"off,beta_only,opt_in" default:"beta_only" help:"Which images become public, for people to rate: none (off), those of models that are compared in pairs (beta_only), or also those of which the client says so (opt_in)."`
	Pairs         []string `name:"pair" env:"HORDE_PAIR_MODELS" placeholder:"MODEL" help:"Models of which each request makes two images, by two pipelines of the worker, to be compared."`
	RatingsURL    string   `name:"ratings-url" env:"HORDE_RATINGS_URL" placeholder:"URL" help:"The API of a ratings service in another program, which gets what clients say of shared images: https://ratings.example/api/v1"`
	Ratings       bool     `env:"HORDE_RATINGS" help:"Run a ratings service in this program, where people rate shared images, under /ratings. Not together with --database."`
	RatingsHost   string   `env:"HORDE_RATINGS_HOST" placeholder:"NAME" help:"Serve the ratings service as this host, too: ratings.example"`
	RatingsNSFW   float64  `name:"ratings-nsfw" env:"HORDE_RATINGS_NSFW" default:"1" placeholder:"LIMIT" help:"Hand out images to rate below this limit: 0 are those of requests that allow nothing which is not safe for work, 0.5 those of requests that do, 1 those of which the worker says so. 1.1 hands out all."`
	Countries     string   `env:"HORDE_COUNTRIES" placeholder:"FILE" type:"path" help:"A database of countries in the format of MaxMind (.mmdb), such as GeoLite2 or DB-IP, from which ratings get the country of their rater."`
	RatingsSecret string   `env:"HORDE_RATINGS_SECRET" placeholder:"SECRET" help:"By what that service knows this horde. HORDE_RATINGS_SECRET_FILE names a file that holds it."`

	supporterFlags `embed:""`

	MetricsListen string     `env:"HORDE_METRICS_LISTEN" placeholder:"ADDR" help:"Serve /metrics for Prometheus on this address, 127.0.0.1:7002 for example. Off by default; keep it away from the open network."`
	AccessLog     bool       `env:"HORDE_ACCESS_LOG" help:"Log each call."`
	LogFormat     string     `env:"HORDE_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`
	LogLevel      slog.Level `env:"HORDE_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
}

type serveCommand struct {
	Listen       string `env:"HORDE_LISTEN" default:"0.0.0.0:7001" placeholder:"ADDR" help:"Address and port to listen on; ${default} by default."`
	databaseFlag `embed:""`
	NodeAddress  string `env:"HORDE_NODE_ADDRESS" placeholder:"URL" help:"Where the other servers on the same database reach this one, over a network that is theirs alone: http://10.0.0.5:7001. Give it to each of several servers."`
	tlsFlags     `embed:""`
	LocalImages  bool `env:"HORDE_LOCAL_IMAGES" help:"Let each of several servers keep images in its own data directory, where nobody finds them when another leads. For hordes that make texts only."`
	serverFlags  `embed:""`
}

// several checks the options of a server that is one of several.
func (c *serveCommand) several() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.NodeAddress == "" {
		return nil
	}
	u, err := url.Parse(c.NodeAddress)
	switch {
	case c.Database == "":
		return errors.New("--node-address is for several servers, which need a common --database")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
		return errors.New("--node-address must be http://host:port")
	case c.Blobs == "" && !c.LocalImages:
		return errors.New("several servers need a common place for images: --blobs s3://…; --local-images goes without, for hordes that make texts only")
	}
	c.NodeAddress = u.Scheme + "://" + u.Host
	return nil
}

// Run serves until it is told to stop.
func (c *serveCommand) Run(ctx context.Context) error {
	if err := c.several(); err != nil {
		return err
	}
	cfg, err := c.node()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return listenError(c.Listen, err)
	}
	l, stopTLS, err := c.secured(ctx, l, cfg.Log)
	if err != nil {
		return err
	}
	defer stopTLS()
	cfg.Listen = l.Addr().String()
	cfg.Database, cfg.NodeAddress = c.Database, c.NodeAddress
	if cfg.Database != "" && cfg.RatingsService {
		l.Close()
		return errors.New("--ratings keeps its data on one machine, so it cannot be part of a horde on --database; run it beside and name it with --ratings-url")
	}
	flush, err := trace.Setup(ctx, cfg.Version)
	if err != nil {
		l.Close()
		return err
	}
	defer flush()
	n, err := node.Start(ctx, cfg)
	if err != nil {
		l.Close()
		return err
	}
	cfg.Log.Info("serving", "address", l.Addr().String(), "data", cfg.Data, "version", cfg.Version)
	err = n.Serve(ctx, l)
	return errors.Join(err, n.Close())
}

// listenError says what to do about an address that is not to be had.
func listenError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use; choose another address with --listen", address)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// node turns the options into the configuration of a node.
func (f *serverFlags) node() (node.Config, error) {
	cfg := node.Config{
		Data: f.Data, PublicURL: f.PublicURL, Version: worker.Version(), Title: f.Title, NoRateLimit: !f.RateLimit,
		KeySalt: f.KeySalt, TrustThreshold: horde.NewKudos(f.TrustThreshold), NoAnonymous: !f.Anonymous, StylesPerAccount: int(f.StylesPerAccount),
		MatchedTargeting: f.MatchedTargeting, UpfrontOnWorkerList: f.UpfrontOnWorkerlist, ProfanityFile: f.ProfanityFile,
		NewsFile: f.News, TermsFile: f.Terms, PrivacyFile: f.Privacy, SponsorsFile: f.Sponsors, LandingFile: f.Landing, Contact: f.Contact,
		ImageModels: f.imageModels(), TextModels: f.TextModels, Blobs: f.Blobs, SyncImages: f.SyncImages,
		Filtering: moderation.Options{Off: !f.Filters, Fold: f.FilterFold, AgeRule: f.AgeRule}, FilterData: f.FilterData,
		NotifyPausedURL: f.NotifyPaused, NotifyProblemURL: f.NotifyProblem, NoEvidence: !f.KeepEvidence, BannedAgents: f.BannedAgents,
		MetricsListen: f.MetricsListen, AccessLog: f.AccessLog, Log: f.log(),
	}
	if math.IsNaN(f.TrustThreshold) || f.TrustThreshold < 0 {
		return cfg, errors.New("--trust-threshold must not be negative")
	}
	if u := f.PublicURL; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		return cfg, errors.New("--public-url must begin with https:// or http://")
	}
	if f.Blobs != "" {
		if _, err := blob.ParseS3(f.Blobs); err != nil {
			return cfg, fmt.Errorf("--blobs: %w", err)
		}
	}
	if truthy(os.Getenv("HORDE_TEST_RATELIMIT_DISABLED")) {
		cfg.Log.Warn("HORDE_TEST_RATELIMIT_DISABLED is set: nobody's calls are limited")
		cfg.NoRateLimit = true
	}
	if truthy(os.Getenv("HORDE_TEST_APIKEYS")) {
		cfg.Log.Warn("HORDE_TEST_APIKEYS is set: whoever calls from this machine can become a moderator")
		cfg.TestUsers = true
	}
	var err error
	if cfg.KeySalt, err = secret(cfg.KeySalt, "HORDE_KEY_SALT"); err != nil {
		return cfg, err
	}
	if cfg.RatingsSecret, err = secret(f.RatingsSecret, "HORDE_RATINGS_SECRET"); err != nil {
		return cfg, err
	}
	if u := f.RatingsURL; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		return cfg, errors.New("--ratings-url must begin with https:// or http://")
	}
	if strings.ContainsAny(f.RatingsHost, ":/ ") {
		return cfg, errors.New("--ratings-host is a name alone, such as ratings.example: scheme and port are those of --public-url")
	}
	cfg.RatingsService, cfg.RatingsHost = f.Ratings || f.RatingsHost != "", f.RatingsHost
	if cfg.RatingsService && f.RatingsURL != "" {
		return cfg, errors.New("--ratings and --ratings-url exclude each other")
	}
	if f.RatingsNSFW <= 0 {
		return cfg, errors.New("--ratings-nsfw must be above 0")
	}
	cfg.RatingsNSFW, cfg.Countries = f.RatingsNSFW, f.Countries
	cfg.Sharing, cfg.Pairs, cfg.RatingsURL = horde.Sharing(f.Sharing), f.Pairs, f.RatingsURL
	if cfg.Supporters, err = f.services(cfg.Log); err != nil {
		return cfg, err
	}
	sessionKey, err := secret(f.SessionKey, "HORDE_SESSION_KEY")
	if err != nil {
		return cfg, err
	}
	logins, err := f.logins(cfg.PublicURL)
	if err != nil {
		return cfg, err
	}
	cfg.Pages, cfg.RatingsPages = f.pages(sessionKey, logins), f.ratingsPages
	for _, list := range []struct {
		flag string
		in   []string
		out  *[]netip.Prefix
	}{
		{"trusted-proxies", f.TrustedProxies, &cfg.TrustedProxies},
		{"rate-limit-exempt", f.RateLimitExempt, &cfg.RateLimitExempt},
		{"allow-private", f.AllowPrivate, &cfg.AllowPrivate},
		{"service-ips", f.ServiceIPs, &cfg.ServiceIPs},
		{"ipcheck-allow", f.IPCheckAllow, &cfg.IPCheck.Allow},
	} {
		if *list.out, err = prefixes(list.in); err != nil {
			return cfg, fmt.Errorf("--%s: %w", list.flag, err)
		}
	}
	for _, list := range []struct {
		flag string
		in   []string
		out  *[]horde.UserID
	}{
		{"admins", f.Admins, &cfg.Admins}, {"awarders", f.Awarders, &cfg.Awarders}, {"prompt-checkers", f.PromptCheckers, &cfg.PromptCheckers},
		{"problem-exempt", f.ProblemExempt, &cfg.ProblemExempt},
	} {
		for _, alias := range list.in {
			id, ok := horde.ParseAlias(strings.Trim(alias, `[]" `))
			if !ok {
				return cfg, fmt.Errorf("--%s: %q is no id or alias", list.flag, alias)
			}
			*list.out = append(*list.out, id)
		}
	}
	if err := f.ipCheck(&cfg.IPCheck); err != nil {
		return cfg, err
	}
	if f.FilterData != "" {
		if _, err := moderation.ReadData(f.FilterData); err != nil {
			return cfg, fmt.Errorf("--filter-data: %w", err)
		}
	}
	return cfg, nil
}

// imageModels are the sources of the image model reference.
func (f *serverFlags) imageModels() []string {
	if len(f.DiffusersModels) == 0 || len(f.ImageModels) > 0 {
		return slices.Concat(f.ImageModels, f.DiffusersModels)
	}
	return append([]string{modelref.Builtin}, f.DiffusersModels...)
}

// ipCheck is how the addresses of proxies are told from others.
func (f *serverFlags) ipCheck(c *ipcheck.Config) (err error) {
	c.URL, c.SafeCode, c.Threshold, c.Timeout, c.TTL = f.IPCheckURL, f.IPCheckSafe, f.IPCheckLimit, f.IPCheckTimeout, f.IPCheckTTL
	if c.Threshold <= 0 || c.Threshold > 1 || math.IsNaN(c.Threshold) {
		return errors.New("--ipcheck-threshold must be above 0, and at most 1")
	}
	if c.Timeout <= 0 || c.TTL <= 0 {
		return errors.New("--ipcheck-timeout and --ipcheck-ttl must be above 0")
	}
	if f.IPCheckFile != "" {
		if c.Deny, err = ipcheck.ReadNetworks(f.IPCheckFile); err != nil {
			return fmt.Errorf("--ipcheck-networks: %w", err)
		}
	}
	if f.AllowAllIPs {
		*c = ipcheck.Config{}
		return nil
	}
	_, err = ipcheck.New(*c)
	return err
}

// log is the log on standard error.
func (f *serverFlags) log() *slog.Logger {
	o := &slog.HandlerOptions{Level: f.LogLevel}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, o)
	if f.LogFormat == "json" {
		h = slog.NewJSONHandler(os.Stderr, o)
	}
	return slog.New(api.LogHandler(h))
}

// pages are what people look at.
func (f *serverFlags) pages(sessionKey string, logins []*login.Provider) func(*node.Node, *api.Router) {
	return func(n *node.Node, r *api.Router) {
		var landing web.Landing
		if n.Board.HasLanding() && n.Engine != nil {
			landing = n.Landing
		}
		web.Mount(web.Site{
			Title: n.Title, Noun: f.Noun, Version: n.Version, PublicURL: n.PublicURL, SourceURL: f.SourceURL, LogoURL: f.LogoURL, Accounts: n.Engine,
			SiteVerification: f.SiteVerification, Logins: logins, SessionKey: sessionKey, SignUpWork: f.SignUpWork, Board: n.Board,
			NoAnonymous: n.NoAnonymous, Landing: landing, NoHome: n.Board.HasLanding(), ImageOrigins: n.ImageOrigins(), Log: n.Log, Ratings: n.RatingsPath(),
		}, r)
	}
}

// ratingsPages are those of the ratings service.
func (f *serverFlags) ratingsPages(n *node.Node, r *api.Router, prefix string) {
	web.MountRatings(web.Site{
		Title: n.Title, Version: n.Version, PublicURL: n.PublicURL, SourceURL: f.SourceURL, Board: n.Board, NoAnonymous: n.NoAnonymous,
		ImageOrigins: n.RatingsOrigins(), Log: n.Log,
	}, r, prefix, prefix+ratings.DocumentPath)
}

func truthy(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "true", "yes", "on":
		return true
	}
	return false
}

// prefixes reads networks; an address alone is a network of one.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("%q is no network: write 192.0.2.0/24 or an address", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// dataDir is where a horde is kept when nobody says otherwise.
func dataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "horde")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "horde")
	}
	return "horde-data"
}
