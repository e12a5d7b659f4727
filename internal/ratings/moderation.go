// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/api"
	"horde/internal/horde"
)

// What moderators see of a rating. Artifacts are null where nothing was said of them, and never left out.
type (
	ratingOfImage struct {
		Username  string `json:"username"`
		Rating    int    `json:"rating"`
		Artifacts *int   `json:"artifacts"`
	}
	ratingOfUser struct {
		Image     string `json:"image"`
		Rating    int    `json:"rating"`
		Artifacts *int   `json:"artifacts"`
		Average   int64  `json:"average"`
		Times     int64  `json:"times_rated"`
	}
	ratingOfAnybody struct {
		Username string `json:"username"`
		ratingOfUser
	}
)

// filter is what the queries of moderators have in common.
type filter struct {
	Format              string `query:"format" enum:"json,html" emptyabsent:"true" doc:"html is a table for people."`
	Rating              *int   `query:"rating" minimum:"0"`
	RatingComparison    string `query:"rating_comparison" enum:"ge,le,eq" emptyabsent:"true" default:"ge"`
	Artifacts           *int   `query:"artifacts" minimum:"0"`
	ArtifactsComparison string `query:"artifacts_comparison" enum:"ge,le,eq" emptyabsent:"true" default:"ge"`
	MinRatings          int32  `query:"min_ratings" minimum:"0" doc:"Of the image, at least."`
}

// maxRecords is how many ratings one answer has at most.
const maxRecords = 1000

// signs are the comparisons in SQL.
var signs = map[string]string{"": ">=", "ge": ">=", "le": "<=", "eq": "="}

// where is the filter as a part of a condition on a rating r of an image i.
func (f *filter) where() string {
	text := " and i.rating_count >= " + strconv.Itoa(int(f.MinRatings))
	if f.Rating != nil {
		text += " and r.rating " + signs[f.RatingComparison] + " " + strconv.Itoa(*f.Rating)
	}
	if f.Artifacts != nil {
		text += " and r.artifacts " + signs[f.ArtifactsComparison] + " " + strconv.Itoa(*f.Artifacts)
	}
	return text
}

// mayLook refuses whoever is neither a moderator nor, where own is set, the user. It tells which of the two the caller is.
func (s *Service) mayLook(ctx context.Context, key string, user horde.UserID, own bool) (moderator bool, _ error) {
	known, err := s.Rater(ctx, key)
	switch {
	case err != nil:
		return false, err
	case known.Moderator, own && known.ID == user && known.ID != horde.Anonymous:
		return known.Moderator, nil
	}
	return false, errNotModerator
}

