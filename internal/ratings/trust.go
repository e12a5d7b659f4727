// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"errors"
	"math"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"time"

	"zombiezen.com/go/sqlite"
)

// The flags of a rater (ratings chapter, 9): bits of raters.flagged. A flag stops rewards and lowers the weight; the rater is not told.
const (
	flagFlat    = 1 << iota // nearly always the same rating
	flagRandom              // nothing in common with what others think
	flagRepeats             // rates the same image quite differently the second time
)

// flagNames are what moderators read.
var flagNames = []string{"flat", "random", "repeats"}

// When raters are flagged, and when they see an image again (ratings chapter, 7 to 9).
const (
	flatOver       = 100 // latest ratings
	flatShare      = 0.9 // of one value
	flatDeviation  = 0.5 // below which ratings hardly differ
	corrOver       = 20  // images below which the correlation tells nothing
	randomOver     = 50  // images
	randomCorr     = 0.1
	repeatsOver    = 10
	repeatsApart   = 3.0
	repeatChance   = 0.05
	repeatFrom     = 20 // ratings of the rater
	repeatAfter    = 7 * 24 * time.Hour
	othersRatings  = 3 // ratings of an image for its average to count
	judgedWithin   = 2 * settleEvery
	repeatedRecord = "insert or replace into repeats (rater, image, first, rating, created) values (?, ?, ?, ?, ?)"
)

