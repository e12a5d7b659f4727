// SPDX-License-Identifier: AGPL-3.0-or-later

// Package node is one server process of a horde: it puts the engine, its store, the images, the API and the pages together
// and serves them on one address. The program horde and the end-to-end tests start it the same way.
//
// [Open] makes a node that is the whole horde, on SQLite. [Join] makes one of several on one PostgreSQL: a [Member], of which
// the one that leads is such a node for as long as it leads, and the others pass calls on to it.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/api"
	v2 "horde/internal/api/v2"
	"horde/internal/blob"
	"horde/internal/bulletin"
	"horde/internal/engine"
	"horde/internal/fetch"
	"horde/internal/horde"
	"horde/internal/ipcheck"
	"horde/internal/kudos"
	"horde/internal/limit"
	"horde/internal/modelref"
	"horde/internal/moderation"
	"horde/internal/picture"
	"horde/internal/ratings"
	"horde/internal/source"
	"horde/internal/store"
	"horde/internal/store/sqlite"
	"horde/internal/supporters"
	"horde/internal/webhook"
)

// Config is how a node is run. Zero values are sensible unless a comment says that a field is required.
type Config struct {
	// Data is the directory of everything that the node keeps. Required.
	Data string
	// Database is the PostgreSQL that keeps the record, for this node and others: "postgres://user@host/name". Empty keeps
	// it in Data, in SQLite. See [Join].
	Database string
	// NodeAddress is where the other nodes of the same database reach this one: "http://10.0.0.5:7001". A node without one
	// leads like others, but none can pass calls to it.
	NodeAddress string
	// Listen is the address that the node will be served on, for the header Horde-Node.
	Listen string
	// PublicURL is where the world reaches the node: "https://horde.example". Empty answers each caller with links on the
	// address that the caller used.
	PublicURL string
	// Version is shown by the heartbeat and in the header Horde-Node.
	Version string
	// Title is what the horde is called.
	Title string

	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// RateLimitExempt are networks whose calls are not limited; NoRateLimit turns the limits off for everybody.
	RateLimitExempt []netip.Prefix
	NoRateLimit     bool
	// AllowPrivate are private networks from which source images are fetched and to which webhooks are sent all the same.
	AllowPrivate []netip.Prefix

	KeySalt string
	Admins  []horde.UserID
	// Awarders may award kudos; none stands for the first account.
	Awarders []horde.UserID
	// PromptCheckers may test prompts against the filters; ProblemExempt are accounts whose reported results nobody counts.
	PromptCheckers, ProblemExempt []horde.UserID
	// Filtering is how prompts are filtered; FilterData a file with what the operator decides on of it, see [moderation.Data].
	Filtering  moderation.Options
	FilterData string
	// NoEvidence keeps neither prompts nor addresses of what was refused or reported.
	NoEvidence bool
	// IPCheck tells the addresses of proxies from others. One without a URL and without networks checks nothing.
	IPCheck ipcheck.Config
	// NotifyPausedURL and NotifyProblemURL are chat webhooks for what moderators should know at once: workers that were paused,
	// and users and addresses that are a problem. Empty sends nothing.
	NotifyPausedURL, NotifyProblemURL string
	// ServiceIPs are networks of services that speak for many people.
	ServiceIPs []netip.Prefix
	// BannedAgents are values of Client-Agent whose requests are refused; nil means the placeholder of the reference's example.
	BannedAgents   []string
	TrustThreshold horde.Kudos
	NoAnonymous    bool
	// StylesPerAccount is how many styles an account may have, and how many collections; zero means any number.
	StylesPerAccount    int
	MatchedTargeting    bool
	UpfrontOnWorkerList bool
	// ProfanityFile lists words, one a line, in place of the built-in list.
	ProfanityFile string
	// NewsFile, TermsFile, PrivacyFile and SponsorsFile are what the operator tells everybody: see [bulletin.Config]. Contact
	// is how the operator is reached, an e-mail address.
	NewsFile, TermsFile, PrivacyFile, SponsorsFile, LandingFile, Contact string
	// Supporters are the services through which people support the horde, each at most once.
	Supporters []supporters.Service
	// ImageModels and TextModels are sources of the model reference: files, URLs, or "builtin".
	ImageModels, TextModels []string
	// Blobs is where images are kept: "s3://BUCKET?endpoint=URL", see blob.ParseS3. Empty means in Data.
	Blobs string
	// SyncImages makes images on the local disk as durable as everything else, at the price of two waits for the disk for each.
	SyncImages bool
	// TestUsers lets integration tests on this machine make themselves accounts, moderators too.
	TestUsers bool
	// Sharing says which images become public, for people to rate; empty stands for those that are compared in pairs. Pairs are
	// the models of which two images are compared, beside [horde.BetaModel].
	Sharing horde.Sharing
	Pairs   []string
	// RatingsURL is a ratings service in another program, the address of its API; RatingsSecret is by what it knows this horde.
	RatingsURL, RatingsSecret string
	// RatingsService runs a ratings service in this program, under /ratings and, where RatingsHost names one, as a host of its own.
	RatingsService bool
	// RatingsNSFW is the limit below which the service hands out images: see [ratings.Config]. 0 means 1. Countries is a file in the
	// format of MaxMind by which it knows where its raters are; empty for none.
	RatingsNSFW float64
	Countries   string
	// RatingsPages adds pages to the ratings service where it is served below a prefix; nil adds none.
	RatingsPages func(n *Node, r *api.Router, prefix string)
	RatingsHost  string
	// Pages are served beside the API; nil serves none.
	Pages func(*Node, *api.Router)
	Log   *slog.Logger
	// AccessLog logs each call.
	AccessLog bool
	// MetricsListen is the address of the metrics; empty serves none. They are for the operator: not for the open network.
	MetricsListen string
}

