// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"

	"horde/internal/api"
	"horde/internal/horde"
	"horde/internal/limit"
)

// operations registers the API.
func (v *served) operations(r *api.Router) {
	tags := []string{"rating"}
	lists, moderation := []string{"lists"}, []string{"moderation"}
	ours := api.Published{Ours: true}
	at := func(method, path, id, summary string, tags []string, refuses ...int) api.Operation {
		return api.Operation{Method: method, Path: v.prefix + apiPath + path, ID: id, Summary: summary, Tags: tags, Also: refuses, Published: ours, MaxBody: maxBody}
	}
	const newDescription = "The same image is not handed out again while it is outstanding, which it is for half an hour. To skip one, ask for the next. " +
		"Now and then an image says which rating it must get."
	for _, o := range []struct{ path, id, summary string }{
		{"/rating/new", "get_default_dataset_image", "An image to rate."},
		{"/rating/new/{dataset_id}", "get_dataset_image", "An image of a data set to rate."},
		{"/rating/new/{dataset_id}/{model_name}", "get_dataset_image_by_model", "An image of a model to rate."},
	} {
		op := at(http.MethodGet, o.path, o.id, o.summary, tags, 401, 404)
		op.Description = newDescription
		op.Links = []api.Link{{To: "post_rate", Argument: "image_id", Member: "id"}}
		switch o.path {
		case "/rating/new":
			api.Handle(r, op, v.popAny)
		case "/rating/new/{dataset_id}":
			api.Handle(r, op, v.popOfDataset)
		default:
			api.Handle(r, op, v.popOfModel)
		}
	}
	op := at(http.MethodPost, "/rating/set", "post_rating_set", "Hand on what the owner of a request says of its images. For hordes that know the secret.", tags, 401, 403)
	op.Success = []int{http.StatusCreated}
	api.Handle(r, op, v.takeRemoteSet)
	op = at(http.MethodPost, "/rating/{image_id}", "post_rate", "Rate an image that was handed out.", tags, 401, 403, 404)
	op.Success, op.Example = []int{http.StatusCreated}, `{"rating":7,"artifacts":1}`
	op.Description = "How much do you like it, from 1 to 10, and how broken is it, from 0 (flawless) to 5 (garbage)? The same rating sent again within ten minutes is answered in the same way."
	api.Handle(r, op, v.rateImage)

	api.Handle(r, at(http.MethodGet, "/datasets", "get_datasets", "The data sets whose images can be rated.", lists), v.datasets)
	api.Handle(r, at(http.MethodGet, "/teams", "get_teams", "Teams of raters. There are none.", lists), v.teams)
	op = at(http.MethodGet, "/download/{filename}", "get_download", "The newest or a dated export.", lists, 404)
	op.Media, op.Also = "application/octet-stream", append(op.Also, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable)
	op.Success = []int{http.StatusOK, http.StatusPartialContent, http.StatusNotModified}
	op.Description = "`diffusiondb_export.parquet`, `ratings-v1.parquet` and others; `manifest.json` lists them."
	api.Handle(r, op, v.download)

	for _, o := range []struct {
		add func(api.Operation)
		op  api.Operation
	}{
		{func(op api.Operation) { api.Handle(r, op, v.imageRatings) }, at(http.MethodGet, "/image/ratings/{image_id}", "get_image_ratings", "What everybody says of an image. For moderators.", moderation, 401, 403, 404)},
		{func(op api.Operation) { api.Handle(r, op, v.userRatings) }, at(http.MethodGet, "/user/ratings", "get_user_ratings", "The newest ratings of everybody. For moderators.", moderation, 401, 403)},
		{func(op api.Operation) { api.Handle(r, op, v.userValidate) }, at(http.MethodGet, "/user/validate/{user_id}", "get_user_validate", "The ratings of a user that differ much from those of others. For moderators and the user.", moderation, 401, 403, 404)},
		{func(op api.Operation) { api.Handle(r, op, v.userCheck) }, at(http.MethodGet, "/user/check/{user_id}", "get_user_check", "How fast and how differently a user rates. For moderators and the user.", moderation, 401, 403, 404)},
		{func(op api.Operation) { api.Handle(r, op, v.flagged) }, at(http.MethodGet, "/user/flagged", "get_user_flagged", "Raters whose ratings look careless. For moderators.", moderation, 401, 403)},
	} {
		o.op.AlsoMedia = "text/html"
		o.add(o.op)
	}
	op = at(http.MethodPut, "/user/validate/{user_id}", "put_user_validate", "Vouch for a rater. For moderators.", moderation, 401, 403, 404)
	op.Example = `{"validated":true}`
	api.Handle(r, op, v.validate)
	op = at(http.MethodDelete, "/user/ratings/{user_id}", "delete_user_ratings", "Leave all ratings of a user out. For moderators and the user.", moderation, 401, 403, 404)
	op.Description = "They are kept, and are in no average and no export from now on. A moderator also takes back what the user was paid within a week."
	api.Handle(r, op, v.purge)
}

