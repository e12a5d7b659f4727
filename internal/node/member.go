// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"horde/internal/api"
	v2 "horde/internal/api/v2"
	"horde/internal/bulletin"
	"horde/internal/modelref"
	"horde/internal/picture"
	"horde/internal/store"
)

const (
	// lookEvery is how often a node that does not lead looks who does.
	lookEvery = 250 * time.Millisecond
	// lookWithin bounds one look, and one try to lead.
	lookWithin = 5 * time.Second
	// handOverWithin is how long a leader that stops waits for the calls that it is answering before it gives its place to
	// another. Calls that wait for a job, and streams, end at once.
	handOverWithin = 10 * time.Second
	// failedPause is how long a node that won, but could not load the record, lets others try.
	failedPause = 2 * time.Second
)

// sharedRecord is what the nodes of a horde have in common.
type sharedRecord interface {
	store.Shared
	recordSettings
}

// Member is one of several server processes that share a record. One of them leads: it has a [Node]. The others answer what
// needs no engine, and pass everything else on to the leader. When the leader is gone, one of them takes its place.
//
// A call waits, for a few seconds, while nobody leads, and is passed on a second time only where that cannot make it happen
// twice.
type Member struct {
	cfg    Config
	name   string // of this process, for people
	record sharedRecord
	models *modelref.Holder
	local  *localPages
	board  *bulletin.Board
	jobs   *jobMeters
	router *api.Router // of what is answered here; it knows who calls and how errors look
	server *api.Server
	// metrics is nil where none are wanted.
	metrics  net.Listener
	registry *prometheus.Registry
	admin    *adminServer
	vouch    voucher
	pass     passer

	view   atomic.Pointer[view]
	viewMu sync.Mutex // one view is replaced at a time

	holdFor         time.Duration // how long calls wait for a leader
	held, heldBytes atomic.Int64  // calls that wait; bodies in memory
	active          atomic.Int64  // calls that are being handled, here or elsewhere
}

// view is who leads, as far as this process knows. It does not change; another replaces it.
type view struct {
	// term is set when it is this process.
	term *term
	// address is where another leads, empty when nobody is known to, or gave no address.
	epoch   int64
	address string

	// next is closed when there is a newer view, and gone ends a moment later: what the leader has answered by then is on
	// its way, and what it has not it will not answer.
	next chan struct{}
	gone context.Context
	drop context.CancelFunc
}

// lastWords is how long an answer of a leader may take to arrive after another has taken its place.
const lastWords = time.Second

// Join makes this process one of the nodes of the horde in cfg.Database. Serve lets it take part; Close releases it.
func Join(ctx context.Context, cfg Config) (*Member, error) {
	record, err := openShared(ctx, cfg.Database)
	if err != nil {
		return nil, err
	}
	m, err := join(ctx, cfg, record)
	if err != nil {
		return nil, errors.Join(err, record.Close())
	}
	return m, nil
}

// join is Join on a record that is open. Close closes it.
func join(ctx context.Context, cfg Config, record sharedRecord) (*Member, error) {
	if cfg.Title == "" {
		cfg.Title = "Horde"
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	own := &Node{Config: cfg, jobs: newJobMeters()}
	cfg.Log = own.logger()
	own.Log = cfg.Log
	m := &Member{cfg: cfg, record: record, holdFor: holdFor}
	m.pass = newPasser(m)
	m.name = processName(cfg.Listen)
	m.setView(&view{})
	m.models = own.loadModels(ctx)
	var err error
	if m.router, m.local, err = own.openLocal(m.status, m.readyz, m.vitals); err != nil {
		return nil, err
	}
	m.board, m.jobs = own.Board, own.jobs
	m.server = api.NewServer(m, cfg.Log)
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(ofProcess(cfg.Version)...)
	m.registry.MustRegister(ofModels(m.models)...)
	m.registry.MustRegister(m.jobs.durations, m.jobs.failures)
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: leaderMetric, Help: leaderHelp},
			func() float64 {
				if m.serving() != nil {
					return 1
				}
				return 0
			}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "horde_calls_held", Help: "Calls that wait for a leader."},
			func() float64 { return float64(m.held.Load()) }),
	)
	if m.metrics, err = listenMetrics(cfg.MetricsListen); err != nil {
		return nil, err
	}
	if m.admin, err = listenAdmin(cfg.Data, m.administer); err != nil && m.metrics != nil {
		m.metrics.Close()
	}
	return m, err
}

