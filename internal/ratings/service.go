// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/api"
	"horde/internal/blob"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/limit"
	"horde/internal/picture"
)

// The rules of the service (ratings chapter, 3, 6, 7 and 9).
const (
	reward        = 5                // kudos for each rating
	popLife       = 30 * time.Minute // how long a popped image may be rated
	repeatWithin  = 10 * time.Minute // within which the same rating again is a repetition of the call
	captchaWait   = 10 * time.Minute // after which a captcha counts as skipped
	speedFloor    = time.Second      // below which nobody has looked at an image
	wantedRatings = 5                // of each image
	maxIgnored    = 20               // pops without a rating that take an image out
	paidPerDay    = 500              // ratings of a rater that are paid in 24 hours
	maxOpenPops   = 100              // of one rater
	pendingFor    = 24 * time.Hour   // after which a reward is due without a captcha
	settleEvery   = 5 * time.Minute
	addressKey    = 30 * 24 * time.Hour // how long addresses are hashed with one key
	hordeShared   = "horde_shared"
)

// Config is what a service works with.
type Config struct {
	// Dir is the directory of everything that it keeps: the database, images and exports.
	Dir string
	// URL is where the world reaches Handler with its prefix, for links to images: https://horde.example/ratings. Empty is the
	// address by which each caller came, and exports then have no links.
	URL string
	// Blobs is where the horde keeps what its workers made.
	Blobs blob.Store
	// Rater tells whose key it is.
	Rater func(ctx context.Context, key string) (engine.Rater, error)
	// Pay awards kudos to raters, or with a negative amount takes them back. Payments are numbered upwards: one whose number is not
	// above the last that was made for the service is not made again. Paid tells that last number.
	Pay  func(ctx context.Context, service string, no int64, id horde.UserID, amount horde.Kudos) error
	Paid func(ctx context.Context, service string) (int64, error)
	// Wiped lists the accounts that were erased for good. Nil where accounts are never erased.
	Wiped func(ctx context.Context) ([]horde.UserID, error)
	// Router is what the routers of [Service.Handler] are made of, Pages adds pages to one with this prefix, nil for none, and Version is
	// that of the program.
	Router  api.Options
	Pages   func(r *api.Router, prefix string)
	Version string
	// Country tells where an address is, as an ISO 3166-1 code of two letters, empty for not known. Nil knows none.
	Country func(netip.Addr) string
	// Secret is by what hordes in other programs are known. Empty takes ratings of no other program.
	Secret string
	// NoLimits takes any number of calls.
	NoLimits bool
	// NSFW is the limit below which images are handed out: see [horde.SharedImage].
	NSFW  float64
	Codec *picture.Codec
	Log   *slog.Logger
}

// Service keeps what people think of images. All methods are safe for concurrent use.
type Service struct {
	Config
	mu     sync.Mutex // guards conn
	paying sync.Mutex // held while payments are made, for they are made in order; taken before mu
	conn   *sqlite.Conn
	// exporting is held while exports are written; taken before mu.
	exporting sync.Mutex
	shared    chan horde.SharedImage // to be copied by Run
	limiter   *limit.Limiter
	dataset   string // of images that hordes shared
	random    func() float64
}

