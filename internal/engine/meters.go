// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// Seconds are the bounds of all histograms of durations (status chapter, 6).
var Seconds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 30, 60, 300, 1800}

var counts = []float64{0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000}

// meters count what the engine does. They are made once with all their labels, so that a use case pays an atomic addition
// for each and no look-up. All of it is lost at a restart, as counters may be.
type meters struct {
	kinds map[horde.Kind]*kindMeters
	calls map[horde.Kind]*callMeters // of the kinds that are generated

	lockWait      prometheus.Observer // of those who found the lock taken
	commitTime    prometheus.Observer
	commitChanges prometheus.Observer
	commitFailed  prometheus.Counter
	reloads       prometheus.Counter

	replays, refusedHolds                        prometheus.Counter
	floors                                       map[string]floorMeters
	promptsRefused, unknownAddresses, keysMissed prometheus.Counter
	// addressKnown and addressAsked measure the checks of addresses.
	addressKnown, addressAsked prometheus.Observer

	all []prometheus.Collector
}

// kindMeters are those of one kind of work.
type kindMeters struct {
	accepted, cancelled               prometheus.Counter // requests
	popsServed, popsEmpty             prometheus.Counter
	delivered, censored, faulted      prometheus.Counter // jobs
	duplicate                         prometheus.Counter // submits of jobs that were submitted before
	dispatchLatency, jobTime, batches prometheus.Observer
}

// floorMeters count what the floors of a class of accounts absorbed.
type floorMeters struct{ times, kudos prometheus.Counter }

// The classes of accounts by what their floor is.
const (
	floorAnonymous    = "anon"
	floorPseudonymous = "pseudonymous"
	floorRegistered   = "registered"
)

var floorClasses = []string{floorAnonymous, floorPseudonymous, floorRegistered}

// absorbed takes down what an event let floors absorb.
func (m *meters) absorbed(s *state, ev *kudos.Event) {
	for i := 1; i < len(ev.Entries); i++ {
		floor, to := ev.Entries[i], ev.Entries[i-1]
		if floor.Account.Class != kudos.SystemFloor || floor.Amount >= 0 {
			continue
		}
		class := floorRegistered
		if u := s.users[to.Account.User]; u != nil {
			switch u.Class() {
			case horde.ClassAnonymous:
				class = floorAnonymous
			case horde.ClassPseudonymous:
				class = floorPseudonymous
			}
		}
		m.floors[class].times.Inc()
		m.floors[class].kudos.Add(to.Amount.Float())
	}
}