// lookedAt reads the id of a user, and refuses like mayLook.
func (s *Service) lookedAt(ctx context.Context, key, user string, own bool) (_ horde.UserID, moderator bool, _ error) {
	id, ok := horde.ParseUserID(user)
	if !ok {
		return 0, false, errNotFound
	}
	moderator, err := s.mayLook(ctx, key, id, own)
	return id, moderator, err
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

type imageInput struct {
	api.LateKey
	filter
	Image string `path:"image_id"`
}

type ratingsOfImage struct {
	Total   int             `json:"total"`
	Image   string          `json:"image" doc:"Where it is."`
	ID      string          `json:"image_id"`
	Average float64         `json:"average"`
	Times   int64           `json:"times_rated"`
	Ratings []ratingOfImage `json:"ratings"`
}

func (v *served) imageRatings(ctx context.Context, c *api.Call[imageInput]) (int, *ratingsOfImage, error) {
	if _, err := v.mayLook(ctx, c.In.APIKey, 0, false); err != nil {
		return 0, nil, err
	}
	id, err := uuid.Parse(c.In.Image)
	if err != nil || len(c.In.Image) != uuidLength {
		return 0, nil, errImageNotFound
	}
	var (
		url   string
		sum   int64
		known bool
		out   = &ratingsOfImage{ID: id.String(), Ratings: []ratingOfImage{}}
	)
	err = v.change(func() error {
		if err := v.do("select url, rating_count, rating_sum from images where id = ?", func(r *sqlite.Stmt) {
			url, out.Times, sum, known = r.ColumnText(0), r.ColumnInt64(1), r.ColumnInt64(2), true
		}, out.ID); err != nil {
			return err
		}
		return v.do("select username, r.rating, r.artifacts from ratings r join images i on i.id = r.image where r.image = ? and r.excluded = 0"+c.In.where()+
			" order by r.id desc limit ?", func(r *sqlite.Stmt) {
			out.Ratings = append(out.Ratings, ratingOfImage{r.ColumnText(0), r.ColumnInt(1), artifactsOf(r, 2)})
		}, out.ID, maxRecords)
	})
	if err == nil && !known {
		err = errImageNotFound
	}
	out.Total, out.Image, out.Average = len(out.Ratings), imageURL(v.base(c.Request), url, out.ID), tenth(sum, out.Times)
	return http.StatusOK, out, err
}

type ratingsInput struct {
	api.LateKey
	filter
	Limit   *int32 `query:"limit" minimum:"0" doc:"1000 are the most."`
	Offset  int32  `query:"offset" minimum:"0"`
	Diverge int32  `query:"diverge" minimum:"0" doc:"From the average of the image, at least."`
	Agent   string `query:"client_agent"`
}

type ratingsOfAnybody struct {
	Total   int               `json:"total"`
	Ratings []ratingOfAnybody `json:"ratings"`
}

func (v *served) userRatings(ctx context.Context, c *api.Call[ratingsInput]) (int, *ratingsOfAnybody, error) {
	if _, err := v.mayLook(ctx, c.In.APIKey, 0, false); err != nil {
		return 0, nil, err
	}
	most := maxRecords
	if c.In.Limit != nil {
		most = min(most, int(*c.In.Limit))
	}
	list := []ratingOfAnybody{}
	err := v.change(func() error {
		return v.do("select username, r.image, r.rating, r.artifacts, i.rating_sum / i.rating_count, i.rating_count from ratings r join images i on i.id = r.image "+
			"where r.excluded = 0 and i.rating_count > 0 and abs(r.rating - 1.0 * i.rating_sum / i.rating_count) >= ?1 and (?2 = '' or r.client_agent = ?2)"+c.In.where()+
			" order by r.id desc limit ?3 offset ?4", func(r *sqlite.Stmt) {
			list = append(list, ratingOfAnybody{r.ColumnText(0), ratingOfUser{r.ColumnText(1), r.ColumnInt(2), artifactsOf(r, 3), r.ColumnInt64(4), r.ColumnInt64(5)}})
		}, int(c.In.Diverge), c.In.Agent, most, int(c.In.Offset))
	})
	return http.StatusOK, &ratingsOfAnybody{len(list), list}, err
}

// suspect is how far a rating is from what others think for moderators to see it.
const suspect = 3

type userInput struct {
	api.LateKey
	filter
	User string `path:"user_id" doc:"The number behind the name."`
}

type ratingsOfUser struct {
	Total   int            `json:"total"`
	Ratings []ratingOfUser `json:"ratings"`
}

func (v *served) userValidate(ctx context.Context, c *api.Call[userInput]) (int, *ratingsOfUser, error) {
	id, _, err := v.lookedAt(ctx, c.In.APIKey, c.In.User, true)
	if err != nil {
		return 0, nil, err
	}
	list := []ratingOfUser{}
	err = v.change(func() error {
		// The average is an integer, and the difference is from that: a rating of 4 and an average of 1.9 differ by 3.
		return v.do("select r.image, r.rating, r.artifacts, (i.rating_sum - r.rating) / (i.rating_count - 1), i.rating_count - 1 from ratings r join images i on i.id = r.image "+
			"where r.excluded = 0 and r.user_id = ?1 and i.rating_count > 1 and abs(r.rating - (i.rating_sum - r.rating) / (i.rating_count - 1)) >= ?2"+c.In.where()+
			" order by r.id desc limit ?3", func(r *sqlite.Stmt) {
			list = append(list, ratingOfUser{r.ColumnText(0), r.ColumnInt(1), artifactsOf(r, 2), r.ColumnInt64(3), r.ColumnInt64(4)})
		}, int(id), suspect, maxRecords)
	})
	return http.StatusOK, &ratingsOfUser{len(list), list}, err
}

type checkInput struct {
	api.LateKey
	filter
	User       string `path:"user_id" doc:"The number behind the name."`
	Minutes    int32  `query:"minutes" required:"true" minimum:"1"`
	Divergence int32  `query:"divergence" required:"true" minimum:"0"`
}

type checked struct {
	Within         int64   `json:"ratings_in_timeframe"`
	WithinRate     float64 `json:"ratings_per_minute_in_timeframe"`
	Recent         int64   `json:"ratings_past_three_hours"`
	RecentRate     float64 `json:"ratings_per_minute_for_past_three_hours"`
	Far            int64   `json:"suspect_divergences"`
	CaptchasFailed int64   `json:"captchas_failed" doc:"Failed minus passed."`
}

func (v *served) userCheck(ctx context.Context, c *api.Call[checkInput]) (int, *checked, error) {
	id, _, err := v.lookedAt(ctx, c.In.APIKey, c.In.User, true)
	if err != nil {
		return 0, nil, err
	}
	now := time.Now()
	since := func(minutes int) int64 { return now.Add(-time.Duration(minutes) * time.Minute).Unix() }
	out, minutes := &checked{}, int(c.In.Minutes)
	err = v.change(func() (err error) {
		const mine = "select count(*) from ratings where user_id = ? and created >= ?"
		if out.Within, err = v.number(mine, int(id), since(minutes)); err != nil {
			return err
		}
		if out.Recent, err = v.number(mine, int(id), since(180)); err != nil {
			return err
		}
		if out.Far, err = v.number("select count(*) from ratings r join images i on i.id = r.image where r.excluded = 0 and r.user_id = ?1 and r.created >= ?2 and "+
			"i.rating_count > 2 and abs(r.rating - 1.0 * (i.rating_sum - r.rating) / (i.rating_count - 1)) > ?3", int(id), since(minutes), int(c.In.Divergence)); err != nil {
			return err
		}
		out.CaptchasFailed, err = v.number("select coalesce(sum(failed - passed), 0) from raters where rater = ?", raterKey(id))
		return err
	})
	out.WithinRate, out.RecentRate = float64(out.Within)/float64(minutes), float64(out.Recent)/180
	return http.StatusOK, out, err
}

type flaggedInput struct {
	api.LateKey
	Format string `query:"format" enum:"json,html" emptyabsent:"true" doc:"html is a table for people."`
}

type flaggedRater struct {
	User  horde.UserID `json:"user_id"`
	Flags []string     `json:"flags"`
	Corr  float64      `json:"corr" doc:"How much the rater has in common with others, from -1 to 1."`
}

type flaggedRaters struct {
	Total  int            `json:"total"`
	Raters []flaggedRater `json:"raters"`
}

// flagged lists for moderators who is flagged, the latest first. Anonymous raters are one line for each hash of an address.
func (v *served) flagged(ctx context.Context, c *api.Call[flaggedInput]) (int, *flaggedRaters, error) {
	if _, err := v.mayLook(ctx, c.In.APIKey, 0, false); err != nil {
		return 0, nil, err
	}
	list := []flaggedRater{}
	err := v.change(func() error {
		return v.do("select user_id, flagged, corr from raters where flagged <> 0 and user_id >= 0 order by rowid desc limit ?", func(r *sqlite.Stmt) {
			list = append(list, flaggedRater{horde.UserID(r.ColumnInt64(0)), flagsOf(r.ColumnInt(1)), r.ColumnFloat(2)})
		}, maxRecords)
	})
	return http.StatusOK, &flaggedRaters{len(list), list}, err
}

type validateInput struct {
	api.LateKey
	User string `path:"user_id" doc:"The number behind the name."`
	Body validated
}

type validated struct {
	Validated *bool `json:"validated" required:"true"`
}

// validate says that a moderator has looked at a rater.
func (v *served) validate(ctx context.Context, c *api.Call[validateInput]) (int, *validated, error) {
	id, _, err := v.lookedAt(ctx, c.In.APIKey, c.In.User, false)
	if err != nil {
		return 0, nil, err
	}
	err = v.change(func() error {
		return v.do("insert into raters (rater, user_id, validated) values (?1, ?2, ?3) on conflict (rater) do update set validated = ?3", nil, raterKey(id), int(id), *c.In.Body.Validated)
	})
	return http.StatusOK, &c.In.Body, err
}

type purgeInput struct {
	api.LateKey
	User string `path:"user_id" doc:"The number behind the name."`
}

type purged struct {
	Excluded int64 `json:"excluded" doc:"Ratings that were not left out before."`
	Reversed int64 `json:"reversed" doc:"Kudos that are taken back."`
}

// purge excludes all that a user has rated, for moderators and for the user itself. It is kept, and not paid if it was not yet. What
// was paid within a week is taken back where a moderator purges somebody else: to withdraw one's own ratings costs nothing.
func (v *served) purge(ctx context.Context, c *api.Call[purgeInput]) (int, *purged, error) {
	id, _, err := v.lookedAt(ctx, c.In.APIKey, c.In.User, true)
	if err != nil {
		return 0, nil, err
	}
	known, err := v.Rater(ctx, c.In.APIKey)
	if err != nil {
		return 0, nil, err
	}
	out, err := v.exclude(ctx, id, known.ID != id, time.Now())
	return http.StatusOK, out, err
}

// exclude leaves out all that a user has rated, and with reverse takes back what was paid for it within a week.
func (s *Service) exclude(ctx context.Context, id horde.UserID, reverse bool, now time.Time) (*purged, error) {
	s.paying.Lock()
	defer s.paying.Unlock()
	service, err := s.service(now)
	if err != nil {
		return nil, err
	}
	last := int64(0)
	if reverse {
		if last, err = s.Paid(ctx, service); err != nil {
			return nil, err
		}
	}
	out := &purged{}
	return out, s.change(func() error {
		var images []string
		if err := s.do("select distinct image from ratings where user_id = ? and excluded = 0", func(r *sqlite.Stmt) { images = append(images, r.ColumnText(0)) }, int(id)); err != nil {
			return err
		}
		if err := s.do("update ratings set excluded = 1, reward_state = case reward_state when 'paid' then 'paid' else 'void' end where user_id = ? and excluded = 0", nil, int(id)); err != nil {
			return err
		}
		out.Excluded = int64(s.conn.Changes())
		if err := s.do("update pairs set excluded = 1 where user_id = ?", nil, int(id)); err != nil {
			return err
		}
		if err := s.do("update raters set owed = 0 where user_id = ?", nil, int(id)); err != nil {
			return err
		}
		for _, image := range images {
			if err := s.recount(image); err != nil {
				return err
			}
		}
		if !reverse {
			return nil
		}
		out.Reversed, err = s.takeBack(id, last, now)
		return err
	})
}
