// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"horde/internal/horde"
	"horde/internal/hordeling/archive"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/embedding"
	"horde/internal/limit"
)

// Times and bounds of the service (hordeling chapter, sections 1, 2 and 9).
const (
	// AnswerWithin is when a request is answered at the latest, with ConversionPending if need be: workers hang up
	// after 5 s.
	AnswerWithin = 4500 * time.Millisecond
	// answerLife is how long an answer of 200 is repeated as it is, so that links do not change between two tries.
	answerLife = 10 * time.Second
	// defaultLinkLife is how long links are valid unless it is said otherwise.
	defaultLinkLife = 30 * time.Minute
	// modelLife is how long a model's description is used; missingLife how long it is remembered that there is none.
	modelLife   = 180 * time.Second
	missingLife = 30 * time.Second
	// briefRefusal is how long refusals are kept that CivitAI may mend: a hash that does not match, a login.
	briefRefusal = 600 * time.Second
	// largeRefusal is how long FileTooLarge is kept: the limit is the operator's to change.
	largeRefusal = 24 * time.Hour
	// maxSizeKB is what workers load at most.
	maxSizeKB = 20_000

	cachedModels  = 10_000
	cachedAnswers = 10_000
	maxLookups    = 256 // descriptions being fetched at a time
	maxFlights    = 64  // files being converted or waiting for it at a time
	maxFileBytes  = 64 << 20

	// convertTime bounds the computation of one conversion; it takes milliseconds.
	convertTime = 10 * time.Second
	// storeTime bounds writing one conversion.
	storeTime = 30 * time.Second
)

// Rate limits.
var (
	lookupRule     = limit.Rule{Name: "hordeling lookups by address", Amount: 90, Per: time.Minute}
	conversionRule = limit.Rule{Name: "hordeling conversions by address", Amount: 10, Per: time.Minute}
)

// Config of a service. CivitAI and Archive are required.
type Config struct {
	CivitAI *civitai.Client
	Archive *archive.Archive
	// Budget is that of Archive, in bytes; 0 means no bound. What was handed out or fetched within LinkLife is not
	// evicted for it; where nothing else is left, new files are refused for the time being.
	Budget int64
	// LinkLife is how long a link may be used. Zero means 30 minutes.
	LinkLife time.Duration
	// Lookups and Conversions per minute and address. Zero means 90 and 10.
	Lookups, Conversions int
	// Workers is how many files are downloaded and converted at a time. Zero means 4.
	Workers int
	// AllowFlagged also converts files that a scan of CivitAI found dangerous; they are not executed anyway.
	AllowFlagged bool
	// PublicURL is the address of this service for links to its own files, without a slash at the end. Empty means
	// the host that the request names.
	PublicURL string
	// Proxies are the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed, one hop.
	Proxies []netip.Prefix
	// Node names this process in the header Hordeling-Node: "<host>:<port>:<version>".
	Node string
	// Limits of the converter; the zero value means embedding.DefaultLimits.
	Limits *embedding.Limits
	Log    *slog.Logger
	// Metrics takes the service's metrics. Nil means none.
	Metrics prometheus.Registerer
}

// Service answers requests. Close it when no more come.
type Service struct {
	cfg     Config
	log     *slog.Logger
	limits  embedding.Limits
	limiter *limit.Limiter
	metrics *metrics
	room    *room

	models  *cache[int64, *civitai.Model] // a nil model is one that CivitAI does not have
	answers *cache[answerKey, handedOut]

	lookups     *flights[int64, *civitai.Model]
	conversions *flights[string, *archive.Row]
	slots       chan struct{} // as many as Config.Workers

	// life ends when Close gives up on work that is under way.
	life context.Context
	end  context.CancelFunc
}

// DownloadURL is the answer to a worker.
type DownloadURL struct {
	URL string `json:"url"`
	// SHA256 of what is at URL, in lower-case hex; empty where CivitAI has not hashed its file yet.
	SHA256 string `json:"sha256,omitempty"`
}

// handedOut is an answer of 200 and the stem of the archive that it links to, empty where that is CivitAI's own.
type handedOut struct {
	link DownloadURL
	stem string
}

