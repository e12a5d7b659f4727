// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"image"
	"image/color"
	"image/draw"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goitalic"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/gofont/gosmallcaps"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"zombiezen.com/go/sqlite"

	"horde/internal/engine"
	"horde/internal/horde"
)

// popped is an image that somebody is to rate.
type popped struct {
	ID      string `json:"id"`
	URL     string `json:"url" format:"uri" doc:"Where the image is, for at least half an hour."`
	Dataset string `json:"dataset_id"`
}

// who is a rater as the service knows it.
type who struct {
	engine.Rater
	key, agent, country         string
	passed, failed, row, toPass int64
	flagged                     bool
	timeout                     time.Time
}

// load reads what the service knows of a rater, with the lock.
func (s *Service) load(w *who) error {
	return s.do("select passed, failed, failed_in_row, to_pass, timeout_until, flagged from raters where rater = ?", func(r *sqlite.Stmt) {
		w.passed, w.failed, w.row, w.toPass = r.ColumnInt64(0), r.ColumnInt64(1), r.ColumnInt64(2), r.ColumnInt64(3)
		w.timeout, w.flagged = time.Unix(r.ColumnInt64(4), 0), r.ColumnBool(5)
	}, w.key)
}

// captchaChance is how often a rater is asked to prove that it looks (ratings chapter, 9).
func (s *Service) captchaChance(w *who) (float64, error) {
	n, err := s.number("select count(*) from (select 1 from ratings where rater = ? limit 50)", w.key)
	switch {
	case w.toPass > 0:
		return 0.20, err
	case w.ID == horde.Anonymous, w.Age < 7*24*time.Hour, n < 50:
		return 0.10, err
	}
	return 0.05, err
}

// next chooses what a rater sees next (ratings chapter, 7), or refuses with a 404.
func (s *Service) next(ctx context.Context, w *who, dataset, model string, now time.Time) (p popped, err error) {
	if dataset == "" {
		dataset = s.dataset
	}
	captcha := 0
	err = s.change(func() error {
		if err := s.forget("rater = ? and (created < ? or kind = 'captcha' and created < ?)", w.key,
			now.Add(-popLife).Unix(), now.Add(-captchaWait).Unix()); err != nil {
			return err
		}
		open, err := s.number("select count(*) from pops where rater = ? and done = 0", w.key)
		if err != nil {
			return err
		}
		if open >= maxOpenPops {
			if err := s.forget("rater = ?1 and image in (select image from pops where rater = ?1 and done = 0 order by created limit 1)", w.key); err != nil {
				return err
			}
		}
		if err := s.choose(w, &p, dataset, model, now); err != nil {
			return err
		}
		chance, err := s.captchaChance(w)
		if err != nil || s.random() >= chance {
			return err
		}
		for captcha = 5; captcha == 5; { // one client has 5 chosen already
			captcha = 1 + rand.IntN(10)
		}
		return nil
	})
	if err != nil || captcha == 0 {
		return p, err
	}
	trap := popped{ID: uuid.NewString(), Dataset: p.Dataset}
	if err := s.drawCaptcha(ctx, p.ID, trap.ID, captcha); err != nil {
		return p, nil // the image cannot be drawn on; it was popped all the same
	}
	return trap, s.change(func() error {
		if err := s.do("delete from pops where rater = ? and image = ?", nil, w.key, p.ID); err != nil {
			return err
		}
		return s.do("insert into pops (rater, image, kind, answer, created) values (?, ?, 'captcha', ?, ?)", nil, w.key, trap.ID, captcha, now.Unix())
	})
}

func (s *Service) choose(w *who, p *popped, dataset, model string, now time.Time) error {
	n, err := s.number("select count(*) from datasets where id = ? and active = 1", dataset)
	if err != nil {
		return err
	}
	if n == 0 {
		return errNothingLeft
	}
	if s.random() < repeatChance {
		if err := s.repeat(w, p, dataset, model, now); err != nil || p.ID != "" {
			return err
		}
	}
	groups := []string{"rating_count = 0", "rating_count between 1 and 4"}
	if s.random() < 0.7 {
		groups[0], groups[1] = groups[1], groups[0]
	}
	const (
		free = ` from images i where dataset = ?1 and active = 1 and nsfw < ?4 and (?3 = '' or model = ?3)
			and not exists (select 1 from ratings r where r.image = i.id and r.rater = ?2)
			and not exists (select 1 from pops p where p.image = i.id and p.rater = ?2 and p.done = 0)`
		few = ` and rating_count + (select count(*) from pops p where p.image = i.id and p.done = 0) < 5 and `
	)
	take := func(r *sqlite.Stmt) { *p = popped{r.ColumnText(0), r.ColumnText(1), dataset} }
	for _, group := range groups {
		for _, from := range []float64{s.random(), 0} {
			if p.ID == "" {
				if err := s.do("select id, url"+free+few+group+" and rand >= ?5 order by rating_count desc, rand limit 1", take, dataset, w.key, model, s.NSFW, from); err != nil {
					return err
				}
			}
		}
	}
	if p.ID == "" {
		if err := s.do("select id, url"+free+" and rating_count >= 5 order by rating_count, rand limit 1", take, dataset, w.key, model, s.NSFW); err != nil {
			return err
		}
	}
	if p.ID == "" {
		return errNothingLeft
	}
	return s.do("insert or replace into pops (rater, image, kind, created, milli) values (?, ?, 'normal', ?, ?)", nil, w.key, p.ID, now.Unix(), now.UnixMilli()%1000)
}

