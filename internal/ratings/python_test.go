// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
)

// readers reads the exports as researchers do, with DuckDB and pandas.
const readers = `
import sys, duckdb, pandas
d = sys.argv[1]
f = pandas.read_parquet(d + "/diffusiondb_export.parquet")
assert list(f.columns) == ["id", "ratings_count", "rating", "kudos", "account_age", "usage_requests", "created_at", "client_agent",
    "artifacts", "user_id", "trusted", "validated", "captchas_failed", "country"], list(f.columns)
assert len(f) == 4 and len(f[f.kudos != -50]) == 3, f
assert f.groupby("id").rating.mean().iloc[0] == 3.25
assert f.artifacts.isna().sum() == 3 and f.artifacts.max() == 2
assert str(f.created_at.dt.tz) == "UTC" and f.trusted.dtype == bool
q = duckdb.sql(f"select count(*), avg(rating), count(artifacts), min(dataset), min(weight) from '{d}/ratings-v1.parquet'").fetchall()[0]
assert q[:4] == (4, 3.25, 1, "horde_shared") and 0 < q[4] < 1, q
q = duckdb.sql(f"select count(*) from read_json('{d}/ratings-v1.jsonl.zst', compression='zstd')").fetchall()[0]
assert q == (4,), q
assert len(pandas.read_parquet(d + "/pairs-v1.parquet")) == 4
i = pandas.read_parquet(d + "/images-v1.parquet")
assert len(i) == 2 and sorted(i.rating_count) == [0, 4] and i.rating_median.max() == 1, i
`

func TestExportsAreReadByOthers(t *testing.T) {
	t.Parallel()
	python := filepath.Join(os.Getenv("HORDE_TEST_PARTS"), "ratings-venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
			t.Fatalf("no Python with DuckDB and pandas: %v", err)
		}
		t.Skip("no Python with DuckDB and pandas; hack/parts-ratings.sh installs one")
	}
	s := open(t)
	id, other, flaws := uuid.NewString(), uuid.NewString(), 2
	for _, shared := range []string{id, other} {
		if err := writeFile(s.imagePath(shared), []byte("image")); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"x#5", "x#6", "x#7", "Anonymous#0"} {
		rated := horde.ImageRating{ID: id, Rating: 1}
		if i == 0 {
			rated = horde.ImageRating{ID: id, Rating: 10, Artifacts: &flaws}
		}
		if err := s.Set(t.Context(), horde.RatingSet{Set: uuid.NewString(), All: []string{id, other}, Best: id, User: horde.RatingUser{Name: name}, Rated: []horde.ImageRating{rated}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Export(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", readers, filepath.Join(s.Dir, "exports")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
