// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
)

func median(list []float64) *float64 {
	slices.Sort(list)
	n := len(list)
	if n == 0 {
		return nil
	}
	m := (list[(n-1)/2] + list[n/2]) / 2
	return &m
}

// record is a rating as moderators see it. Artifacts are null where nothing was said of them, and never left out.
type record struct {
	Username  string `json:"username,omitempty"`
	Image     string `json:"image,omitempty"`
	Rating    int    `json:"rating"`
	Artifacts *int   `json:"artifacts"`
	Average   *int64 `json:"average,omitempty"`
	Times     *int64 `json:"times_rated,omitempty"`
}

// mayLook refuses whoever is neither a moderator nor the user.
func (s *Service) mayLook(r *http.Request, user horde.UserID, own bool) error {
	known, err := s.Rater(r.Context(), r.Header.Get("apikey"))
	switch {
	case err != nil:
		return err
	case known.Moderator, own && known.ID == user && known.ID != horde.Anonymous:
		return nil
	}
	return errNotModerator
}

// query is what a moderation query asks for. Absent numbers are -1.
type query struct{ rating, artifacts, minimum, limit, offset, diverge, minutes, divergence int }

const maxRecords = 1000 // of one answer

func readQuery(r *http.Request) (q query, where string, _ *horde.Error) {
	form := r.URL.Query()
	number := func(name string, absent int) (int, bool) {
		text := form.Get(name)
		if text == "" {
			return absent, true
		}
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= 0 && n <= math.MaxInt32
	}
	for _, p := range []struct {
		name   string
		to     *int
		absent int
	}{
		{"rating", &q.rating, -1}, {"artifacts", &q.artifacts, -1}, {"min_ratings", &q.minimum, 0}, {"limit", &q.limit, maxRecords},
		{"offset", &q.offset, 0}, {"diverge", &q.diverge, 0}, {"minutes", &q.minutes, -1}, {"divergence", &q.divergence, -1},
	} {
		var ok bool
		if *p.to, ok = number(p.name, p.absent); !ok {
			return q, "", invalid(p.name, "A number is wanted.")
		}
	}
	q.limit = min(q.limit, maxRecords)
	for _, c := range []struct {
		column string
		value  int
	}{{"r.rating", q.rating}, {"r.artifacts", q.artifacts}} {
		name := strings.TrimPrefix(c.column, "r.") + "_comparison"
		sign, ok := map[string]string{"": ">=", "ge": ">=", "le": "<=", "eq": "="}[form.Get(name)]
		if !ok {
			return q, "", invalid(name, "One of ge, le and eq is wanted.")
		}
		if c.value >= 0 {
			where += " and " + c.column + " " + sign + " " + strconv.Itoa(c.value)
		}
	}
	return q, where + " and i.rating_count >= " + strconv.Itoa(q.minimum), nil
}

func artifactsOf(r *sqlite.Stmt, column int) *int {
	if r.ColumnIsNull(column) {
		return nil
	}
	n := r.ColumnInt(column)
	return &n
}

// tenth rounds to one decimal, ties to even.
func tenth(sum, n int64) float64 {
	if n == 0 {
		return 0
	}
	return math.RoundToEven(float64(sum)*10/float64(n)) / 10
}

func (s *Service) imageRatings(r *http.Request, prefix string) (int, any, error) {
	if err := s.mayLook(r, 0, false); err != nil {
		return 0, nil, err
	}
	_, where, refusal := readQuery(r)
	if refusal != nil {
		return 0, nil, refusal
	}
	id, err := uuid.Parse(r.PathValue("image"))
	if err != nil {
		return 0, nil, errImageNotFound
	}
	var (
		url        string
		count, sum int64
		known      bool
	)
	list := []record{}
	err = s.change(func() error {
		if err := s.do("select url, rating_count, rating_sum from images where id = ?", func(r *sqlite.Stmt) {
			url, count, sum, known = r.ColumnText(0), r.ColumnInt64(1), r.ColumnInt64(2), true
		}, id.String()); err != nil {
			return err
		}
		return s.do("select username, r.rating, r.artifacts from ratings r join images i on i.id = r.image where r.image = ? and r.excluded = 0"+where+
			" order by r.id desc limit 1000", func(r *sqlite.Stmt) {
			list = append(list, record{Username: r.ColumnText(0), Rating: r.ColumnInt(1), Artifacts: artifactsOf(r, 2)})
		}, id.String())
	})
	if err == nil && !known {
		err = errImageNotFound
	}
	return http.StatusOK, map[string]any{
		"total": len(list), "image": imageURL(s.base(r, prefix), url, id.String()), "image_id": id.String(), "average": tenth(sum, count), "times_rated": count, "ratings": list,
	}, err
}

func (s *Service) userRatings(r *http.Request) (int, any, error) {
	if err := s.mayLook(r, 0, false); err != nil {
		return 0, nil, err
	}
	q, where, refusal := readQuery(r)
	if refusal != nil {
		return 0, nil, refusal
	}
	list := []record{}
	err := s.change(func() error {
		return s.do("select username, r.image, r.rating, r.artifacts, i.rating_sum / i.rating_count, i.rating_count from ratings r join images i on i.id = r.image "+
			"where r.excluded = 0 and i.rating_count > 0 and abs(r.rating - 1.0 * i.rating_sum / i.rating_count) >= ?1 and (?2 = '' or r.client_agent = ?2)"+where+
			" order by r.id desc limit ?3 offset ?4", func(r *sqlite.Stmt) {
			average, times := r.ColumnInt64(4), r.ColumnInt64(5)
			list = append(list, record{r.ColumnText(0), r.ColumnText(1), r.ColumnInt(2), artifactsOf(r, 3), &average, &times})
		}, q.diverge, r.URL.Query().Get("client_agent"), q.limit, q.offset)
	})
	return http.StatusOK, map[string]any{"total": len(list), "ratings": list}, err
}