// captchaTexts say what to do, with the number behind.
var captchaTexts = []string{"You must rate this image ", "Rate this image ", "Please give this one a ", "Bewerte dieses Bild mit ", "Notez cette image ", "Califica esta imagen con "}

// captchaFonts are what these texts are written in.
var captchaFonts = [][]byte{gobold.TTF, goitalic.TTF, gomonobold.TTF, gosmallcaps.TTF}

const captchaPixels = 3072 * 3072 // of an image that is drawn on, at most

// drawCaptcha draws on a copy of an image which rating it must get.
func (s *Service) drawCaptcha(ctx context.Context, from, to string, number int) error {
	data, err := os.ReadFile(s.imagePath(from))
	if err != nil {
		return err
	}
	m, err := s.Codec.Decode(ctx, data, captchaPixels)
	if err != nil {
		return err
	}
	parsed, err := opentype.Parse(captchaFonts[rand.IntN(len(captchaFonts))])
	if err != nil {
		return err
	}
	text, width := captchaTexts[rand.IntN(len(captchaTexts))]+strconv.Itoa(number), m.Bounds().Dx()
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: float64(width) / float64(utf8.RuneCountInString(text)) * (1.1 + 0.4*rand.Float64()), DPI: 72})
	if err != nil {
		return err
	}
	defer face.Close()
	size := font.MeasureString(face, text).Ceil()
	x := rand.IntN(max(1, width-size))
	y := face.Metrics().Ascent.Ceil() + rand.IntN(max(1, m.Bounds().Dy()-face.Metrics().Height.Ceil()))
	back := image.Rect(x-4, y-face.Metrics().Ascent.Ceil()-2, x+size+4, y+face.Metrics().Descent.Ceil()+2)
	shade := uint8(rand.IntN(60))
	draw.Draw(m.NRGBA, back, image.NewUniform(color.NRGBA{shade, shade, shade, 190}), image.Point{}, draw.Over)
	ink := color.NRGBA{uint8(180 + rand.IntN(76)), uint8(180 + rand.IntN(76)), uint8(180 + rand.IntN(76)), 255}
	d := font.Drawer{Dst: m.NRGBA, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
	webp, err := s.Codec.Encode(ctx, m.NRGBA, 90)
	if err != nil {
		return err
	}
	return writeFile(s.imagePath(to), webp)
}