// Open opens a service, with an empty data set of shared images at first. Close releases it.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	for _, dir := range []string{"images", "exports"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make a directory of the ratings: %w", err)
		}
	}
	conn, err := openDatabase(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Service{Config: cfg, conn: conn, shared: make(chan horde.SharedImage, 1024), random: mathrand.Float64}
	if !cfg.NoLimits {
		s.limiter = limit.New(limit.DefaultCapacity)
	}
	err = s.change(func() error {
		if err := s.do("insert or ignore into datasets values (?, ?, 'Images that users of the horde shared', ?, 1, 1, 'CC-BY-SA-4.0')",
			nil, uuid.NewString(), "horde shared", hordeShared); err != nil {
			return err
		}
		return s.do("select id from datasets where kind = ?", func(r *sqlite.Stmt) { s.dataset = r.ColumnText(0) }, hordeShared)
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// Close releases the service. Run has returned, or was never called.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn.Close()
}

// Run copies what is shared, pays what is due and writes the exports, until ctx is done.
func (s *Service) Run(ctx context.Context) {
	settle, export := time.NewTicker(settleEvery), time.NewTicker(24*time.Hour)
	defer settle.Stop()
	defer export.Stop()
	if err := s.Export(ctx, time.Now()); err != nil {
		s.Log.Error("the ratings were not exported", "error", err)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case image := <-s.shared:
			err = s.keep(ctx, image)
		case <-settle.C:
			err = errors.Join(s.sweep(time.Now()), s.judge(time.Now().Add(-judgedWithin)), s.Settle(ctx, time.Now()))
		case <-export.C:
			err = s.Export(ctx, time.Now())
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Error("a job of the ratings failed", "error", err)
		}
	}
}

// Share takes note of an image that became public. What does not fit is taken when it is rated.
func (s *Service) Share(image horde.SharedImage) {
	select {
	case s.shared <- image:
	default:
	}
}

// keep copies a shared image, with what is known of it, for good.
func (s *Service) keep(ctx context.Context, image horde.SharedImage) error {
	if _, err := uuid.Parse(image.ID); err != nil {
		return err
	}
	path := s.imagePath(image.ID)
	if _, err := os.Stat(path); err != nil {
		data, err := blob.ReadAll(ctx, s.Blobs, blob.Result(image.ID))
		if err != nil {
			return err
		}
		if err := writeFile(path, data); err != nil {
			return err
		}
		if err := writeFile(strings.TrimSuffix(path, ".webp")+".json", indented(image)); err != nil {
			return err
		}
		if err := s.change(func() error {
			return s.do("update images set active = 1 where id = ? and rating_count = 0", nil, image.ID)
		}); err != nil {
			return err
		}
	}
	return s.change(func() error { return s.addImage(image, time.Now()) })
}

func (s *Service) addImage(i horde.SharedImage, now time.Time) error {
	return s.do(`insert or ignore into images (id, dataset, url, model, prompt, width, height, seed, steps, sampler, cfg, pipeline, nsfw, rand, created)
		values (?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, nil, i.ID, s.dataset, i.Model, i.Prompt, i.Width, i.Height, i.Seed, i.Steps,
		i.Sampler, i.CFG, i.Pipeline, i.NSFW, mathrand.Float64(), now.Unix())
}

// indented is JSON for people.
func indented(v any) []byte {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		panic(err) // a struct of texts and numbers
	}
	return text
}

// writeFile replaces a file as a whole, or not at all.
func writeFile(path string, data []byte) error {
	part := path + ".part"
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func (s *Service) imagePath(id string) string { return filepath.Join(s.Dir, "images", id+".webp") }

// Set takes what was said of the images of one request, once.
func (s *Service) Set(ctx context.Context, set horde.RatingSet) error {
	id, _ := horde.ParseAlias(set.User.Name)
	return s.takeSet(ctx, set, id)
}

// stranger is a user of a horde in another program. Its number says nothing here, so it gets one of its own, below zero.
func stranger(name string) horde.UserID {
	h := fnv.New32a()
	h.Write([]byte(name))
	return -1 - horde.UserID(h.Sum32()>>1)
}

func (s *Service) takeSet(ctx context.Context, set horde.RatingSet, id horde.UserID) error {
	for _, image := range set.Images {
		if err := s.keep(ctx, image); err != nil && !errors.Is(err, blob.ErrNotFound) {
			return err
		}
	}
	now := time.Now()
	return s.change(func() error {
		n, err := s.number("select count(*) from sets where id = ?", set.Set)
		switch {
		case err != nil:
			return err
		case n > 0:
			return horde.ErrAlreadyRated
		}
		if err := s.do("insert into sets values (?, ?)", nil, set.Set, now.Unix()); err != nil {
			return err
		}
		for _, id := range set.All {
			if err := s.addImage(horde.SharedImage{ID: id}, now); err != nil {
				return err
			}
			if _, err := os.Stat(s.imagePath(id)); err != nil { // nobody can look at it here
				if err := s.do("update images set active = 0 where id = ? and url = ''", nil, id); err != nil {
					return err
				}
			}
		}
		for _, r := range set.Rated {
			if err := s.store(stored{
				image: r.ID, rater: raterKey(id), user: id, name: set.User.Name, rating: r.Rating, artifacts: r.Artifacts, source: "post_generation",
				set: set.Set, agent: set.Agent, country: s.countryAt(set.User.Address), kudos: set.User.Kudos, age: int64(set.User.AccountAge), trusted: set.User.Trusted, state: "none",
			}, now); err != nil {
				return err
			}
		}
		for _, other := range set.All {
			if set.Best == "" || other == set.Best {
				continue
			}
			if err := s.do("insert into pairs (set_id, winner, loser, user_id, created) values (?, ?, ?, ?, ?)", nil, set.Set, set.Best, other, int(id), now.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// stored is a rating on its way into the database.
type stored struct {
	image, rater, name string
	user               horde.UserID
	rating             int
	artifacts          *int
	source, set, agent string
	country            string // empty for not known
	popped             int64
	kudos              float64
	age, usage         int64
	trusted, excluded  bool
	reward             int
	state              string
}

// store inserts a rating, unless the rater has rated the image before, and counts it.
func (s *Service) store(r stored, now time.Time) error {
	var artifacts any
	if r.artifacts != nil {
		artifacts = *r.artifacts
	}
	err := s.do(`insert or ignore into ratings (image, rater, user_id, username, day, rating, artifacts, source, set_id, client_agent, country,
		popped, created, kudos, account_age, usage_requests, trusted, excluded, reward, reward_state) values (?,?,?,?,?,?,?,?,?,?,nullif(?,''),?,?,?,?,?,?,?,?,?)`,
		nil, r.image, r.rater, int(r.user), r.name, now.Unix()/86400, r.rating, artifacts, r.source, r.set, clip(r.agent, 200), r.country, r.popped, now.Unix(), r.kudos,
		r.age, r.usage, r.trusted, r.excluded, r.reward, r.state)
	if err != nil || r.excluded || s.conn.Changes() == 0 {
		return err
	}
	return s.recount(r.image)
}

// recount makes the counters of an image from its ratings.
func (s *Service) recount(image string) error {
	return s.do(`update images set (rating_count, rating_sum, artifact_count, artifact_sum, ignored) = (select count(*), coalesce(sum(rating), 0),
		count(artifacts), coalesce(sum(artifacts), 0), 0 from ratings where image = ?1 and excluded = 0) where id = ?1`, nil, image)
}

// countryOf is the country that a call comes from, empty for not known.
func (s *Service) countryOf(c api.Caller) string {
	if s.Country == nil || !c.Addr.IsValid() {
		return ""
	}
	return s.Country(c.Addr)
}

// countryAt is that of an address in a text.
func (s *Service) countryAt(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	return s.countryOf(api.Caller{Addr: addr})
}

func raterKey(id horde.UserID) string { return "u:" + strconv.Itoa(int(id)) }

// secret is the key of a name, made at first. One that is older than life is replaced; 0 keeps it for ever.
func (s *Service) secret(name string, life time.Duration, now time.Time) (key []byte, err error) {
	err = s.do("select value, created from secrets where name = ?", func(r *sqlite.Stmt) {
		if life == 0 || now.Sub(time.Unix(r.ColumnInt64(1), 0)) < life {
			key = make([]byte, r.ColumnLen(0))
			r.ColumnBytes(0, key)
		}
	}, name)
	if err != nil || key != nil {
		return key, err
	}
	key = make([]byte, 32)
	rand.Read(key) // never fails
	return key, s.do("insert or replace into secrets values (?, ?, ?)", nil, name, key, now.Unix())
}

func seal(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// sweep forgets old pops, and takes out images that nobody rates.
func (s *Service) sweep(now time.Time) error {
	old := now.Add(-popLife).Unix()
	return s.change(func() error {
		if err := s.do(`update images set ignored = ignored + (select count(*) from pops where image = images.id and done = 0 and kind = 'normal' and created < ?1)
			where id in (select image from pops where done = 0 and kind = 'normal' and created < ?1)`, nil, old); err != nil {
			return err
		}
		if err := s.do("update images set active = 0 where active = 1 and rating_count = 0 and ignored >= ?", nil, maxIgnored); err != nil {
			return err
		}
		return s.forget("created < ?", old)
	})
}

func clip(text string, n int) string {
	if len(text) > n {
		text = text[:n]
	}
	return strings.ToValidUTF8(text, "")
}