// answerKey is what an answer depends on.
type answerKey struct{ path, query, base string }

// New makes a service.
func New(cfg Config) *Service {
	if cfg.Lookups == 0 {
		cfg.Lookups = lookupRule.Amount
	}
	if cfg.Conversions == 0 {
		cfg.Conversions = conversionRule.Amount
	}
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.LinkLife == 0 {
		cfg.LinkLife = defaultLinkLife
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{
		cfg: cfg, log: cfg.Log, limits: embedding.DefaultLimits(), limiter: limit.New(0), metrics: newMetrics(cfg.Metrics, cfg.Archive),
		models: newCache[int64, *civitai.Model](cachedModels), answers: newCache[answerKey, handedOut](cachedAnswers),
		lookups: newFlights[int64, *civitai.Model](maxLookups), conversions: newFlights[string, *archive.Row](maxFlights),
		slots: make(chan struct{}, cfg.Workers),
		room:  newRoom(cfg.Archive, cfg.Budget, cfg.LinkLife+answerLife),
	}
	if cfg.Limits != nil {
		s.limits = *cfg.Limits
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close waits for conversions that are under way until ctx ends, then stops them.
func (s *Service) Close(ctx context.Context) {
	landed := make(chan struct{})
	go func() {
		s.lookups.wait()
		s.conversions.wait()
		close(landed)
	}()
	select {
	case <-landed:
	case <-ctx.Done():
	}
	s.end()
	<-landed
}

// parseModelID is check 1. Ids that CivitAI cannot have are not asked for.
func parseModelID(text string) (int64, error) {
	if len(text) < 1 || len(text) > 10 || strings.Trim(text, "0123456789") != "" {
		return 0, ErrInvalidModelID
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, ErrInvalidModelID
	}
	if id < 1 || id > civitai.MaxModelID {
		return 0, ErrModelNotFound
	}
	return id, nil
}

// rule returns a rule with the operator's amount.
func rule(r limit.Rule, amount int) limit.Rule {
	r.Amount = amount
	return r
}

func (s *Service) take(r limit.Rule, addr netip.Addr) error {
	got := s.limiter.Take(limit.Bucket(addr), r)
	if got.OK {
		return nil
	}
	e := ErrRateLimited.Withf("%s Allowed are %s.", ErrRateLimited.Message, r)
	e.RetryAfter = got.RetryAfter()
	return e
}

// Embedding answers one request: the model's id as it stands in the path, who asks, and the address under which this
// service is known to them. ctx should end AnswerWithin after the request came. Errors are *horde.Error.
func (s *Service) Embedding(ctx context.Context, idText string, addr netip.Addr, base string) (DownloadURL, error) {
	out, err := s.handOut(ctx, idText, addr, base)
	return out.link, err
}

func (s *Service) handOut(ctx context.Context, idText string, addr netip.Addr, base string) (handedOut, error) {
	id, err := parseModelID(idText)
	if err != nil {
		return handedOut{}, err
	}
	model, err := s.model(ctx, id)
	if err != nil {
		return handedOut{}, err
	}
	file, err := s.choose(model)
	if err != nil {
		return handedOut{}, err
	}
	if file.Kind() == civitai.Safetensors {
		s.metrics.answers.WithLabelValues("native").Inc()
		return handedOut{link: DownloadURL{URL: file.DownloadURL, SHA256: file.SHA256}}, nil
	}
	stem := archive.Stem(file.ID, file.SHA256)
	row, err := s.find(ctx, file)
	if err != nil {
		s.log.ErrorContext(ctx, "the archive failed", "error", err)
		return handedOut{}, ErrStorage
	}
	if row == nil {
		if row, err = s.convert(ctx, model, file, stem, addr); err != nil {
			return handedOut{}, err
		}
	}
	if row.Refused() {
		return handedOut{}, refusalOfRow(row)
	}
	link, err := s.cfg.Archive.Link(ctx, stem, base)
	if err != nil {
		s.log.ErrorContext(ctx, "no link", "error", err)
		return handedOut{}, ErrStorage
	}
	s.metrics.answers.WithLabelValues("converted").Inc()
	return handedOut{DownloadURL{URL: link, SHA256: row.SHA256}, stem}, nil
}

// model is check 2: the description from the cache or from CivitAI.
func (s *Service) model(ctx context.Context, id int64) (*civitai.Model, error) {
	model, ok := s.models.get(id)
	if !ok {
		fl, err := s.lookups.join(id, func() error { return nil }, func() (*civitai.Model, error) {
			m, err := s.cfg.CivitAI.Model(s.life, id)
			s.metrics.upstream.WithLabelValues("model", outcome(err)).Inc()
			switch {
			case err == nil:
				s.models.put(id, m, modelLife)
			case errors.Is(err, civitai.ErrNotFound):
				s.models.put(id, nil, missingLife)
			}
			return m, err
		})
		if err != nil {
			return nil, ErrUpstream
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return nil, ErrUpstream
		}
		if fl.err != nil {
			return nil, RefusalOf(fl.err)
		}
		model = fl.value
	}
	if model == nil {
		return nil, ErrModelNotFound
	}
	return model, nil
}

// choose is checks 3 to 5, and what must be known before a file is handed out or downloaded.
func (s *Service) choose(model *civitai.Model) (*civitai.File, error) {
	file := civitai.Choose(model)
	if file == nil {
		return nil, ErrNoUsableFile
	}
	if file.Flagged && !s.cfg.AllowFlagged {
		return nil, ErrFileFlagged
	}
	if model.Type != civitai.TypeTextualInversion {
		return nil, ErrNotTI
	}
	if file.SizeKB > maxSizeKB {
		return nil, ErrFileTooLarge
	}
	if file.Kind() == civitai.Pickle {
		if !s.cfg.CivitAI.Own(file.DownloadURL) {
			s.log.Warn("a download is not on CivitAI's host", "model", model.ID, "file", file.ID)
			return nil, ErrUpstream
		}
		if file.SHA256 == "" {
			return nil, ErrScanPending
		}
	}
	return file, nil
}

// refusalOfRow gives a stored refusal the status and texts that it had.
func refusalOfRow(row *archive.Row) error {
	for _, e := range terminal {
		if e.RC == row.RC {
			return e.Withf("%s", row.Message)
		}
	}
	return ErrInternal
}

// convert is checks 8 to 11, once for all who wait for the file, and goes on without them. A refusal that is kept comes
// as a row, others as errors.
func (s *Service) convert(ctx context.Context, model *civitai.Model, file *civitai.File, stem string, addr netip.Addr) (*archive.Row, error) {
	admit := func() error { return s.take(rule(conversionRule, s.cfg.Conversions), addr) }
	fl, err := s.conversions.join(stem, admit, func() (*archive.Row, error) {
		start := time.Now()
		row, err := s.makeRow(model, file, stem)
		took := time.Since(start)
		if s.room.turned(errors.Is(err, ErrFull)) {
			s.log.Warn("the disk budget is used up by files whose links are still valid: new files are refused until some expire", "budget", s.cfg.Budget)
		}
		line := s.log.With("model", model.ID, "file", file.ID, "stem", stem, "took", took.Round(time.Millisecond))
		result := outcome(err)
		switch {
		case errors.Is(err, ErrFull):
			line.Debug("no room", "error", err)
		case err != nil:
			line.Warn("conversion failed", "error", err)
		case row.Refused():
			result = row.RC
			line.Info("file refused", "rc", row.RC, "reason", row.Message)
		default:
			line.Info("file converted", "container", row.Container, "shape", row.Shape, "bytes", row.Size, "sha256", row.SHA256)
		}
		s.metrics.conversions.WithLabelValues(result).Observe(took.Seconds())
		return row, err
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-fl.done:
	case <-ctx.Done():
		return nil, ErrPending
	}
	if fl.err != nil {
		return nil, RefusalOf(fl.err)
	}
	return fl.value, nil
}

// makeRow downloads, converts and keeps one file.
func (s *Service) makeRow(model *civitai.Model, file *civitai.File, stem string) (*archive.Row, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.life.Done():
		return nil, s.life.Err()
	}
	// Another flight for this file may have landed between the look-up and here.
	if row, err := s.find(s.life, file); err == nil && row != nil {
		return row, nil
	}
	// What even the smallest file has no room for need not be downloaded.
	if !s.room.fits(stem, 1) {
		return nil, ErrFull
	}
	row := &archive.Row{ModelID: model.ID, VersionID: model.VersionID, FileID: file.ID, SourceSHA256: file.SHA256}
	result, err := s.produce(file)
	row.Made = time.Now().UTC()
	ctx, cancel := context.WithTimeout(s.life, storeTime)
	defer cancel()
	if err != nil {
		refusal := RefusalOf(err)
		if !refuse(row, refusal) {
			return nil, refusal
		}
		if byLimit(row) {
			stem = s.limitStem(file)
		}
		err := s.keep(stem, 0, func() error { return s.cfg.Archive.KeepRefusal(ctx, stem, row) })
		if err != nil {
			// The caller is told all the same; only the next one costs a download again.
			s.log.Error("the refusal was not kept", "error", err)
		}
		return row, nil
	}
	row.SHA256, row.Container, row.Shape, row.Tensors = result.SHA256, result.Container, result.Shape, result.Tensors
	err = s.keep(stem, int64(len(result.Bytes)), func() error { return s.cfg.Archive.Keep(ctx, stem, row, result.Bytes) })
	if errors.Is(err, ErrFull) {
		return nil, ErrFull
	}
	if err != nil {
		s.log.Error("the archive failed", "error", err)
		return nil, ErrStorage
	}
	return row, nil
}

// keep runs put if the archive has room for an object of that size beside what may still be fetched, or is ErrFull.
func (s *Service) keep(stem string, size int64, put func() error) error {
	ok, err := s.room.keep(stem, size, put)
	if !ok {
		return ErrFull
	}
	return err
}

// byLimit tells whether another limit might have let the file of a refusal through.
func byLimit(row *archive.Row) bool {
	return row.RC == ErrTooComplex.RC || row.RC == ErrFileTooLarge.RC
}

// limitStem is the stem for a refusal of file that a limit brought about. It depends on the limits that an operator can
// set, so that under others the file is tried again.
func (s *Service) limitStem(file *civitai.File) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s source=%d output=%d", file.SHA256, s.cfg.CivitAI.MaxBytes(), s.limits.OutputBytes))
	return archive.Stem(file.ID, hex.EncodeToString(sum[:]))
}

// find returns what the archive knows of a file under the limits of this process, or nil.
func (s *Service) find(ctx context.Context, file *civitai.File) (*archive.Row, error) {
	row, err := s.room.find(ctx, archive.Stem(file.ID, file.SHA256))
	if err != nil || row != nil && !byLimit(row) {
		return row, err
	}
	return s.room.find(ctx, s.limitStem(file))
}

// refuse writes a final refusal into row and tells whether it is one.
func refuse(row *archive.Row, refusal *horde.Error) bool {
	for _, e := range terminal {
		if e.RC != refusal.RC {
			continue
		}
		row.RC, row.Message = refusal.RC, refusal.Message
		switch {
		case errors.Is(refusal, ErrHashMismatch), errors.Is(refusal, ErrDownloadDenied):
			row.Expires = row.Made.Add(briefRefusal)
		case errors.Is(refusal, ErrFileTooLarge):
			row.Expires = row.Made.Add(largeRefusal)
		}
		return true
	}
	return false
}

// produce is checks 8 to 10.
func (s *Service) produce(file *civitai.File) (result *embedding.Result, err error) {
	source, err := s.cfg.CivitAI.Download(s.life, file)
	s.metrics.upstream.WithLabelValues("download", outcome(err)).Inc()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(source); hex.EncodeToString(sum[:]) != file.SHA256 {
		return nil, ErrHashMismatch
	}
	ctx, cancel := context.WithTimeout(s.life, convertTime)
	defer cancel()
	defer func() {
		// A fault of the converter must cost one file, not the service, and not the same download over and over.
		if p := recover(); p != nil {
			s.log.Error("the converter panicked", "file", file.ID, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, unexpected(ErrCorruptFile, "the converter failed on it")
		}
	}()
	result, err = embedding.Convert(ctx, source, s.limits)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, unexpected(ErrTooComplex, "it takes too long")
	}
	return result, err
}
