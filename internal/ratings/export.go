// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

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
	Winner         string    `parquet:"winner,dict" json:"winner"`
	Loser          string    `parquet:"loser,dict" json:"loser"`
	UserID         string    `parquet:"user_id,dict" json:"user_id"`
	CreatedAt      time.Time `parquet:"created_at,timestamp(millisecond:utc)" json:"created_at"`
	Model          string    `parquet:"model,dict" json:"model"`
	WinnerPipeline string    `parquet:"winner_pipeline,dict" json:"winner_pipeline"`
	LoserPipeline  string    `parquet:"loser_pipeline,dict" json:"loser_pipeline"`
}

// imageRow is a row of images-v1.
type imageRow struct {
	ID            string   `parquet:"id,dict" json:"id"`
	Dataset       string   `parquet:"dataset,dict" json:"dataset"`
	URL           string   `parquet:"url,dict" json:"url"`
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

// Export writes all files anew, each under its name and under a name with the day, and lists them in manifest.json. It reads a snapshot
// of the database through a connection of its own and writes row by row, so nobody waits for it, and its memory does not grow with the
// ratings.
func (s *Service) Export(ctx context.Context, now time.Time) error {
	s.exporting.Lock()
	defer s.exporting.Unlock()
	if err := s.disownWiped(ctx); err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	if err := s.judge(time.Time{}); err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	err := s.snapshot(ctx, now, func(x *snapshot) error {
		dir, manifest := filepath.Join(s.Dir, "exports"), []exported{}
		for _, f := range x.files() {
			e, err := x.write(ctx, dir, f)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			manifest = append(manifest, e)
		}
		if err := writeFile(filepath.Join(dir, "manifest.json"), indented(manifest)); err != nil {
			return err
		}
		return pruneExports(dir, now)
	})
	if err != nil {
		return fmt.Errorf("export the ratings: %w", err)
	}
	return nil
}

// snapshot is the database as it was at one moment.
type snapshot struct {
	conn *sqlite.Conn
	url  string // of the service, empty for not known
	key  []byte // by which users are hashed
	now  time.Time

	users map[int64]string // hashes
}

// snapshot opens the database once more and runs f in a transaction that only reads.
func (s *Service) snapshot(ctx context.Context, now time.Time, f func(*snapshot) error) (err error) {
	x := &snapshot{url: s.URL, now: now, users: map[int64]string{}}
	if err := s.change(func() (err error) { x.key, err = s.secret("users", 0, now); return err }); err != nil {
		return err
	}
	if x.conn, err = sqlite.OpenConn(filepath.Join(s.Dir, databaseFile), sqlite.OpenReadOnly|sqlite.OpenWAL); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.conn.Close()) }()
	x.conn.SetInterrupt(ctx.Done())
	defer sqlitex.Transaction(x.conn)(&err)
	return f(x)
}

// rows hands the rows of a query to row, which may end it by an error.
func (x *snapshot) rows(query string, row func(*sqlite.Stmt) error, args ...any) error {
	return sqlitex.Execute(x.conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: row})
}

func (x *snapshot) hash(id int64) string {
	h, known := x.users[id]
	if !known {
		h = seal(x.key, strconv.FormatInt(id, 10))
		if len(x.users) < maxHashes {
			x.users[id] = h
		}
	}
	return h
}

// maxHashes is of how many users a snapshot remembers the hashes.
const maxHashes = 100_000

// file is one of the exports. write sends its rows and returns how many there were.
type file struct {
	name  string
	write func(io.Writer) (int, error)
}

func (x *snapshot) files() []file {
	list := []file{{"diffusiondb_export.parquet", asParquet(func(add func(compatible) error) error {
		return x.ratings(func(r *ratingRow) error { return add(r.compatible) })
	})}}
	byValue := func(add func(ratingRow) error) error { return x.ratings(func(r *ratingRow) error { return add(*r) }) }
	list = append(list, file{"ratings-v1.parquet", asParquet(byValue)}, file{"ratings-v1.jsonl.zst", asLines(byValue)},
		file{"pairs-v1.parquet", asParquet(x.pairs)}, file{"pairs-v1.jsonl.zst", asLines(x.pairs)},
		file{"pipelines-v1.parquet", asParquet(x.pipelines)}, file{"pipelines-v1.jsonl.zst", asLines(x.pipelines)},
		file{"images-v1.parquet", asParquet(x.images)}, file{"README.md", x.dataCard})
	return list
}