// RecordFile is the name of the database in the data directory.
const RecordFile = "horde.db"

// Node is an engine and everything around it: a whole server process or, where several share a database, what the one that
// leads is while it leads.
type Node struct {
	Config
	// Engine is nil in a node that serves only what needs none.
	Engine *engine.Engine
	// Board has news and documents.
	Board *bulletin.Board

	store   interface{ Close() error } // nil where somebody else closes it
	bucket  io.Closer                  // of the images, nil for the local disk
	handler http.Handler
	server  *api.Server
	admin   *adminServer
	router  *api.Router
	// opinions is the ratings service, nil for none.
	opinions *ratings.Service
	atlas    *ratings.Atlas
	metrics  net.Listener // nil: none
	watch    *watch
	runners  []func(context.Context)
	active   atomic.Int64 // calls that are being handled
	jobs     *jobMeters
}

// Server is a server process: a [Node] or a [Member].
type Server interface {
	// Serve answers on the listener until the context is done, and closes it.
	Serve(ctx context.Context, l net.Listener) error
	// Close releases everything. Serve has returned, or was never called.
	Close() error
}

// Start opens a server: of a horde of its own or, where the configuration names a database, one of several.
func Start(ctx context.Context, cfg Config) (Server, error) {
	if cfg.Database != "" {
		return Join(ctx, cfg)
	}
	return Open(ctx, cfg)
}

// Open loads the record and makes everything ready to serve. Close releases it.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Title == "" {
		cfg.Title = "Horde"
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	n := &Node{Config: cfg}
	if err := n.open(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	db, err := sqlite.Open(ctx, filepath.Join(n.Data, RecordFile))
	if err != nil {
		return err
	}
	n.store = db
	n.jobs = newJobMeters()
	models := n.loadModels(ctx)
	n.runners = append(n.runners, paceCollector, models.Run)
	if n.metrics, err = listenMetrics(n.MetricsListen); err != nil {
		return err
	}
	if err := n.openOn(ctx, db, models, nil); err != nil {
		return err
	}
	n.watch.registry.MustRegister(ofProcess(n.Version)...)
	n.watch.registry.MustRegister(ofModels(models)...)
	n.watch.registry.MustRegister(n.jobs.durations, n.jobs.failures, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: leaderMetric, Help: leaderHelp}, func() float64 { return 1 }))
	if n.metrics != nil {
		n.runners = append(n.runners, func(ctx context.Context) { serveMetrics(ctx, n.metrics, n.watch.registry, n.watch.readyz) })
	}
	n.admin, err = listenAdmin(n.Data, func(ctx context.Context, name string, body []byte) ([]byte, error) {
		return command(ctx, n.Engine, name, body)
	})
	return err
}

// keptModels is the directory, in the data directory, of the last good copies of model lists.
const keptModels = "models"

// loadModels reads the model reference. What cannot be read now is read later.
func (n *Node) loadModels(ctx context.Context) *modelref.Holder {
	models := modelref.NewHolder(modelref.Sources{Image: n.ImageModels, Text: n.TextModels, Keep: filepath.Join(n.Data, keptModels)}, n.Log)
	if err := models.Refresh(ctx); err != nil {
		n.Log.Warn("part of the model reference could not be loaded; going on with what there is", "error", err)
	}
	models.OnRefresh = func(began time.Time, err error) { n.jobs.ran("model_reference", began, err) }
	return models
}