func (s *Service) userOf(r *http.Request, own bool) (horde.UserID, error) {
	id, ok := horde.ParseUserID(r.PathValue("user"))
	if !ok {
		return 0, errNotFound
	}
	return id, s.mayLook(r, id, own)
}

// suspect is how far a rating is from what others think for moderators to see it.
const suspect = 3

func (s *Service) userValidate(r *http.Request) (int, any, error) {
	id, err := s.userOf(r, true)
	if err != nil {
		return 0, nil, err
	}
	_, where, refusal := readQuery(r)
	if refusal != nil {
		return 0, nil, refusal
	}
	list := []record{}
	err = s.change(func() error {
		return s.do("select r.image, r.rating, r.artifacts, (i.rating_sum - r.rating) / (i.rating_count - 1), i.rating_count - 1 from ratings r join images i on i.id = r.image "+
			"where r.excluded = 0 and r.user_id = ?1 and i.rating_count > 1 and abs(r.rating - 1.0 * (i.rating_sum - r.rating) / (i.rating_count - 1)) >= ?2"+where+
			" order by r.id desc limit 1000", func(r *sqlite.Stmt) {
			average, times := r.ColumnInt64(3), r.ColumnInt64(4)
			list = append(list, record{"", r.ColumnText(0), r.ColumnInt(1), artifactsOf(r, 2), &average, &times})
		}, int(id), suspect)
	})
	return http.StatusOK, map[string]any{"total": len(list), "ratings": list}, err
}

func (s *Service) userCheck(r *http.Request) (int, any, error) {
	id, err := s.userOf(r, true)
	if err != nil {
		return 0, nil, err
	}
	q, _, refusal := readQuery(r)
	switch {
	case refusal != nil:
		return 0, nil, refusal
	case q.minutes < 1:
		return 0, nil, invalid("minutes", "A number from 1 is wanted.")
	case q.divergence < 0:
		return 0, nil, invalid("divergence", "A number is wanted.")
	}
	now := time.Now()
	since := func(minutes int) int64 { return now.Add(-time.Duration(minutes) * time.Minute).Unix() }
	var within, recent, far, failed int64
	err = s.change(func() (err error) {
		const mine = "select count(*) from ratings where user_id = ? and created >= ?"
		if within, err = s.number(mine, int(id), since(q.minutes)); err != nil {
			return err
		}
		if recent, err = s.number(mine, int(id), since(180)); err != nil {
			return err
		}
		if far, err = s.number("select count(*) from ratings r join images i on i.id = r.image where r.excluded = 0 and r.user_id = ?1 and r.created >= ?2 and "+
			"i.rating_count > 2 and abs(r.rating - 1.0 * (i.rating_sum - r.rating) / (i.rating_count - 1)) > ?3", int(id), since(q.minutes), q.divergence); err != nil {
			return err
		}
		failed, err = s.number("select coalesce(sum(failed - passed), 0) from raters where rater = ?", raterKey(id))
		return err
	})
	return http.StatusOK, map[string]any{
		"ratings_in_timeframe": within, "ratings_per_minute_in_timeframe": float64(within) / float64(q.minutes),
		"ratings_past_three_hours": recent, "ratings_per_minute_for_past_three_hours": float64(recent) / 180,
		"suspect_divergences": far, "captchas_failed": failed,
	}, err
}

// validate says that a moderator has looked at a rater.
func (s *Service) validate(r *http.Request) (int, any, error) {
	id, err := s.userOf(r, false)
	if err != nil {
		return 0, nil, err
	}
	var body struct{ Validated *bool }
	if err := readBody(r, &body); err != nil {
		return 0, nil, err
	}
	if body.Validated == nil {
		return 0, nil, invalid("validated", "true or false is wanted.")
	}
	err = s.change(func() error {
		return s.do("insert into raters (rater, user_id, validated) values (?1, ?2, ?3) on conflict (rater) do update set validated = ?3", nil, raterKey(id), int(id), *body.Validated)
	})
	return http.StatusOK, map[string]any{"validated": *body.Validated}, err
}

// purge excludes all that a user has rated, for moderators and for the user itself. It is kept, and not paid if it was not yet.
func (s *Service) purge(r *http.Request) (int, any, error) {
	id, err := s.userOf(r, true)
	if err != nil {
		return 0, nil, err
	}
	var n int64
	err = s.change(func() error {
		var images []string
		if err := s.do("select distinct image from ratings where user_id = ? and excluded = 0", func(r *sqlite.Stmt) { images = append(images, r.ColumnText(0)) }, int(id)); err != nil {
			return err
		}
		if err := s.do("update ratings set excluded = 1, reward_state = case reward_state when 'paid' then 'paid' else 'void' end where user_id = ? and excluded = 0", nil, int(id)); err != nil {
			return err
		}
		n = int64(s.conn.Changes())
		if err := s.do("update pairs set excluded = 1 where user_id = ?", nil, int(id)); err != nil {
			return err
		}
		for _, image := range images {
			if err := s.recount(image); err != nil {
				return err
			}
		}
		return nil
	})
	return http.StatusOK, map[string]any{"excluded": n}, err
}