// correlation is Pearson's, from -1 to 1, and 0 where one side never changes.
func correlation(a, b []float64) float64 {
	n := float64(len(a))
	var ma, mb, ab, aa, bb float64
	for i := range a {
		ma, mb = ma+a[i]/n, mb+b[i]/n
	}
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// flat tells whether ratings, each from 1 to 10, are nearly all the same.
func flat(latest []int) bool {
	if len(latest) < flatOver {
		return false
	}
	var counts [11]int
	var sum, squares, most float64
	n := float64(len(latest))
	for _, r := range latest {
		counts[r]++
		most = max(most, float64(counts[r]))
		sum, squares = sum+float64(r), squares+float64(r*r)
	}
	return most >= flatShare*n || math.Sqrt(max(0, squares/n-sum*sum/n/n)) < flatDeviation
}

// judge works out the correlation and the flags of everybody who rated since a time. What a flagged rater was to get becomes void.
// Each rater is a change of its own, so that nobody waits for all of them.
func (s *Service) judge(since time.Time) error {
	users := map[string]int64{}
	if err := s.change(func() error {
		return s.do(`select rater, user_id from ratings where created >= ?1 union select rater, 0 from repeats where created >= ?1`, func(r *sqlite.Stmt) {
			users[r.ColumnText(0)] = max(users[r.ColumnText(0)], r.ColumnInt64(1))
		}, since.Unix())
	}); err != nil {
		return err
	}
	for key, user := range users {
		if err := s.change(func() error { return s.judgeRater(key, user) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) judgeRater(key string, user int64) error {
	var (
		latest       []int
		own, others  []float64
		repeats      int
		apart        float64
		flags        int
		corr         float64
		latestErr    = s.do("select rating from ratings where rater = ? order by id desc limit ?", func(r *sqlite.Stmt) { latest = append(latest, r.ColumnInt(0)) }, key, flatOver)
		correlateErr = s.do(`select r.rating, 1.0 * (i.rating_sum - r.rating) / (i.rating_count - 1) from ratings r join images i on i.id = r.image
			where r.rater = ? and r.excluded = 0 and i.rating_count >= ?`, func(r *sqlite.Stmt) {
			own, others = append(own, r.ColumnFloat(0)), append(others, r.ColumnFloat(1))
		}, key, othersRatings)
		repeatErr = s.do("select count(*), coalesce(avg(abs(first - rating)), 0) from repeats where rater = ?", func(r *sqlite.Stmt) {
			repeats, apart = r.ColumnInt(0), r.ColumnFloat(1)
		}, key)
	)
	if err := errors.Join(latestErr, correlateErr, repeatErr); err != nil {
		return err
	}
	if len(own) >= corrOver {
		corr = correlation(own, others)
	}
	if flat(latest) {
		flags |= flagFlat
	}
	if len(own) >= randomOver && corr < randomCorr {
		flags |= flagRandom
	}
	if repeats >= repeatsOver && apart > repeatsApart {
		flags |= flagRepeats
	}
	if err := s.do("insert into raters (rater, user_id, flagged, corr) values (?1, ?2, ?3, ?4) on conflict (rater) do update set flagged = ?3, corr = ?4, owed = case when ?3 then 0 else owed end",
		nil, key, user, flags, corr); err != nil || flags == 0 {
		return err
	}
	return s.do("update ratings set reward_state = 'void' where rater = ? and reward_state in ('pending', 'due')", nil, key)
}

// repeat chooses an image that the rater rated long ago, to compare. p stays empty where there is none.
func (s *Service) repeat(w *who, p *popped, dataset, model string, now time.Time) error {
	n, err := s.number("select count(*) from (select 1 from ratings where rater = ? limit ?)", w.key, repeatFrom)
	if err != nil || n < repeatFrom {
		return err
	}
	first := 0
	if err := s.do(`select i.id, i.url, r.rating from ratings r join images i on i.id = r.image where r.rater = ?1 and r.created <= ?2 and r.source = 'pop'
		and i.dataset = ?3 and i.active = 1 and i.nsfw < ?5 and (?4 = '' or i.model = ?4)
		and not exists (select 1 from repeats q where q.rater = ?1 and q.image = i.id)
		and not exists (select 1 from pops p where p.rater = ?1 and p.image = i.id and p.done = 0) order by random() limit 1`, func(r *sqlite.Stmt) {
		*p, first = popped{r.ColumnText(0), r.ColumnText(1), dataset}, r.ColumnInt(2)
	}, w.key, now.Add(-repeatAfter).Unix(), dataset, model, s.NSFW); err != nil || p.ID == "" {
		return err
	}
	return s.do("insert or replace into pops (rater, image, kind, answer, created) values (?, ?, 'repeat', ?, ?)", nil, w.key, p.ID, first, now.Unix())
}

// repeated tells whether a rater gave this rating the second time just now: the call is a repetition.
func (s *Service) repeated(w *who, id string, rating int, now time.Time) (bool, error) {
	n, err := s.number("select count(*) from repeats where rater = ? and image = ? and rating = ? and created >= ?", w.key, id, rating, now.Add(-repeatWithin).Unix())
	return n > 0, err
}

// forget deletes pops, and the pictures of captchas among them, which nobody can answer any more.
func (s *Service) forget(where string, args ...any) error {
	if err := s.do("select image from pops where kind = 'captcha' and done = 0 and ("+where+")", func(r *sqlite.Stmt) {
		os.Remove(s.imagePath(r.ColumnText(0))) // gone already, or left to the operator
	}, args...); err != nil {
		return err
	}
	return s.do("delete from pops where "+where, nil, args...)
}

// flagsOf are the names of the flags that are set.
func flagsOf(bits int) []string {
	list := []string{}
	for i, name := range flagNames {
		if bits&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// disownWiped puts what erased accounts have rated under random negative numbers: it stays, and is nobody's.
func (s *Service) disownWiped(ctx context.Context) error {
	if s.Wiped == nil {
		return nil
	}
	ids, err := s.Wiped(ctx)
	if err != nil {
		return err
	}
	return s.change(func() error {
		for _, id := range ids {
			key, nobody := raterKey(id), -1-mathrand.Int64N(1<<62)
			other := "d:" + strconv.FormatInt(nobody, 10)
			if err := s.forget("rater = ?", key); err != nil {
				return err
			}
			if err := s.do(`update ratings set user_id = ?1, rater = ?2, username = '',
				reward_state = case when reward_state in ('pending', 'due') then 'void' else reward_state end where user_id = ?3`, nil, nobody, other, int(id)); err != nil {
				return err
			}
			for _, query := range []string{
				"update pairs set user_id = ?1 where user_id = ?3 and ?2 <> ''", "update raters set user_id = ?1, rater = ?2 where user_id = ?3",
				"update repeats set rater = ?2 where rater = 'u:' || ?3 and ?1 < 0",
			} {
				if err := s.do(query, nil, nobody, other, int(id)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
