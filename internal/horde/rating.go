// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"net/http"
	"strings"
)

// Aesthetics is what a client says of the images of a request: how good each is, and which is the best.
type Aesthetics struct {
	Best    *string            `json:"best" minLength:"36" maxLength:"36"`
	Ratings []AestheticsRating `json:"ratings"`
}

// AestheticsRating is how good one image is: 1 to 10, and, where it was said, how broken: 0 to 5.
type AestheticsRating struct {
	ID        *string `json:"id" required:"true" minLength:"36" maxLength:"36"`
	Rating    *int    `json:"rating" required:"true" minimum:"1" maximum:"10" plain:"true"`
	Artifacts *int    `json:"artifacts" minimum:"0" maximum:"5" plain:"true"`
}

// Refusals of ratings (ratings chapter, 5.2).
var (
	ErrNotCompleted     = refusal(http.StatusBadRequest, "AestheticsNotCompleted", "Rate a request when all of its images are done.")
	ErrNotShared        = refusal(http.StatusBadRequest, "AestheticsNotPublic", "Only requests whose images are shared can be rated.")
	ErrNoSuchImage      = refusal(http.StatusBadRequest, "ProcGenNotFound", "The request has no such image.")
	ErrRatedTwice       = refusal(http.StatusBadRequest, "AestheticsDuplicate", "An image is rated twice.")
	ErrNothingRated     = refusal(http.StatusBadRequest, "AestheticsMissing", "Send ratings, or which image is the best.")
	ErrBestOfOne        = refusal(http.StatusBadRequest, "AestheticsSolo", "The best of one image says nothing.")
	ErrConfused         = refusal(http.StatusBadRequest, "AestheticsConfused", "The best image must be one of those that are rated highest.")
	ErrAlreadyRated     = refusal(http.StatusBadRequest, "AestheticsAlreadyExist", "The images of this request were rated before.")
	ErrRatingsRejected  = refusal(http.StatusBadRequest, "AestheticsServerRejected", "The ratings service refused the ratings.")
	ErrRatingsFailed    = refusal(http.StatusBadRequest, "AestheticsServerError", "The ratings service failed.")
	ErrRatingsDown      = refusal(http.StatusBadRequest, "AestheticsServerDown", "The ratings service cannot be reached.")
	ErrRatingsTimeout   = refusal(http.StatusBadRequest, "AestheticsServerTimeout", "The ratings service does not answer.")
	ErrInvalidAesthetic = refusal(http.StatusBadRequest, "InvalidAestheticAttempt", "The ratings could not be handed on.")

	ErrBetaAnonymous  = refusal(http.StatusForbidden, "BetaAnonForbidden", "Comparisons of two images are not for the anonymous account.")
	ErrBetaComparison = refusal(http.StatusBadRequest, "BetaComparisonFault", "This model makes two images to compare: ask for two.")
)

// What ratings are worth, in kudos.
const (
	// RewardBest is for saying which image is the best, RewardRating for each rating, and RewardArtifacts on top for each that
	// says how broken the image is.
	RewardBest      = 15
	RewardRating    = 5
	RewardArtifacts = 5
	// goodRating is from where the only rating of several images says by itself that the image is the best one.
	goodRating = 7
)

// Verdict is what becomes of aesthetics that were checked.
type Verdict struct {
	// Reward is in whole kudos, at most one less than the request consumed, and never negative.
	Reward int64
	// Best is the id of the best image, empty for none.
	Best string
}

