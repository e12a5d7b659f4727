// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
)

// compatible is a row of diffusiondb_export.parquet, one for each rating.
type compatible struct {
	ID             string    `parquet:"id,dict" json:"id"`
	RatingsCount   int64     `parquet:"ratings_count" json:"ratings_count"`
	Rating         int64     `parquet:"rating" json:"rating"`
	Kudos          float64   `parquet:"kudos" json:"kudos"`
	AccountAge     int64     `parquet:"account_age" json:"account_age"` // seconds
	UsageRequests  int64     `parquet:"usage_requests" json:"usage_requests"`
	CreatedAt      time.Time `parquet:"created_at,timestamp(millisecond:utc)" json:"created_at"`
	ClientAgent    string    `parquet:"client_agent,dict" json:"client_agent"`
	Artifacts      *int64    `parquet:"artifacts,optional" json:"artifacts"`
	UserID         string    `parquet:"user_id,dict" json:"user_id"`
	Trusted        bool      `parquet:"trusted" json:"trusted"`
	Validated      bool      `parquet:"validated" json:"validated"`
	CaptchasFailed int64     `parquet:"captchas_failed" json:"captchas_failed"`
	Country        *string   `parquet:"country,optional,dict" json:"country"`
}

// ratingRow is a row of ratings-v1.
type ratingRow struct {
	compatible
	RatingID int64   `parquet:"rating_id" json:"rating_id"`
	Dataset  string  `parquet:"dataset,dict" json:"dataset"`
	Source   string  `parquet:"source,dict" json:"source"`
	Weight   float64 `parquet:"weight" json:"weight"`
	Excluded bool    `parquet:"excluded" json:"excluded"`
	ImageURL string  `parquet:"image_url,dict" json:"image_url"`
}

// pairRow is a row of pairs-v1: of two images, which was the better one.
type pairRow struct {
	SetID          string    `parquet:"set_id,dict" json:"set_id"`
	Winner         string    `parquet:"winner" json:"winner"`
	Loser          string    `parquet:"loser" json:"loser"`
	UserID         string    `parquet:"user_id,dict" json:"user_id"`
	CreatedAt      time.Time `parquet:"created_at,timestamp(millisecond:utc)" json:"created_at"`
	Model          string    `parquet:"model,dict" json:"model"`
	WinnerPipeline string    `parquet:"winner_pipeline,dict" json:"winner_pipeline"`
	LoserPipeline  string    `parquet:"loser_pipeline,dict" json:"loser_pipeline"`
}

// imageRow is a row of images-v1.
type imageRow struct {
	ID            string   `parquet:"id" json:"id"`
	Dataset       string   `parquet:"dataset,dict" json:"dataset"`
	URL           string   `parquet:"url" json:"url"`
	Model         string   `parquet:"model,dict" json:"model"`
	Prompt        string   `parquet:"prompt,dict" json:"prompt"`
	Seed          int64    `parquet:"seed" json:"seed"`
	Steps         int64    `parquet:"steps" json:"steps"`
	Sampler       string   `parquet:"sampler,dict" json:"sampler"`
	CFG           float64  `parquet:"cfg" json:"cfg"`
	Width         int64    `parquet:"width" json:"width"`
	Height        int64    `parquet:"height" json:"height"`
	RatingCount   int64    `parquet:"rating_count" json:"rating_count"`
	RatingMean    *float64 `parquet:"rating_mean,optional" json:"rating_mean"`
	RatingMedian  *float64 `parquet:"rating_median,optional" json:"rating_median"`
	ArtifactsMean *float64 `parquet:"artifacts_mean,optional" json:"artifacts_mean"`
	NSFW          float64  `parquet:"nsfw" json:"nsfw"`
}

// rowGroup is how many rows a group of a Parquet file has.
const rowGroup = 128 << 10

// keepExports is for how long files under dated names stay.
const keepExports = 30 * 24 * time.Hour

// weight is how much the ratings of somebody are trusted, from 0 to 1 (ratings chapter, 8).
func weight(corr float64, trusted, validated, flagged bool, failures int64) float64 {
	s := 1.5*corr - 0.8*float64(max(0, failures))
	if trusted {
		s += 0.5
	}
	if validated {
		s++
	}
	if flagged {
		s -= 2
	}
	return 1 / (1 + math.Exp(-s))
}