// processName tells this process from others, and from the one that had its place before it was started again.
func processName(listen string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if _, port, err := net.SplitHostPort(listen); err == nil {
		host += ":" + port
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	return host + "/" + hex.EncodeToString(id)
}

// setView replaces the view, unless it says the same.
func (m *Member) setView(v *view) {
	m.viewMu.Lock()
	defer m.viewMu.Unlock()
	old := m.view.Load()
	if old != nil && old.term == v.term && old.epoch == v.epoch && old.address == v.address {
		return
	}
	v.next = make(chan struct{})
	v.gone, v.drop = context.WithCancel(context.Background())
	m.view.Store(v)
	if old != nil {
		close(old.next)
		time.AfterFunc(lastWords, old.drop)
	}
	switch {
	case v.term != nil:
		m.cfg.Log.Info("this node leads", "node", m.name, "epoch", v.epoch)
	case v.address != "":
		m.cfg.Log.Info("another node leads", "address", v.address, "epoch", v.epoch)
	case old != nil:
		m.cfg.Log.Info("no node leads that can be reached")
	}
}

// Serve answers on l and takes part in leading until ctx is done. Then it gives its place to another, finishes the calls that
// it has, and returns. The listener is closed in any case.
func (m *Member) Serve(ctx context.Context, l net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	serving, drain := context.WithCancel(background)
	defer drain()
	var running sync.WaitGroup
	running.Go(func() { m.models.Run(background) })
	running.Go(func() { paceCollector(background) })
	running.Go(func() { m.admin.serve(background) })
	if m.metrics != nil {
		running.Go(func() { serveMetrics(background, m.metrics, prometheus.GathererFunc(m.gather), m.readyz) })
	}
	running.Go(func() { m.takePart(ctx, background, drain) })
	go picture.Warm() // takes a second, ends by itself, and nobody waits for it
	err := m.server.Serve(serving, l, drainFor)
	fail()
	stop()
	running.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		m.cfg.Log.Warn("some calls were cut off at the end")
		err = nil
	}
	return err
}

// takePart leads when it can until ctx is done; then it calls retired. It looks who leads until end is done.
func (m *Member) takePart(ctx, end context.Context, retired func()) {
	stopped := ctx.Done()
	for end.Err() == nil {
		pause := m.turn(ctx)
		if ctx.Err() != nil && stopped != nil {
			stopped = nil
			retired()
		}
		select {
		case <-time.After(pause):
		case <-stopped:
		case <-end.Done():
		}
	}
}

// turn looks who leads, and leads where nobody does. It returns how long to wait before the next.
func (m *Member) turn(ctx context.Context) (pause time.Duration) {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
	defer cancel()
	began := time.Now()
	leader, err := m.record.Leader(look)
	if err == nil && ctx.Err() == nil && (leader.Node == "" || leader.Remaining <= 0 || leader.Mine) {
		began = time.Now()
		leader, err = m.record.Campaign(look, m.name, m.cfg.NodeAddress, leaseFor)
	}
	switch {
	case err != nil:
		// Who led last may still reach the database.
		m.cfg.Log.Warn("cannot find out who leads", "error", err)
		return retryEvery * 5
	case leader.Mine && ctx.Err() == nil:
		if err := m.lead(ctx, leader.Epoch, began); err != nil {
			m.cfg.Log.Error("cannot lead", "error", err)
			return failedPause
		}
		return 0
	case leader.Node == "" || leader.Mine:
		m.setView(&view{})
	default:
		if err := m.vouch.ask(look, m.record); err != nil {
			m.cfg.Log.Debug("cannot pass calls on yet", "error", err) // a new leader of a new record is about to make one
		}
		m.setView(&view{epoch: leader.Epoch, address: leader.Address})
	}
	return lookEvery
}

// lead runs the engine from a won leadership until that is lost or, when ctx is done, handed over. The error is nil unless
// the record could not be loaded.
func (m *Member) lead(ctx context.Context, epoch int64, began time.Time) error {
	t := newTerm(epoch, began)
	var keeping sync.WaitGroup
	keeping.Go(func() { t.keep(m.record) })
	m.setView(&view{term: t, epoch: epoch})
	n, err := m.open(ctx, t)
	if err != nil {
		m.setView(&view{})
		t.end(err)
		keeping.Wait()
		m.resign()
		return err
	}
	t.node = n
	running, stop := context.WithCancel(context.Background())
	var runners sync.WaitGroup
	for _, run := range n.runners {
		runners.Go(func() { run(running) })
	}
	close(t.ready)
	m.cfg.Log.Info("the record is loaded", "took", time.Since(began).Round(time.Millisecond))
	select {
	case <-t.over.Done():
	case <-ctx.Done():
	}
	m.setView(&view{}) // calls are held from here on, for whoever leads next
	if cause := context.Cause(t.over); cause != nil {
		m.cfg.Log.Warn("this node does not lead any more", "epoch", epoch, "cause", cause)
	}
	n.Engine.Drain()
	t.leave(handOverWithin)
	stop()
	runners.Wait()
	if err := n.Close(); err != nil { // writes what is still to be written; nothing, when the term is over
		m.cfg.Log.Warn("closing the node", "error", err)
	}
	lost := t.over.Err() != nil
	t.end(errHandedOver)
	keeping.Wait()
	if !lost {
		m.resign()
	}
	return nil
}

var errHandedOver = errors.New("handed over")

// open makes the node of a term. It gives up when the term is over or the process stops.
func (m *Member) open(ctx context.Context, t *term) (*Node, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.over, cancel)()
	n := &Node{Config: m.cfg, Board: m.board, jobs: m.jobs}
	if err := n.openOn(ctx, termStore{m.record, t}, m.models, t.holds); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	m.vouch.learn(n.Engine.Secret())
	return n, nil
}