func newMeters() *meters {
	m := &meters{kinds: map[horde.Kind]*kindMeters{}, floors: map[string]floorMeters{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.all = append(m.all, c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.all = append(m.all, h)
		return h
	}
	m.promptsRefused = counter("horde_prompts_refused_total", "Prompts that the filters refused.").WithLabelValues()
	m.keysMissed = counter("horde_keys_missed_total", "Keys that somebody asked about and that open nothing.").WithLabelValues()
	m.unknownAddresses = counter("horde_addresses_unknown_total", "Callers whose address the checker did not tell.").WithLabelValues()
	checks := histogram("horde_ip_check_duration_seconds", "Time it took to learn what is thought of the address of a caller, by whether nobody had to be asked.", Seconds, "cached")
	m.addressKnown, m.addressAsked = checks.WithLabelValues("true"), checks.WithLabelValues("false")
	requests := counter("horde_requests_total", "Requests that were accepted.", "gentype")
	cancelled := counter("horde_requests_cancelled_total", "Requests that their clients cancelled.", "gentype")
	pops := counter("horde_pops_total", "Pops by whether there was a job for the worker.", "gentype", "outcome")
	submits := counter("horde_submit_outcomes_total", "Jobs that ended, by how; already_submitted counts submits of jobs that had ended before.", "gentype", "outcome")
	latency := histogram("horde_dispatch_latency_seconds", "From the acceptance of a request to the hand-out of its first jobs.", Seconds, "gentype")
	jobTime := histogram("horde_job_work_seconds", "From the hand-out of a job to its accepted result.", Seconds, "gentype")
	batches := histogram("horde_pop_returned_jobs", "Jobs that a pop with a match handed out.", counts, "gentype")
	for _, k := range horde.Kinds {
		name := k.String()
		m.kinds[k] = &kindMeters{
			accepted: requests.WithLabelValues(name), cancelled: cancelled.WithLabelValues(name),
			popsServed: pops.WithLabelValues(name, "match"), popsEmpty: pops.WithLabelValues(name, "no_match"),
			delivered: submits.WithLabelValues(name, "accepted"), censored: submits.WithLabelValues(name, "censored"),
			faulted: submits.WithLabelValues(name, "faulted"), duplicate: submits.WithLabelValues(name, "already_submitted"),
			dispatchLatency: latency.WithLabelValues(name), jobTime: jobTime.WithLabelValues(name), batches: batches.WithLabelValues(name),
		}
	}
	m.calls = newCallMeters(counter, histogram)
	m.replays = counter("horde_kudos_transfer_replays_total", "Transfers that were answered from memory, for they came again with the same idempotency key.").WithLabelValues()
	m.refusedHolds = counter("horde_kudos_reservations_rejected_total", "Requests that were refused because their account could not set the kudos aside.").WithLabelValues()
	absorbed := counter("horde_kudos_floor_adjustments_total", "Events in which the floor of an account absorbed kudos.", "account_class")
	created := counter("horde_kudos_floor_created_total", "Kudos that floors of accounts absorbed.", "account_class")
	for _, class := range floorClasses {
		m.floors[class] = floorMeters{absorbed.WithLabelValues(class), created.WithLabelValues(class)}
	}
	m.lockWait = histogram("horde_engine_lock_wait_seconds", "Waits for the engine's lock, of those who found it taken.", append([]float64{0.00001, 0.0001}, Seconds...)).WithLabelValues()
	m.commitTime = histogram("horde_commit_duration_seconds", "Time that a batch of changes took to become durable.", Seconds).WithLabelValues()
	m.commitChanges = histogram("horde_commit_changes", "Rows and ledger events in a batch.", counts).WithLabelValues()
	m.commitFailed = counter("horde_commit_failures_total", "Batches that could not be written.").WithLabelValues()
	m.reloads = counter("horde_reloads_total", "Times that the memory was dropped and read from the record again.").WithLabelValues()
	return m
}

// size is how many changes a batch holds.
func (b *batch) size() int {
	return len(b.users) + len(b.balances) + len(b.workers) + len(b.earnings) + len(b.requests) + len(b.jobs) + len(b.events) +
		len(b.gone) + len(b.goneWorker) + len(b.documents)
}

// lock takes the lock, and notes how long it took if somebody else had it.
func (e *Engine) lock() {
	if e.mu.TryLock() {
		return
	}
	began := time.Now()
	e.mu.Lock()
	e.meters.lockWait.Observe(time.Since(began).Seconds())
}

// maxModels is how many models have a series of their own; those with the most waiting do.
const maxModels = 50

// otherModels is the label of all further models, and of those that the model reference does not know: clients can name
// any, and each name would be a series for ever.
const otherModels = "other"

var (
	descQueueRequests = prometheus.NewDesc("horde_queue_requests", "Requests of which results wait to be handed out.", []string{"gentype"}, nil)
	descQueueJobs     = prometheus.NewDesc("horde_queue_jobs", "Results that wait to be handed out.", []string{"gentype"}, nil)
	descQueueThings   = prometheus.NewDesc("horde_queue_things", "Work that waits: raw pixelsteps or tokens.", []string{"gentype"}, nil)
	descModelJobs     = prometheus.NewDesc("horde_queue_model_jobs", "Results that wait, by model: the longest queues, and other for the rest and for models that the reference does not know. A request counts for each model that it names.", []string{"gentype", "model"}, nil)
	descRunning       = prometheus.NewDesc("horde_jobs_running", "Jobs that workers have in hand.", nil, nil)
	descWorkers       = prometheus.NewDesc("horde_workers", "Workers that are online.", []string{"gentype"}, nil)
	descThreads       = prometheus.NewDesc("horde_worker_threads", "Threads of the workers that are online.", []string{"gentype"}, nil)
	descPastMinute    = prometheus.NewDesc("horde_past_minute_things", "Work delivered within the last minute: raw pixelsteps or tokens.", []string{"gentype"}, nil)
	descAlive         = prometheus.NewDesc("horde_requests_alive", "Requests in memory, finished ones that have not expired included.", nil, nil)
	descUsers         = prometheus.NewDesc("horde_users", "Accounts.", nil, nil)
	descLedger        = prometheus.NewDesc("horde_ledger_kudos", "Sum of the balances of a class of accounts. All classes together are zero.", []string{"class"}, nil)
	descParked        = prometheus.NewDesc("horde_parked_pops", "Pops that wait for a job.", []string{"gentype"}, nil)
	descStreams       = prometheus.NewDesc("horde_event_streams", "Requests that clients follow by events.", nil, nil)
	descReservations  = prometheus.NewDesc("horde_kudos_active_reservations", "Requests that have set kudos aside.", nil, nil)
	descOldestHold    = prometheus.NewDesc("horde_kudos_oldest_reservation_seconds", "Age of the oldest request that has kudos set aside; 0 for none.", nil, nil)
	descUp            = prometheus.NewDesc("horde_engine_up", "1 while the memory is the record's and everything is served.", nil, nil)
)

// reading is what the gauges tell, copied under the lock.
type reading struct {
	kinds                 map[horde.Kind]kindReading
	running, alive, users int
	reservations          int
	reservedFor           time.Duration
	ledger                map[kudos.AccountClass]horde.Kudos
}

type kindReading struct {
	requests, workers, threads int
	parked                     int
	results                    int64
	things, pastMinute         float64
	models                     map[string]int64
}

// readGauges copies what the gauges tell. It holds the lock for as long as it takes to go through the models and, every few seconds, the
// workers: never through requests or accounts.
func (e *Engine) readGauges() (r *reading, err error) {
	ref := e.Reference()
	err = e.do(func() {
		now := time.Now().UTC()
		r = &reading{
			kinds: map[horde.Kind]kindReading{}, running: len(e.running) + len(e.processing),
			alive: len(e.requests) + len(e.interrogations), users: len(e.users), ledger: e.book.Sums(),
			reservations: e.book.Holds(), reservedFor: e.reservedFor(now),
		}
		for _, k := range horde.Kinds {
			v := kindReading{models: map[string]int64{}}
			v.workers, v.threads = e.online(k, now).totals()
			if k == horde.Alchemy { // whose forms wait one by one, with no measure and no model
				v.results = int64(e.waiting.Len())
				r.kinds[k] = v
				continue
			}
			v.requests, v.results, v.things = e.queues[k].Waiting()
			v.parked = e.lots[k].Len()
			v.pastMinute = e.pulse[k].pastMinute(now)
			e.queues[k].Models(func(model string, results int64, _ float64) {
				if !ref.Known(k, model) {
					model = otherModels
				}
				v.models[model] += results
			})
			r.kinds[k] = v
		}
	})
	return r, err
}

// longest keeps the models with the most waiting and sums up the others.
func longest(models map[string]int64) map[string]int64 {
	if len(models) <= maxModels {
		return models
	}
	names := slices.SortedFunc(maps.Keys(models), func(a, b string) int {
		return cmp.Or(cmp.Compare(models[b], models[a]), cmp.Compare(a, b))
	})
	kept := map[string]int64{otherModels: 0}
	for i, name := range names {
		if i >= maxModels {
			name = otherModels
		}
		kept[name] += models[names[i]]
	}
	return kept
}

// Describe implements prometheus.Collector. What is collected varies with the models in the queue, so nothing is described.
func (e *Engine) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector: the engine's counters and, while it serves, its gauges.
func (e *Engine) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.meters.all {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	r, err := e.readGauges()
	if err != nil {
		gauge(descUp, 0)
		return
	}
	gauge(descUp, 1)
	gauge(descRunning, float64(r.running))
	gauge(descAlive, float64(r.alive))
	gauge(descUsers, float64(r.users))
	gauge(descReservations, float64(r.reservations))
	gauge(descOldestHold, r.reservedFor.Seconds())
	gauge(descStreams, float64(e.watches.count()))
	for class, sum := range r.ledger {
		gauge(descLedger, sum.Float(), string(class))
	}
	for k, v := range r.kinds {
		kind := k.String()
		gauge(descQueueJobs, float64(v.results), kind)
		gauge(descWorkers, float64(v.workers), kind)
		gauge(descThreads, float64(v.threads), kind)
		if k == horde.Alchemy {
			continue
		}
		gauge(descQueueRequests, float64(v.requests), kind)
		gauge(descQueueThings, v.things, kind)
		gauge(descParked, float64(v.parked), kind)
		gauge(descPastMinute, v.pastMinute, kind)
		for model, jobs := range longest(v.models) {
			gauge(descModelJobs, float64(jobs), kind, model)
		}
	}
}
