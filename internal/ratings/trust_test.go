// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
)

// rated stores ratings of one user, made some time ago.
func (s *service) rated(user, image string, rating int, ago time.Duration) {
	s.t.Helper()
	id, _ := horde.ParseUserID(user)
	if err := s.change(func() error {
		return s.store(stored{image: image, rater: raterKey(id), user: id, name: "x#" + user, rating: rating, source: "pop", reward: reward, state: "pending"}, time.Now().Add(-ago))
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) ids() (list []string) {
	if err := s.change(func() error {
		return s.do("select id from images order by id", func(r *sqlite.Stmt) { list = append(list, r.ColumnText(0)) })
	}); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// Who is flagged, and how much everybody counts: ratings chapter, sections 8 and 9.
func TestFlags(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.images(120)
	for i, id := range s.ids() {
		good := 1 + i%10
		s.rated("10", id, good, time.Hour)
		s.rated("11", id, good, time.Hour)
		s.rated("12", id, min(10, good+1), time.Hour)   // agrees
		s.rated("13", id, 1+(i*7+i/10*3)%10, time.Hour) // agrees only by chance
		s.rated("14", id, 10, time.Hour)
	}
	if err := s.judge(time.Time{}); err != nil {
		t.Fatal(err)
	}
	flags, corr := map[string]int{}, map[string]float64{}
	if err := s.change(func() error {
		return s.do("select rater, flagged, corr from raters", func(r *sqlite.Stmt) {
			flags[r.ColumnText(0)], corr[r.ColumnText(0)] = r.ColumnInt(1), r.ColumnFloat(2)
		})
	}); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]int{"u:10": 0, "u:12": 0, "u:13": flagRandom, "u:14": flagFlat | flagRandom} {
		if flags[user] != want {
			t.Errorf("%s has flags %d (corr %.3f), want %d", user, flags[user], corr[user], want)
		}
	}
	if corr["u:12"] < 0.8 {
		t.Errorf("who agrees has a correlation of %v", corr["u:12"])
	}
	n, err := s.number("select count(*) from ratings where rater = 'u:14' and reward_state <> 'void'")
	if err != nil || n != 0 {
		t.Errorf("%d rewards of a flagged rater are not void, %v", n, err)
	}
	got := s.call("GET", "/user/flagged", "1", "", http.StatusOK)
	if got["total"] != 2.0 {
		t.Errorf("moderators see %v", got)
	}
	s.call("GET", "/user/flagged", "14", "", http.StatusForbidden)
	rows, err := s.exportedRatings()
	if err != nil {
		t.Fatal(err)
	}
	if want := weight(corr["u:10"], false, false, false, 0); math.Abs(rows[0].Weight-want) > 1e-9 || want < 0.7 {
		t.Errorf("the weight of who agrees is %v, want %v", rows[0].Weight, want)
	}
}

// exportedRatings are the rows that an export has now.
func (s *service) exportedRatings() (list []ratingRow, _ error) {
	return list, s.snapshot(s.t.Context(), time.Now(), func(x *snapshot) error {
		return x.ratings(func(r *ratingRow) error { list = append(list, *r); return nil })
	})
}

func TestFlat(t *testing.T) {
	t.Parallel()
	mixed := func(n, most, a, b int) []int {
		list := make([]int, n)
		for i := range list {
			if list[i] = a; i >= most {
				list[i] = b
			}
		}
		return list
	}
	for _, c := range []struct {
		list []int
		want bool
	}{
		{mixed(99, 99, 5, 5), false}, // too few
		{mixed(100, 90, 1, 10), true},
		{mixed(100, 89, 1, 10), false},
		{mixed(100, 60, 5, 6), true},  // a deviation of 0.49
		{mixed(100, 50, 5, 6), false}, // of 0.5
	} {
		if got := flat(c.list); got != c.want {
			t.Errorf("%v: %v", c.list, got)
		}
	}
}

// An image that was rated long ago comes again, and what is said of it is kept apart.
func TestRepeats(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.images(20)
	for _, id := range s.ids() {
		s.rated("7", id, 2, 8*24*time.Hour)
	}
	s.call("GET", "/rating/new", "7", "", http.StatusNotFound) // nothing new, and chance did not choose a repeat
	for i := range 10 {
		draws := 0
		s.random = func() float64 { // the first draw is the one of repeats
			if draws++; draws == 1 {
				return 0.01
			}
			return 0.99
		}
		id := s.call("GET", "/rating/new", "7", "", http.StatusOK)["id"].(string)
		s.call("POST", "/rating/"+id, "7", `{"rating":9}`, http.StatusCreated)
		if i == 0 {
			s.call("POST", "/rating/"+id, "7", `{"rating":9}`, http.StatusCreated)
			s.call("POST", "/rating/"+id, "7", `{"rating":3}`, http.StatusForbidden)
		}
	}
	n, err := s.number("select count(*) from ratings where rating = 9")
	if err != nil || n != 0 {
		t.Errorf("%d repeats are among the ratings, %v", n, err)
	}
	if err := s.judge(time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.number("select flagged from raters where rater = 'u:7'"); err != nil || n != flagRepeats {
		t.Errorf("flags %d, %v", n, err)
	}
}

// What a moderator learns of speed: worked example 16. What is stored: example 13.
func TestCheckAndStored(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.images(183)
	for _, id := range s.ids() {
		s.rated("123", id, 5, time.Hour)
	}
	got := s.call("GET", "/user/check/123?minutes=120&divergence=3", "1", "", http.StatusOK)
	if got["ratings_per_minute_in_timeframe"] != 1.525 || got["ratings_past_three_hours"] != 183.0 || got["ratings_per_minute_for_past_three_hours"] != 1.0166666666666666 {
		t.Errorf("user check: %v", got)
	}
	id := s.call("GET", "/rating/new", "7", "", http.StatusOK)["id"].(string)
	s.aged(2 * time.Second)
	s.call("POST", "/rating/"+id, "7", `{"rating":5,"artifacts":6}`, http.StatusBadRequest)
	s.call("POST", "/rating/"+id, "7", `{"rating":5,"artifacts":"GARBAGE"}`, http.StatusCreated)
	if n, err := s.number("select artifacts from ratings where rater = 'u:7'"); err != nil || n != 5 {
		t.Errorf("stored artifacts: %d, %v", n, err)
	}
}

// For how long a failed captcha sends away: worked example 15.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s := open(t)
	for k, want := range map[int64]int{1: 300, 3: 1200, 10: 86400} {
		user := fmt.Sprint(100 + k)
		w := &who{key: "u:" + user, row: k - 1}
		var refusal error
		now := time.Now()
		if err := s.change(func() error { return s.captcha(w, false, &refusal, now) }); err != nil {
			t.Fatal(err)
		}
		until, err := s.number("select timeout_until from raters where rater = ?", w.key)
		if err != nil || until-now.Unix() != int64(want) {
			t.Errorf("failure %d: %d s, want %d; %v", k, until-now.Unix(), want, err)
		}
		req := httptest.NewRequest("GET", "/ratings/api/v1/rating/new", nil)
		req.Header.Set("apikey", user)
		rec := httptest.NewRecorder()
		s.http.ServeHTTP(rec, req)
		// The second in which it failed may have ended.
		if wait, err := strconv.Atoi(rec.Header().Get("Retry-After")); rec.Code != http.StatusTooManyRequests || err != nil || wait > want || wait < want-1 {
			t.Errorf("failure %d: %d, Retry-After %q, want %d", k, rec.Code, rec.Header().Get("Retry-After"), want)
		}
	}
}

// The picture of a captcha goes when nobody can answer it any more.
func TestCaptchaFiles(t *testing.T) {
	t.Parallel()
	s := open(t)
	for i, age := range []time.Duration{11 * time.Minute, 31 * time.Minute} {
		id := uuid.NewString()
		if err := s.change(func() error {
			return s.do("insert into pops (rater, image, kind, answer, created) values ('u:7', ?, 'captcha', 7, ?)", nil, id, time.Now().Add(-age).Unix())
		}); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(s.imagePath(id), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			s.call("GET", "/rating/new", "7", "", http.StatusNotFound)
		} else if err := s.sweep(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.imagePath(id)); !os.IsNotExist(err) {
			t.Errorf("the picture of a captcha of %v is there: %v", age, err)
		}
	}
}

// The ratings of an erased account stay under another hash; whoever asks is left out; the data card tells all that.
func TestRemoval(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.images(1)
	id := s.ids()[0]
	for _, user := range []string{"7", "8", "9"} {
		s.rated(user, id, 5, time.Hour)
	}
	s.call("DELETE", "/user/ratings/9", "8", "", http.StatusForbidden)
	s.call("DELETE", "/user/ratings/9", "9", "", http.StatusOK)
	before, err := s.exportedRatings()
	if err != nil || len(before) != 2 {
		t.Fatalf("%d rows, %v", len(before), err)
	}
	s.Wiped = func(context.Context) ([]horde.UserID, error) { return []horde.UserID{7}, nil }
	for range 2 {
		if err := s.Export(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.exportedRatings()
	if err != nil || len(after) != 2 || after[0].UserID == before[0].UserID || after[1].UserID != before[1].UserID {
		t.Errorf("after an account was erased: %+v, %v", after, err)
	}
	if n, err := s.number("select count(*) from ratings where username = 'x#7' or rater = 'u:7' or user_id = 7"); err != nil || n != 0 {
		t.Errorf("%d ratings are still of the erased account, %v", n, err)
	}
	card, err := os.ReadFile(filepath.Join(s.Dir, "exports", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| `id` | string |", "| `weight` | double | 0 to 1", "| Country | Ratings |\n| --- | --- |\n| not known | 2 |", "## Changes", "2 ratings"} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the data card lacks %q", want)
		}
	}
	for _, line := range strings.Split(string(card), "\n") {
		if strings.HasSuffix(line, "|  |") {
			t.Errorf("a column without a meaning: %s", line)
		}
	}
}

// A captcha that was passed is paid like a rating, once, and not to raters who are flagged.
func TestPassedCaptchasArePaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, key, rater string
		user             horde.UserID
		flags            int
		want             horde.Kudos
	}{
		{"a user", "7", "u:7", 7, 0, 5_00},
		{"flagged", "7", "u:7", 7, flagFlat, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			id := uuid.NewString()
			if err := s.change(func() error {
				if err := s.do("insert into raters (rater, user_id, flagged) values (?, ?, ?)", nil, c.rater, int(c.user), c.flags); err != nil {
					return err
				}
				return s.do("insert into pops (rater, image, kind, answer, created) values (?, ?, 'captcha', 7, ?)", nil, c.rater, id, time.Now().Unix())
			}); err != nil {
				t.Fatal(err)
			}
			if got := s.call("POST", "/rating/"+id, c.key, `{"rating":7}`, http.StatusCreated); got["reward"] != 5.0 {
				t.Errorf("the answer is %v", got)
			}
			for range 2 {
				if err := s.Settle(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if s.till.paid[c.user] != c.want {
				t.Errorf("paid %v, want %v", s.till.paid[c.user], c.want)
			}
		})
	}
}