// write writes a file beside the one that is there, puts it in its place and keeps it under a name with the day as well.
func (x *snapshot) write(ctx context.Context, dir string, f file) (exported, error) {
	path := filepath.Join(dir, f.name)
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return exported{}, err
	}
	sum, size := sha256.New(), &counter{}
	buffered := bufio.NewWriterSize(io.MultiWriter(part, sum, size), 1<<20)
	n, err := f.write(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err = errors.Join(err, part.Close(), ctx.Err()); err != nil {
		return exported{}, errors.Join(err, os.Remove(part.Name()))
	}
	dated := filepath.Join(dir, x.now.UTC().Format(time.DateOnly)+"-"+f.name)
	if err := errors.Join(linkAnew(part.Name(), dated), os.Rename(part.Name(), path)); err != nil {
		return exported{}, err
	}
	return exported{f.name, n, int(size.n), hex.EncodeToString(sum.Sum(nil)), 1, x.now.UTC()}, nil
}

// linkAnew gives a file another name, in place of what has it.
func linkAnew(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from) // the file system knows no links
	if err != nil {
		return err
	}
	return writeFile(to, data)
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

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

// ratings yields what is exported of the ratings: nothing that is excluded, and nobody by name. The row is good until the next.
func (x *snapshot) ratings(add func(*ratingRow) error) error {
	var row ratingRow
	return x.rows(`select r.image, r.rating, r.kudos, r.account_age, r.usage_requests, r.created, r.client_agent, r.artifacts, r.user_id, r.trusted,
		coalesce(p.validated, 0), coalesce(p.failed - p.passed, 0), r.country, r.id, d.kind, r.source, coalesce(p.flagged, 0), i.url, coalesce(p.corr, 0), i.rating_count
		from ratings r join images i on i.id = r.image join datasets d on d.id = i.dataset left join raters p on p.rater = r.rater
		where r.excluded = 0 order by r.id`, func(r *sqlite.Stmt) error {
		row = ratingRow{compatible: compatible{
			ID: r.ColumnText(0), Rating: r.ColumnInt64(1), Kudos: r.ColumnFloat(2), AccountAge: r.ColumnInt64(3), UsageRequests: r.ColumnInt64(4),
			CreatedAt: time.Unix(r.ColumnInt64(5), 0).UTC(), ClientAgent: anonymousAgent(r.ColumnText(6)), UserID: x.hash(r.ColumnInt64(8)), Trusted: r.ColumnBool(9),
			Validated: r.ColumnBool(10), CaptchasFailed: r.ColumnInt64(11), RatingsCount: r.ColumnInt64(19),
		}, RatingID: r.ColumnInt64(13), Dataset: datasetName(r.ColumnText(14)), Source: r.ColumnText(15), ImageURL: imageURL(x.url, r.ColumnText(17), r.ColumnText(0))}
		corr := r.ColumnFloat(18)
		if r.ColumnInt64(8) == int64(horde.Anonymous) {
			row.Kudos, corr = -50, 0 // what readers drop
		}
		if !r.ColumnIsNull(7) {
			n := r.ColumnInt64(7)
			row.Artifacts = &n
		}
		if !r.ColumnIsNull(12) {
			c := r.ColumnText(12)
			row.Country = &c
		}
		row.Weight = weight(corr, row.Trusted, row.Validated, r.ColumnBool(16), row.CaptchasFailed)
		return add(&row)
	})
}

// anonymousAgent is what is published of a client: its name and version, without the contact, which may name a person.
func anonymousAgent(agent string) string {
	parts := strings.SplitN(agent, ":", 3)
	return strings.Join(parts[:min(len(parts), 2)], ":")
}