// rater finds who calls.
func (s *Service) rater(ctx context.Context, c api.Caller, key string) (*who, error) {
	known, err := s.Rater(ctx, key)
	if err != nil {
		return nil, err
	}
	w := &who{Rater: known, key: raterKey(known.ID), agent: c.Agent, country: s.countryOf(c)}
	err = s.change(func() error {
		if known.ID == horde.Anonymous {
			key, err := s.secret("addresses", addressKey, time.Now())
			if err != nil {
				return err
			}
			w.key = "a:" + seal(key, limit.Bucket(c.Addr))[:32]
		}
		return s.load(w)
	})
	return w, err
}

type popInput struct{ api.LateKey }

type popDatasetInput struct {
	api.LateKey
	Dataset string `path:"dataset_id"`
}

type popModelInput struct {
	api.LateKey
	Dataset string `path:"dataset_id"`
	Model   string `path:"model_name"`
}

func (v *served) popAny(ctx context.Context, c *api.Call[popInput]) (int, *popped, error) {
	return v.pop(ctx, c.Caller, c.Request, c.In.APIKey, "", "")
}

func (v *served) popOfDataset(ctx context.Context, c *api.Call[popDatasetInput]) (int, *popped, error) {
	return v.pop(ctx, c.Caller, c.Request, c.In.APIKey, c.In.Dataset, "")
}

func (v *served) popOfModel(ctx context.Context, c *api.Call[popModelInput]) (int, *popped, error) {
	return v.pop(ctx, c.Caller, c.Request, c.In.APIKey, c.In.Dataset, c.In.Model)
}

func (v *served) pop(ctx context.Context, c api.Caller, r *http.Request, key, dataset, model string) (int, *popped, error) {
	w, err := v.rater(ctx, c, key)
	if err != nil {
		return 0, nil, err
	}
	now := time.Now()
	if wait := w.timeout.Sub(now); wait > 0 {
		return 0, nil, later(wait)
	}
	p, err := v.next(ctx, w, dataset, model, now)
	if err != nil {
		return 0, nil, err
	}
	p.URL = imageURL(v.base(r), p.URL, p.ID)
	return http.StatusOK, &p, nil
}

// artifactNames are the words for 0 to 5.
var artifactNames = []string{"FLAWLESS", "LITTLE_FLAWS", "SOME_FLAWS", "OBVIOUS_FLAWS", "HARMFUL_FLAWS", "GARBAGE"}

type rateInput struct {
	api.LateKey
	Image string `path:"image_id"`
	Body  ratingBody
}

type ratingBody struct {
	Rating    int             `json:"rating" required:"true" minimum:"1" maximum:"10" plain:"true" doc:"How much you like it."`
	Artifacts json.RawMessage `json:"artifacts" doc:"How broken it is: a number or its word." schema:"{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":5},{\"type\":\"null\"},{\"enum\":[\"FLAWLESS\",\"LITTLE_FLAWS\",\"SOME_FLAWS\",\"OBVIOUS_FLAWS\",\"HARMFUL_FLAWS\",\"GARBAGE\"]}]}"`
}

// artifacts reads how broken an image is, nil for not said.
func (b *ratingBody) artifacts() (*int, error) {
	raw := string(bytes.TrimSpace(b.Artifacts))
	if raw == "" || raw == "null" {
		return nil, nil
	}
	n, err := strconv.Atoi(raw)
	if word, unquoted := strconv.Unquote(raw); unquoted == nil {
		n, err = slices.Index(artifactNames, word), nil
	}
	if err != nil || n < 0 || n >= len(artifactNames) {
		return nil, horde.Invalid(map[string]string{"artifacts": "An integer from 0 to 5 is wanted."})
	}
	return &n, nil
}

type thanks struct {
	Message string `json:"message"`
	Reward  int    `json:"reward" minimum:"1" doc:"In kudos. Anonymous raters are not paid."`
}

func (v *served) rateImage(ctx context.Context, c *api.Call[rateInput]) (int, *thanks, error) {
	artifacts, err := c.In.Body.artifacts()
	if err != nil {
		return 0, nil, err
	}
	w, err := v.rater(ctx, c.Caller, c.In.APIKey)
	if err != nil {
		return 0, nil, err
	}
	now := time.Now()
	if wait := w.timeout.Sub(now); wait > 0 {
		return 0, nil, later(wait)
	}
	if v.limiter != nil {
		for _, rule := range []limit.Rule{{Name: "ratings", Amount: 30, Per: time.Minute}, {Name: "ratings", Amount: 600, Per: time.Hour}} {
			if err := exceeded(v.limiter.Take(w.key, rule)); err != nil {
				return 0, nil, err
			}
		}
	}
	id, err := uuid.Parse(c.In.Image)
	if err != nil || len(c.In.Image) != uuidLength {
		return 0, nil, errImageNotFound
	}
	refusal, err := v.rate(w, id.String(), c.In.Body.Rating, artifacts, now)
	if err = cmp.Or(err, refusal); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, &thanks{"Thank you for rating.", reward}, nil
}