// exported is one file of the manifest.
type exported struct {
	File    string    `json:"file"`
	Rows    int       `json:"rows"`
	Bytes   int       `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Schema  int       `json:"schema_version"`
	Created time.Time `json:"created"`
}

// Export writes all files anew, each under its name and under a name with the day, and lists them in manifest.json.
func (s *Service) Export(ctx context.Context, now time.Time) error {
	if err := s.disownWiped(ctx); err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	if err := s.judge(time.Time{}); err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	ratings, pairs, images, err := s.rows(now)
	if err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	plain := make([]compatible, len(ratings))
	for i, r := range ratings {
		plain[i] = r.compatible
	}
	files := []struct {
		name string
		rows int
		data func() ([]byte, error)
	}{
		{"diffusiondb_export.parquet", len(plain), func() ([]byte, error) { return asParquet(plain) }},
		{"ratings-v1.parquet", len(ratings), func() ([]byte, error) { return asParquet(ratings) }},
		{"ratings-v1.jsonl.zst", len(ratings), func() ([]byte, error) { return asLines(ratings) }},
		{"pairs-v1.parquet", len(pairs), func() ([]byte, error) { return asParquet(pairs) }},
		{"pairs-v1.jsonl.zst", len(pairs), func() ([]byte, error) { return asLines(pairs) }},
		{"images-v1.parquet", len(images), func() ([]byte, error) { return asParquet(images) }},
		{"README.md", 0, func() ([]byte, error) { return dataCard(ratings, len(pairs), len(images), now), nil }},
	}
	dir, manifest := filepath.Join(s.Dir, "exports"), []exported{}
	for _, f := range files {
		data, err := f.data()
		if err == nil {
			err = writeFile(filepath.Join(dir, now.UTC().Format("2006-01-02")+"-"+f.name), data)
		}
		if err == nil {
			err = writeFile(filepath.Join(dir, f.name), data)
		}
		if err != nil {
			return fmt.Errorf("export %s: %w", f.name, err)
		}
		sum := sha256.Sum256(data)
		manifest = append(manifest, exported{f.name, f.rows, len(data), hex.EncodeToString(sum[:]), 1, now.UTC()})
	}
	if err := writeFile(filepath.Join(dir, "manifest.json"), indented(manifest)); err != nil {
		return err
	}
	return pruneExports(dir, now)
}

func pruneExports(dir string, now time.Time) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		if len(f.Name()) < 11 {
			continue
		}
		if day, err := time.Parse("2006-01-02", f.Name()[:10]); err == nil && now.Sub(day) > keepExports {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// rows reads what is exported: nothing that is excluded, and nobody by name.
func (s *Service) rows(now time.Time) (ratings []ratingRow, pairs []pairRow, images []imageRow, err error) {
	err = s.change(func() error {
		key, err := s.secret("users", 0, now)
		if err != nil {
			return err
		}
		hashes := map[int64]string{}
		hash := func(id int64) string {
			if hashes[id] == "" {
				hashes[id] = seal(key, fmt.Sprint(id))
			}
			return hashes[id]
		}
		values, counts := map[string][]float64{}, map[string]int64{}
		if err := s.do(`select r.image, r.rating, r.kudos, r.account_age, r.usage_requests, r.created, r.client_agent, r.artifacts, r.user_id, r.trusted,
			coalesce(p.validated, 0), coalesce(p.failed - p.passed, 0), r.country, r.id, d.kind, r.source, coalesce(p.flagged, 0), i.url, coalesce(p.corr, 0)
			from ratings r join images i on i.id = r.image join datasets d on d.id = i.dataset left join raters p on p.rater = r.rater
			where r.excluded = 0 order by r.id`, func(r *sqlite.Stmt) {
			row := ratingRow{compatible: compatible{
				ID: r.ColumnText(0), Rating: r.ColumnInt64(1), Kudos: r.ColumnFloat(2), AccountAge: r.ColumnInt64(3), UsageRequests: r.ColumnInt64(4),
				CreatedAt: time.Unix(r.ColumnInt64(5), 0).UTC(), ClientAgent: r.ColumnText(6), UserID: hash(r.ColumnInt64(8)), Trusted: r.ColumnBool(9),
				Validated: r.ColumnBool(10), CaptchasFailed: r.ColumnInt64(11),
			}, RatingID: r.ColumnInt64(13), Dataset: datasetName(r.ColumnText(14)), Source: r.ColumnText(15), ImageURL: imageURL(s.URL, r.ColumnText(17), r.ColumnText(0))}
			if r.ColumnInt64(8) == int64(horde.Anonymous) {
				row.Kudos = -50 // what readers drop
			}
			if !r.ColumnIsNull(7) {
				n := r.ColumnInt64(7)
				row.Artifacts = &n
			}
			if !r.ColumnIsNull(12) {
				c := r.ColumnText(12)
				row.Country = &c
			}
			corr := r.ColumnFloat(18)
			if r.ColumnInt64(8) == int64(horde.Anonymous) {
				corr = 0
			}
			row.Weight = weight(corr, row.Trusted, row.Validated, r.ColumnBool(16), row.CaptchasFailed)
			values[row.ID] = append(values[row.ID], float64(row.Rating))
			counts[row.ID]++
			ratings = append(ratings, row)
		}); err != nil {
			return err
		}
		for i := range ratings {
			ratings[i].RatingsCount = counts[ratings[i].ID]
		}
		if err := s.do(`select p.set_id, p.winner, p.loser, p.user_id, p.created, w.model, w.pipeline, l.pipeline from pairs p
			join images w on w.id = p.winner join images l on l.id = p.loser where p.excluded = 0 order by p.created, p.set_id, p.loser`, func(r *sqlite.Stmt) {
			pairs = append(pairs, pairRow{r.ColumnText(0), r.ColumnText(1), r.ColumnText(2), hash(r.ColumnInt64(3)), time.Unix(r.ColumnInt64(4), 0).UTC(),
				r.ColumnText(5), r.ColumnText(6), r.ColumnText(7)})
		}); err != nil {
			return err
		}
		return s.do(`select i.id, d.kind, i.url, model, prompt, seed, steps, sampler, cfg, width, height, rating_count, rating_sum, artifact_count, artifact_sum, nsfw
			from images i join datasets d on d.id = i.dataset where i.active = 1 or rating_count > 0 order by i.id`, func(r *sqlite.Stmt) {
			row := imageRow{ID: r.ColumnText(0), Dataset: datasetName(r.ColumnText(1)), URL: imageURL(s.URL, r.ColumnText(2), r.ColumnText(0)), Model: r.ColumnText(3), Prompt: r.ColumnText(4),
				Seed: r.ColumnInt64(5), Steps: r.ColumnInt64(6), Sampler: r.ColumnText(7), CFG: r.ColumnFloat(8), Width: r.ColumnInt64(9),
				Height: r.ColumnInt64(10), RatingCount: r.ColumnInt64(11), NSFW: r.ColumnFloat(15)}
			if n := row.RatingCount; n > 0 {
				mean := r.ColumnFloat(12) / float64(n)
				row.RatingMean, row.RatingMedian = &mean, median(values[row.ID])
			}
			if n := r.ColumnInt64(13); n > 0 {
				mean := r.ColumnFloat(14) / float64(n)
				row.ArtifactsMean = &mean
			}
			images = append(images, row)
		})
	})
	return ratings, pairs, images, err
}

func median(list []float64) *float64 {
	slices.Sort(list)
	n := len(list)
	if n == 0 {
		return nil
	}
	m := (list[(n-1)/2] + list[n/2]) / 2
	return &m
}

func datasetName(kind string) string {
	if kind == hordeShared {
		return kind
	}
	return "diffusiondb"
}

func asParquet[T any](rows []T) ([]byte, error) {
	var out bytes.Buffer
	w := parquet.NewGenericWriter[T](&out, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup))
	if _, err := w.Write(rows); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

func asLines[T any](rows []T) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	lines := json.NewEncoder(z)
	for _, r := range rows {
		if err := lines.Encode(r); err != nil {
			return nil, err
		}
	}
	err = z.Close()
	return out.Bytes(), err
}