// pairs yields what is exported of the comparisons.
func (x *snapshot) pairs(add func(pairRow) error) error {
	return x.rows(`select p.set_id, p.winner, p.loser, p.user_id, p.created, w.model, w.pipeline, l.pipeline from pairs p
		join images w on w.id = p.winner join images l on l.id = p.loser where p.excluded = 0 order by p.created, p.set_id, p.loser`, func(r *sqlite.Stmt) error {
		return add(pairRow{r.ColumnText(0), r.ColumnText(1), r.ColumnText(2), x.hash(r.ColumnInt64(3)), time.Unix(r.ColumnInt64(4), 0).UTC(),
			r.ColumnText(5), r.ColumnText(6), r.ColumnText(7)})
	})
}

// images yields the images that can be rated or were.
func (x *snapshot) images(add func(imageRow) error) error {
	return x.rows(`select i.id, d.kind, i.url, model, prompt, seed, steps, sampler, cfg, width, height, rating_count, rating_sum, artifact_count, artifact_sum, nsfw,
		(select group_concat(rating) from ratings r where r.image = i.id and r.excluded = 0)
		from images i join datasets d on d.id = i.dataset where i.active = 1 or rating_count > 0 order by i.id`, func(r *sqlite.Stmt) error {
		row := imageRow{ID: r.ColumnText(0), Dataset: datasetName(r.ColumnText(1)), URL: imageURL(x.url, r.ColumnText(2), r.ColumnText(0)), Model: r.ColumnText(3), Prompt: r.ColumnText(4),
			Seed: r.ColumnInt64(5), Steps: r.ColumnInt64(6), Sampler: r.ColumnText(7), CFG: r.ColumnFloat(8), Width: r.ColumnInt64(9),
			Height: r.ColumnInt64(10), RatingCount: r.ColumnInt64(11), NSFW: r.ColumnFloat(15)}
		if n := row.RatingCount; n > 0 {
			mean := r.ColumnFloat(12) / float64(n)
			row.RatingMean, row.RatingMedian = &mean, median(r.ColumnText(16))
		}
		if n := r.ColumnInt64(13); n > 0 {
			mean := r.ColumnFloat(14) / float64(n)
			row.ArtifactsMean = &mean
		}
		return add(row)
	})
}

// median is that of ratings in a list with commas, nil for none.
func median(list string) *float64 {
	var ratings []float64
	for text := range strings.SplitSeq(list, ",") {
		if rating, err := strconv.ParseFloat(text, 64); err == nil {
			ratings = append(ratings, rating)
		}
	}
	n := len(ratings)
	if n == 0 {
		return nil
	}
	slices.Sort(ratings)
	m := (ratings[(n-1)/2] + ratings[n/2]) / 2
	return &m
}

func datasetName(kind string) string {
	if kind == hordeShared {
		return kind
	}
	return "diffusiondb"
}

// asParquet writes the rows that each yields, in groups, of which one at a time is in memory.
func asParquet[T any](each func(add func(T) error) error) func(io.Writer) (int, error) {
	return func(out io.Writer) (int, error) {
		w, n := parquet.NewGenericWriter[T](out, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup)), 0
		some := make([]T, 0, atOnce)
		flush := func() error {
			_, err := w.Write(some)
			n, some = n+len(some), some[:0]
			return err
		}
		err := each(func(row T) error {
			if some = append(some, row); len(some) < atOnce {
				return nil
			}
			return flush()
		})
		if err == nil {
			err = flush()
		}
		return n, errors.Join(err, w.Close())
	}
}

// atOnce is how many rows are handed to a writer together.
const atOnce = 1024

// asLines writes the rows that each yields, a JSON object in a line.
func asLines[T any](each func(add func(T) error) error) func(io.Writer) (int, error) {
	return func(out io.Writer) (int, error) {
		z, err := zstd.NewWriter(out)
		if err != nil {
			return 0, err
		}
		lines, n := json.NewEncoder(z), 0
		err = each(func(row T) error {
			n++
			return lines.Encode(row)
		})
		return n, errors.Join(err, z.Close())
	}
}