func (m *Member) resign() {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	if err := m.record.Resign(ctx); err != nil {
		m.cfg.Log.Warn("the others will wait for the lease to be over", "error", err)
	}
}

// Handler answers requests without a listener, for tests.
func (m *Member) Handler() http.Handler { return m }

// Close releases everything. Serve has returned, or was never called.
func (m *Member) Close() error {
	m.admin.close()
	if m.metrics != nil {
		_ = m.metrics.Close() // served, it is closed already
	}
	m.pass.close()
	return m.record.Close()
}

// status is what a load balancer wants to know: the process is alive, and what it does at the moment.
func (m *Member) status() string {
	switch v := m.view.Load(); {
	case v.term != nil && v.term.answers():
		return "leads"
	case v.term != nil:
		return "loads"
	case v.address != "":
		return "follows"
	}
	return "waits"
}

// vitals are what the heartbeat of this process tells, whoever leads.
func (m *Member) vitals(ctx context.Context) v2.Vitals {
	v := v2.Vitals{
		Queue: m.held.Load(), Active: m.active.Load(), Threads: runtime.GOMAXPROCS(0), Database: pings(ctx, m.record), Serving: true,
	}
	if n := m.serving(); n != nil {
		v.Queue += n.Engine.Backlog()
		v.Serving = n.Engine.Healthy()
	}
	return v
}

// serving is the node that this process leads with, nil while it does not.
func (m *Member) serving() *Node {
	if t := m.view.Load().term; t != nil && t.answers() {
		return t.node
	}
	return nil
}

// gather collects what there is to see: of the process and, while it leads, of the engine.
func (m *Member) gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{m.registry}
	if n := m.serving(); n != nil {
		all = append(all, n.watch.registry)
	}
	return all.Gather()
}

// readyz answers 200 while calls are answered here, or passed on to somebody.
func (m *Member) readyz(w http.ResponseWriter, _ *http.Request) {
	role := map[string]any{"role": m.status()}
	if n := m.serving(); n != nil {
		found := n.watch.check()
		role["checks"] = found
		answerReady(w, allOK(found), role)
		return
	}
	answerReady(w, m.view.Load().address != "", role)
}

// localPages are what a node answers without an engine: the pages, and what they load.
type localPages struct {
	mux    *http.ServeMux
	router *api.Router
}

// HealthPath answers 200 as long as the process does, ReadyPath while it can serve.
const (
	HealthPath = "/healthz"
	ReadyPath  = "/readyz"
)

// openLocal makes the router of a node without an engine. It knows the API's operations too, for the page that lists them,
// but only what pages registered to be read is asked of it.
func (n *Node) openLocal(status func() string, readyz http.HandlerFunc, vitals func(context.Context) v2.Vitals) (*api.Router, *localPages, error) {
	router := api.NewRouter(api.Options{
		Node: n.name(), Log: n.Log, Limiter: n.limiter(), Exempt: n.RateLimitExempt, TrustedProxies: n.TrustedProxies, NotFound: v2.Gone,
	})
	v2.Register(router, nil)
	if n.TestUsers {
		v2.RegisterTestUsers(router, nil)
	}
	known := map[api.Route]bool{}
	for _, op := range router.Routes("") {
		known[op] = true
	}
	v2.RegisterHeartbeat(router, n.Version, vitals)
	if err := n.openBoard(router); err != nil {
		return nil, nil, err
	}
	if err := router.MountDocuments(api.Info{Version: api.Version}); err != nil {
		return nil, nil, fmt.Errorf("describe the API: %w", err)
	}
	if n.Pages != nil {
		n.Pages(n, router)
	}
	router.Mount(HealthPath, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"status\":\"ok\",\"role\":%q}\n", status())
	}))
	router.Mount(ReadyPath, nil, readyz)
	local := &localPages{http.NewServeMux(), router}
	for _, op := range router.Routes("") {
		if !known[op] && op.Method == http.MethodGet && !n.leadersOnly(op.Path) {
			local.mux.Handle(op.Method+" "+op.Path, router)
		}
	}
	return router, local, nil
}

// leadersOnly tells whether what is read at a path is known to the leader alone, although it is a page or a document: who is thanked,
// where a service tells who that is.
func (n *Node) leadersOnly(path string) bool {
	return len(n.Supporters) > 0 && strings.HasSuffix(path, "/"+string(bulletin.Sponsors))
}

// serve answers what it can. The router takes a path however it is spelled.
func (l *localPages) serve(w http.ResponseWriter, r *http.Request) bool {
	asked := &http.Request{Method: r.Method, Host: r.Host, URL: &url.URL{Path: path.Clean("/" + r.URL.Path)}}
	if _, pattern := l.mux.Handler(asked); pattern == "" {
		return false
	}
	l.router.ServeHTTP(w, r)
	return true
}

// callerOf is who makes a call, as far as the connection and trusted proxies tell.
func (m *Member) callerOf(r *http.Request) netip.Addr { return m.router.Caller(r).Addr }