// openOn makes the engine on a record, and what serves it. leading may be nil: see [engine.Config].
func (n *Node) openOn(ctx context.Context, db store.Store, models *modelref.Holder, leading func() bool) error {
	profane, err := n.profanity()
	if err != nil {
		return err
	}
	if n.jobs == nil {
		n.jobs = newJobMeters()
	}
	filtering := n.Filtering
	if n.FilterData != "" {
		if filtering.Data, err = moderation.ReadData(n.FilterData); err != nil {
			return err
		}
	}
	banned := n.BannedAgents
	if banned == nil {
		banned = []string{horde.PlaceholderAgent}
	}
	safety, err := n.safety()
	if err != nil {
		return err
	}
	alerts, err := newAlerts(n.NotifyPausedURL, n.NotifyProblemURL)
	if err != nil {
		return err
	}
	codec := picture.NewCodec(0)
	hooks := webhook.New(fetch.New(webhook.FetchConfig(n.AllowPrivate)))
	relaxed := &limit.Relaxed{}
	blobs := &lateStore{}
	sharing := n.Sharing
	if sharing == "" {
		sharing = horde.SharingPairs
	}
	if err := n.openRatings(ctx, blobs, codec); err != nil {
		return err
	}
	n.Engine, err = engine.Open(ctx, engine.Config{
		Sharing: sharing, Pairs: append([]string{horde.BetaModel}, n.Pairs...), Ratings: n.ratings(),
		Store: db, Blobs: blobs, Reference: models.Reference,
		Pictures: pictures{codec, source.New(fetch.New(source.FetchConfig(n.AllowPrivate)), codec)},
		Notify:   func(notice engine.Notice) { hooks.Send(notice.URL, v2.Notification(notice)) },
		Relax:    relaxed.Add, Profane: profane,
		Rules:            kudos.Rules{MatchedTargeting: n.MatchedTargeting, UpfrontOnWorkerList: n.UpfrontOnWorkerList},
		MatchedTargeting: n.MatchedTargeting, Admins: n.Admins, Awarders: n.Awarders, TrustThreshold: n.TrustThreshold, NoAnonymous: n.NoAnonymous,
		StylesPerAccount: n.StylesPerAccount,
		PromptCheckers:   n.PromptCheckers, ProblemExempt: n.ProblemExempt, Filtering: filtering, NoEvidence: n.NoEvidence,
		ServiceIPs: n.ServiceIPs, BannedAgents: banned, Safety: safety, Alert: alerts.send,
		KeySalt: n.KeySalt, Leading: leading, Ran: n.jobs.ran, Log: n.Log,
	})
	if err != nil {
		return err
	}
	images, err := n.openBlobs(ctx)
	if err != nil {
		return err
	}
	metered := meterBlobs(images, n.jobs)
	blobs.Store = metered
	keeper := &supporters.Keeper{Services: n.Supporters, Set: n.Engine.SetSupporters, Ran: n.jobs.ran, Log: n.logger()}
	n.runners = append(n.runners, alerts.sender.Run, hooks.Run, blob.Pruner{Store: metered, Log: n.Log}.Run, keeper.Run)

	router := api.NewRouter(api.Options{
		Node: n.name(), Log: n.Log, AccessLog: n.AccessLog, Limiter: n.limiter(), Relaxed: relaxed, Services: n.ServiceIPs, Exempt: n.RateLimitExempt,
		TrustedProxies: n.TrustedProxies, Passkey: n.Engine.IsPasskey, NotFound: v2.Gone,
	})
	n.router = router
	v2.Register(router, n.Engine)
	v2.RegisterHeartbeat(router, n.Version, n.vitals)
	if n.TestUsers {
		v2.RegisterTestUsers(router, n.Engine)
	}
	if err := n.openBoard(router); err != nil {
		return err
	}
	if err := router.MountDocuments(api.Info{Version: api.Version}); err != nil {
		return fmt.Errorf("describe the API: %w", err)
	}
	if served, ok := images.(http.Handler); ok { // S3 is its own server
		router.Mount(blob.PathPrefix, nil, served, http.MethodGet, http.MethodPut)
	}
	n.watch = newWatch(n, router, hooks)
	n.watch.registry.MustRegister(metered.collectors()...)
	router.Mount(HealthPath, nil, http.HandlerFunc(healthz))
	router.Mount(ReadyPath, nil, http.HandlerFunc(n.watch.readyz))
	if n.Pages != nil {
		n.Pages(n, router)
	}
	rated, err := n.withRatings(router)
	if err != nil {
		return err
	}
	n.handler = n.counted(n.withBase(rated))
	n.server = api.NewServer(n.handler, n.Log)
	return nil
}