// answered is what becomes of a rating that a rater sent.
func (s *Service) rate(w *who, id string, rating int, artifacts *int, now time.Time) (refusal error, _ error) {
	err := s.change(func() error {
		known, before, when := false, 0, int64(0)
		var broken any
		if err := s.do("select rating, artifacts, created from ratings where image = ? and rater = ? and source = 'pop' order by id desc limit 1", func(r *sqlite.Stmt) {
			known, before, when = true, r.ColumnInt(0), r.ColumnInt64(2)
			if !r.ColumnIsNull(1) {
				broken = r.ColumnInt(1)
			}
		}, id, w.key); err != nil {
			return err
		}
		same := before == rating && (artifacts == nil && broken == nil || artifacts != nil && broken == any(*artifacts))
		if known && same && now.Unix()-when <= int64(repeatWithin/time.Second) {
			return nil
		}
		var (
			kind     string
			answer   int
			poppedAt int64 // seconds since 1970
			milli    int64 // and milliseconds
			done     bool
		)
		if err := s.do("select kind, coalesce(answer, 0), created, done, milli from pops where rater = ? and image = ?", func(r *sqlite.Stmt) {
			kind, answer, poppedAt, done, milli = r.ColumnText(0), r.ColumnInt(1), r.ColumnInt64(2), r.ColumnBool(3), r.ColumnInt64(4)
		}, w.key, id); err != nil {
			return err
		}
		if kind == "repeat" && done {
			again, err := s.repeated(w, id, rating, now)
			if !again {
				refusal = errAlreadyRated
			}
			return err
		}
		switch {
		case known && kind != "repeat" && w.ID != horde.Anonymous:
			refusal = errAlreadyRated
			return nil
		case kind == "":
			n, err := s.number("select count(*) from images where id = ?", id)
			if refusal = errNotPopped; n == 0 {
				refusal = errImageNotFound
			}
			return err
		case done || now.Unix()-poppedAt > int64(popLife/time.Second):
			refusal = errNotPopped
			return nil
		}
		if err := s.do("update pops set done = 1 where rater = ? and image = ?", nil, w.key, id); err != nil {
			return err
		}
		if kind == "captcha" {
			os.Remove(s.imagePath(id)) // nobody needs it any more
			return s.captcha(w, answer == rating, &refusal, now)
		}
		if kind == "repeat" {
			if err := s.do(repeatedRecord, nil, w.key, id, answer, rating, now.Unix()); err != nil {
				return err
			}
			return s.owe(w, now)
		}
		r := stored{
			image: id, rater: w.key, user: w.ID, name: w.Name, rating: rating, artifacts: artifacts, source: "pop", agent: w.agent, country: w.country, popped: poppedAt,
			kudos: w.Kudos, age: int64(w.Age / time.Second), usage: w.Requests, trusted: w.Trusted, reward: reward, state: "pending",
			excluded: now.UnixMilli()-poppedAt*1000-milli < speedFloor.Milliseconds(),
		}
		paid, err := s.paidToday(w, now)
		if err != nil {
			return err
		}
		switch {
		case w.ID == horde.Anonymous:
			r.kudos, r.state = -50, "none"
		case r.excluded, w.flagged, paid >= paidPerDay:
			r.state = "none"
		}
		return s.store(r, now)
	})
	return refusal, err
}

// captcha counts the answer to a captcha: passing makes what is pending due, failing makes it void and sends the rater away.
func (s *Service) captcha(w *who, passed bool, refusal *error, now time.Time) error {
	if err := s.do("insert or ignore into raters (rater, user_id) values (?, ?)", nil, w.key, int(w.ID)); err != nil {
		return err
	}
	if passed {
		if err := s.do("update raters set passed = passed + 1, failed_in_row = 0, to_pass = max(0, to_pass - 1), last_pass = ? where rater = ?", nil, now.Unix(), w.key); err != nil {
			return err
		}
		if err := s.do("update ratings set reward_state = 'due' where rater = ? and reward_state = 'pending'", nil, w.key); err != nil {
			return err
		}
		return s.owe(w, now)
	}
	*refusal = errCaptchaFailed
	until := now.Add(captchaTimeout(w.row + 1))
	if err := s.do("update raters set failed = failed + 1, failed_in_row = failed_in_row + 1, to_pass = 3, timeout_until = ? where rater = ?", nil, until.Unix(), w.key); err != nil {
		return err
	}
	return s.do("update ratings set reward_state = 'void' where rater = ? and reward_state = 'pending'", nil, w.key)
}

// owe is the reward of an answer that is no rating of its own: to a captcha, or to an image for the second time.
func (s *Service) owe(w *who, now time.Time) error {
	if w.ID == horde.Anonymous || w.flagged {
		return nil
	}
	if paid, err := s.paidToday(w, now); err != nil || paid >= paidPerDay {
		return err
	}
	return s.do(`insert into raters (rater, user_id, owed, extra, extra_from) values (?1, ?2, ?3, 1, ?4) on conflict (rater) do update set owed = owed + ?3,
		extra = case when extra_from > ?5 then extra + 1 else 1 end, extra_from = case when extra_from > ?5 then extra_from else ?4 end`,
		nil, w.key, int(w.ID), reward, now.Unix(), now.Add(-24*time.Hour).Unix())
}

// paidToday counts what a rater is paid for of the last 24 hours: ratings, and since extra_from other answers.
func (s *Service) paidToday(w *who, now time.Time) (int64, error) {
	since := now.Add(-24 * time.Hour).Unix()
	rated, err := s.number("select count(*) from ratings where rater = ? and created > ? and reward_state in ('pending', 'due', 'paid')", w.key, since)
	if err != nil {
		return 0, err
	}
	extra, err := s.number("select coalesce(sum(extra), 0) from raters where rater = ? and extra_from > ?", w.key, since)
	return rated + extra, err
}

// captchaTimeout is how long a rater is sent away after so many failures in a row.
func captchaTimeout(failures int64) time.Duration {
	return min(5*time.Minute<<min(failures-1, 20), 1440*time.Minute)
}