// Judge checks aesthetics against the ids of the usable images of a request, in lower case, which has consumed so many kudos.
func (a *Aesthetics) Judge(usable []string, consumed int64) (Verdict, *Error) {
	known, seen := map[string]bool{}, map[string]bool{}
	for _, id := range usable {
		known[id] = true
	}
	reward, top := int64(0), 0
	var highest []string
	for _, r := range a.Ratings {
		id := strings.ToLower(*r.ID)
		switch {
		case !known[id]:
			return Verdict{}, ErrNoSuchImage
		case seen[id]:
			return Verdict{}, ErrRatedTwice
		}
		seen[id] = true
		reward += RewardRating
		if r.Artifacts != nil {
			reward += RewardArtifacts
		}
		switch {
		case *r.Rating > top:
			top, highest = *r.Rating, []string{id}
		case *r.Rating == top:
			highest = append(highest, id)
		}
	}
	best := ""
	if a.Best != nil {
		if best = strings.ToLower(*a.Best); !known[best] {
			return Verdict{}, ErrNoSuchImage
		}
	}
	switch n := len(a.Ratings); {
	case n == 0 && best == "":
		return Verdict{}, ErrNothingRated
	case n == 0 && len(usable) < 2:
		return Verdict{}, ErrBestOfOne
	case n == 0:
		reward = RewardBest
	case len(usable) < 2:
		best = ""
	case n == 1 && top >= goodRating:
		if best != "" && best != highest[0] {
			best = ""
		} else {
			best = highest[0]
		}
	case n == 1:
		if best != "" {
			reward += RewardBest
		}
	case len(highest) == 1:
		best = highest[0]
	case best != "" && !contains(highest, best):
		return Verdict{}, ErrConfused
	}
	if reward >= consumed {
		reward = max(0, consumed-1)
	}
	return Verdict{reward, best}, nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Sharing says which images become public and can be rated.
type Sharing string

// The kinds of sharing.
const (
	// SharingOff shares nothing, SharingPairs the images of models that are compared in pairs, and SharingOptIn those also of which
	// the client says so.
	SharingOff   Sharing = "off"
	SharingPairs Sharing = "beta_only"
	SharingOptIn Sharing = "opt_in"
)

// Shares tells whether the images of an order become public. asked is what the client said.
func (s Sharing) Shares(o *Order, u *User, asked bool) bool {
	switch {
	case s == SharingOff, u.ID == Anonymous, u.Has(Education), o.SourceImage != "", len(o.ExtraSources) > 0:
		return false
	case o.Pair:
		return true
	}
	return s == SharingOptIn && asked
}

// AllowedNSFW is the NSFW of an image whose request allowed what is not for everybody, of which its worker said nothing.
const AllowedNSFW = 0.5

// RatingSet is what the horde tells a ratings service of the images of one request.
type RatingSet struct {
	Set    string        `json:"set"`
	All    []string      `json:"all_set_ids"`
	Agent  string        `json:"client_agent"`
	User   RatingUser    `json:"user"`
	Rated  []ImageRating `json:"ratings,omitempty"`
	Best   string        `json:"best,omitempty"`
	Images []SharedImage `json:"-"` // of All, for a service in the same program
}

// RatingUser is the owner of the request as of now.
type RatingUser struct {
	Name        string  `json:"username"`
	Trusted     bool    `json:"trusted"`
	AccountAge  float64 `json:"account_age"` // seconds
	Kudos       float64 `json:"kudos"`
	Accumulated float64 `json:"kudos_accumulated"`
	// Address is where the rater called from.
	Address string `json:"ipaddr"`
}

// ImageRating is the rating of one image.
type ImageRating struct {
	ID        string `json:"id"`
	Rating    int    `json:"rating"`
	Artifacts *int   `json:"artifacts,omitempty"`
}

// SharedImage describes an image that is public: what is kept beside it.
type SharedImage struct {
	ID       string   `json:"-"`
	Prompt   string   `json:"prompt"`
	Width    int      `json:"width"`
	Height   int      `json:"height"`
	Steps    int      `json:"steps"`
	Sampler  string   `json:"sampler"`
	CFG      float64  `json:"cfg"`
	Karras   bool     `json:"karras"`
	PP       []string `json:"pp"`
	Set      string   `json:"set"`
	UserType string   `json:"user_type"` // oauth, anon or pseudonymous
	Seed     int64    `json:"seed"`
	Model    string   `json:"model"`
	Censored bool     `json:"censored"`
	// Pipeline is empty but for a comparison.
	Pipeline string `json:"-"`
	// NSFW is how likely the image is not for everybody: 0 where the request did not allow that, [AllowedNSFW] where it did, and 1 where
	// the worker says so.
	NSFW float64 `json:"-"`
}