// ratings is the service that keeps what people say of images, or nil for none.
func (n *Node) ratings() engine.Ratings {
	if n.RatingsURL != "" {
		return ratings.NewRemote(n.RatingsURL, n.RatingsSecret)
	}
	if n.opinions != nil {
		return n.opinions
	}
	return nil
}

// ratingsPrefix is where the ratings service is on the address of the horde.
const ratingsPrefix = "/ratings"

// openRatings opens the ratings service of this program.
func (n *Node) openRatings(ctx context.Context, blobs blob.Store, codec *picture.Codec) (err error) {
	if !n.RatingsService {
		return nil
	}
	var country func(netip.Addr) string
	if n.Countries != "" {
		atlas, err := ratings.OpenAtlas(n.Countries)
		if err != nil {
			return err
		}
		n.atlas, country = atlas, atlas.Country
	}
	n.opinions, err = ratings.Open(ctx, ratings.Config{
		NSFW: cmp.Or(n.RatingsNSFW, 1), Country: country,
		Dir: filepath.Join(n.Data, "ratings"), URL: n.ratingsAddress(), Blobs: blobs, Codec: codec, Log: n.Log, Secret: n.RatingsSecret, NoLimits: n.NoRateLimit,
		Rater: func(ctx context.Context, key string) (engine.Rater, error) { return n.Engine.RaterOf(ctx, key) },
		Pay: func(ctx context.Context, service string, no int64, id horde.UserID, amount horde.Kudos) error {
			return n.Engine.PayRater(ctx, service, no, id, amount)
		},
		Paid:  func(ctx context.Context, service string) (int64, error) { return n.Engine.RatersPaid(ctx, service) },
		Wiped: func(ctx context.Context) ([]horde.UserID, error) { return n.Engine.WipedUsers(ctx) },
		Router: api.Options{
			Node: n.name(), Log: n.Log, AccessLog: n.AccessLog, Limiter: n.limiter(), Services: n.ServiceIPs, Exempt: n.RateLimitExempt, TrustedProxies: n.TrustedProxies,
			Passkey: func(passkey string) bool { return n.Engine.IsPasskey(passkey) },
		},
		Version: n.Version,
		Pages: func(r *api.Router, prefix string) {
			if n.RatingsPages != nil {
				n.RatingsPages(n, r, prefix)
			}
		},
	})
	if err == nil {
		n.runners = append(n.runners, n.opinions.Run)
	}
	return err
}

// ratingsAddress is where the world reaches the ratings service, empty where that is not known.
func (n *Node) ratingsAddress() string {
	switch at, err := url.Parse(n.PublicURL); {
	case err != nil || at.Host == "":
		return ""
	case n.RatingsHost != "" && at.Port() != "":
		return at.Scheme + "://" + net.JoinHostPort(n.RatingsHost, at.Port())
	case n.RatingsHost != "":
		return at.Scheme + "://" + n.RatingsHost
	}
	return strings.TrimRight(n.PublicURL, "/") + ratingsPrefix
}

// RatingsPath is where people rate images, a path on the address of the horde, or empty.
func (n *Node) RatingsPath() string {
	if n.opinions == nil {
		return ""
	}
	return ratingsPrefix
}

// RatingsOrigins are the origins that images to rate come from, as far as they are not that of the page.
func (n *Node) RatingsOrigins() []string {
	origins := n.ImageOrigins()
	if at := n.ratingsAddress(); n.RatingsHost != "" && at != "" {
		origins = append(origins, at)
	}
	return origins
}

// withRatings serves the ratings service below its prefix, and where a call is for its host.
func (n *Node) withRatings(next http.Handler) (http.Handler, error) {
	if n.opinions == nil {
		return next, nil
	}
	below, err := n.opinions.Handler(ratingsPrefix)
	if err != nil {
		return nil, err
	}
	own := next
	if n.RatingsHost != "" {
		if own, err = n.opinions.Handler(""); err != nil {
			return nil, err
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		switch {
		case n.RatingsHost != "" && strings.EqualFold(host, n.RatingsHost):
			own.ServeHTTP(w, r)
		case r.URL.Path == ratingsPrefix || strings.HasPrefix(r.URL.Path, ratingsPrefix+"/"):
			below.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	}), nil
}

// vitals are what the heartbeat tells.
func (n *Node) vitals(ctx context.Context) v2.Vitals {
	return v2.Vitals{
		Queue: n.Engine.Backlog(), Active: n.active.Load(), Threads: runtime.GOMAXPROCS(0), Database: pings(ctx, n.Engine.Store),
		Serving: n.Engine.Healthy(),
	}
}

// pings tells whether the database of a record answers.
func pings(ctx context.Context, record store.Store) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return record.Ping(ctx) == nil
}