// uuidLength is that of a UUID as text; [uuid.Parse] takes other spellings as well.
const uuidLength = 36

type setInput struct {
	Secret string `header:"Horde-Ratings-Secret" argument:"true" doc:"What the operators of both programs have agreed on."`
	Body   setBody
}

// setBody is a [horde.RatingSet] as it comes from another program.
type setBody struct {
	Set   string      `json:"set" required:"true" minLength:"36" maxLength:"36"`
	All   []string    `json:"all_set_ids" required:"true" maxItems:"100" minLength:"36" maxLength:"36"`
	Agent string      `json:"client_agent"`
	User  setUser     `json:"user"`
	Rated []setRating `json:"ratings" maxItems:"100"`
	Best  *string     `json:"best" minLength:"36" maxLength:"36"`
}

type setUser struct {
	Name        string  `json:"username"`
	Trusted     bool    `json:"trusted"`
	AccountAge  float64 `json:"account_age" doc:"Seconds."`
	Kudos       float64 `json:"kudos"`
	Accumulated float64 `json:"kudos_accumulated"`
	Address     string  `json:"ipaddr"`
}

type setRating struct {
	ID        string `json:"id" required:"true" minLength:"36" maxLength:"36"`
	Rating    int    `json:"rating" required:"true" minimum:"1" maximum:"10" plain:"true"`
	Artifacts *int   `json:"artifacts" minimum:"0" maximum:"5" plain:"true"`
}

type taken struct {
	Message string `json:"message"`
}

// takeRemoteSet takes a set from a horde in another program, which knows the secret.
func (v *served) takeRemoteSet(ctx context.Context, c *api.Call[setInput]) (int, *taken, error) {
	if !v.knowsSecret(c.In.Secret) {
		return 0, nil, errNoSecret
	}
	b := &c.In.Body
	set := horde.RatingSet{Set: b.Set, All: b.All, Agent: b.Agent, User: horde.RatingUser(b.User)}
	if b.Best != nil {
		set.Best = *b.Best
	}
	for _, r := range b.Rated {
		set.Rated = append(set.Rated, horde.ImageRating(r))
	}
	if field, why := wrongSet(&set); field != "" {
		return 0, nil, horde.Invalid(map[string]string{field: why})
	}
	err := v.takeSet(ctx, set, stranger(set.User.Name))
	if errors.Is(err, horde.ErrAlreadyRated) {
		err = errAlreadyRated
	}
	return http.StatusCreated, &taken{"Thank you."}, err
}

// wrongSet tells which field of a set makes no sense, and why; nothing where all do.
func wrongSet(set *horde.RatingSet) (field, why string) {
	if uuid.Validate(set.Set) != nil {
		return "set", "An id is wanted."
	}
	known, seen := map[string]bool{}, map[string]bool{}
	for _, id := range set.All {
		if uuid.Validate(id) != nil {
			return "all_set_ids", "Ids are wanted."
		}
		known[id] = true
	}
	for _, rated := range set.Rated {
		if !known[rated.ID] || seen[rated.ID] {
			return "ratings", "Ratings of images of the set are wanted, one for each."
		}
		seen[rated.ID] = true
	}
	switch {
	case set.Best != "" && !known[set.Best]:
		return "best", "An image of the set is wanted."
	case set.Best == "" && len(set.Rated) == 0:
		return "ratings", "Ratings or the best image are wanted."
	}
	return "", ""
}

type dataset struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Images      int64  `json:"image_count"`
}

func (v *served) datasets(context.Context, *api.Call[api.NoInput]) (int, []dataset, error) {
	list := []dataset{}
	err := v.change(func() error {
		return v.do("select id, name, description, (select count(*) from images where dataset = datasets.id and active = 1) from datasets where active = 1", func(r *sqlite.Stmt) {
			list = append(list, dataset{r.ColumnText(0), r.ColumnText(1), r.ColumnText(2), r.ColumnInt64(3)})
		})
	})
	return http.StatusOK, list, err
}

type ratersTeam struct {
	ID      string `json:"id"`
	Name    string `json:"team_name"`
	Private bool   `json:"is_private"`
}

func (v *served) teams(context.Context, *api.Call[api.NoInput]) (int, []ratersTeam, error) {
	return http.StatusOK, []ratersTeam{}, nil
}

type downloadInput struct {
	File string `path:"filename"`
}

func (v *served) download(_ context.Context, c *api.Call[downloadInput]) (int, any, error) {
	if !fileName.MatchString(c.In.File) {
		return 0, nil, errNotFound
	}
	f, info, err := openFile(filepath.Join(v.Dir, "exports", c.In.File), errNotFound)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer f.Close()
		sendFile(w, r, f, info, "application/octet-stream")
	}), nil
}