// openBoard makes the board, if it is not there yet, and serves it.
func (n *Node) openBoard(router *api.Router) (err error) {
	if n.Board == nil {
		n.Board, err = bulletin.New(bulletin.Config{
			News: n.NewsFile, Terms: n.TermsFile, Privacy: n.PrivacyFile, Sponsors: n.SponsorsFile, Landing: n.LandingFile, Title: n.Title, Contact: n.Contact,
			Log: n.logger(),
		})
		if err != nil {
			return err
		}
	}
	if n.Engine != nil {
		n.Board.SetPatrons(n.patrons)
	}
	v2.RegisterBulletins(router, n.Board, strings.TrimRight(n.PublicURL, "/"))
	return nil
}

// patrons are those who are thanked for what they give at Patreon.
func (n *Node) patrons() []bulletin.Sponsor {
	var list []bulletin.Sponsor
	for _, p := range n.Engine.Patrons() {
		list = append(list, bulletin.Sponsor{Name: p.Name, URL: p.Link, Monthly: float64(p.Monthly)})
	}
	return list
}

// limiter counts calls, or is nil where none are limited.
func (n *Node) limiter() *limit.Limiter {
	if n.NoRateLimit {
		return nil
	}
	return limit.New(limit.DefaultCapacity)
}

// logger is where the node logs to.
func (n *Node) logger() *slog.Logger {
	if n.Log == nil {
		return slog.Default()
	}
	return n.Log
}

// lateStore is a blob store that is opened after the engine, whose secret it needs.
type lateStore struct{ blob.Store }

// name is what the node is called in the header Horde-Node.
func (n *Node) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	port := "0"
	if _, p, err := net.SplitHostPort(n.Listen); err == nil {
		port = p
	}
	return host + ":" + port + ":" + n.Version
}

func (n *Node) base() string {
	if n.PublicURL == "" {
		return "http://localhost"
	}
	return strings.TrimRight(n.PublicURL, "/")
}

// withBase lets links to images start with the address by which the caller reached the node, unless one is configured.
func (n *Node) withBase(next http.Handler) http.Handler {
	if n.PublicURL != "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme := "http://"
		if r.TLS != nil {
			scheme = "https://"
		}
		next.ServeHTTP(w, r.WithContext(blob.WithBase(r.Context(), scheme+r.Host)))
	})
}

// counted counts the calls that are being handled.
func (n *Node) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.active.Add(1)
		defer n.active.Add(-1)
		next.ServeHTTP(w, r)
	})
}

func (n *Node) profanity() (horde.Profanity, error) {
	if n.ProfanityFile == "" {
		return nil, nil
	}
	words, err := os.ReadFile(n.ProfanityFile)
	if err != nil {
		return nil, fmt.Errorf("read the profanity list: %w", err)
	}
	return horde.NewProfanity(strings.Split(string(words), "\n")), nil
}

// drainFor is how long running calls may take when the node stops.
const drainFor = 20 * time.Second

// Serve answers on l until ctx is done, then lets running calls finish and writes what is still to be written. The listener
// is closed in any case.
func (n *Node) Serve(ctx context.Context, l net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, run := range append(n.runners, n.admin.serve) {
		running.Add(1)
		go func() {
			defer running.Done()
			run(background)
		}()
	}
	go picture.Warm() // takes a second, ends by itself, and nobody waits for it
	unhook := context.AfterFunc(ctx, n.Engine.Drain)
	err := n.server.Serve(ctx, l, drainFor)
	unhook()
	stop()
	running.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		n.Log.Warn("some calls were cut off at the end")
		err = nil
	}
	return err
}

// MetricsAddr is where the metrics are served, or nil.
func (n *Node) MetricsAddr() net.Addr {
	if n.metrics == nil {
		return nil
	}
	return n.metrics.Addr()
}

// Handler answers requests without a listener, for tests.
func (n *Node) Handler() http.Handler { return n.handler }

// Close writes what is still to be written and releases everything. Serve has returned, or was never called.
func (n *Node) Close() error {
	n.admin.close()
	if n.metrics != nil {
		n.metrics.Close()
	}
	if n.Engine != nil {
		n.Engine.Close()
	}
	var errs []error
	if n.opinions != nil {
		errs = append(errs, n.opinions.Close())
	}
	if n.atlas != nil {
		errs = append(errs, n.atlas.Close())
	}
	if n.bucket != nil {
		errs = append(errs, n.bucket.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
