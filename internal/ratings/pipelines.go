// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"cmp"
	"math"
	"slices"

	"zombiezen.com/go/sqlite"
)

// pipelineRow is a row of pipelines-v1: how a pipeline of a model does against the others in comparisons of two images.
type pipelineRow struct {
	Model       string  `parquet:"model,dict" json:"model"`
	Pipeline    string  `parquet:"pipeline,dict" json:"pipeline"`
	Strength    float64 `parquet:"strength" json:"strength"`
	Wins        int64   `parquet:"wins" json:"wins"`
	Losses      int64   `parquet:"losses" json:"losses"`
	WeightedWon float64 `parquet:"weighted_wins" json:"weighted_wins"`
	WeightedOf  float64 `parquet:"weighted_comparisons" json:"weighted_comparisons"`
}

// contest is what comparisons of the pipelines of one model have said.
type contest struct {
	names  []string
	index  map[string]int
	wins   map[[2]int]float64 // by winner and loser, each comparison with the weight of its rater
	counts map[[2]int]int64
}

func newContest() *contest {
	return &contest{index: map[string]int{}, wins: map[[2]int]float64{}, counts: map[[2]int]int64{}}
}

func (c *contest) at(name string) int {
	i, known := c.index[name]
	if !known {
		i = len(c.names)
		c.index[name], c.names = i, append(c.names, name)
	}
	return i
}

func (c *contest) add(winner, loser string, weight float64) {
	pair := [2]int{c.at(winner), c.at(loser)}
	c.wins[pair] += weight
	c.counts[pair]++
}

// How strengths are found.
const (
	// priorWins is what each of two pipelines that were compared is taken to have won besides, so that one that never lost has a
	// strength that is finite.
	priorWins      = 0.5
	strengthRounds = 1000
	strengthDiffer = 1e-10 // below which a round changes nothing
)

// strengths are those of the Bradley-Terry model: that i beats j has the probability e^s(i) / (e^s(i) + e^s(j)). Their sum is 0. They
// are found by the usual iteration (Hunter, MM algorithms for generalized Bradley-Terry models, 2004).
func (c *contest) strengths() []float64 {
	n := len(c.names)
	won, met := make([]float64, n), map[[2]int]float64{} // by the lower and the higher index
	for pair := range c.counts {
		i, j := min(pair[0], pair[1]), max(pair[0], pair[1])
		if _, seen := met[[2]int{i, j}]; seen {
			continue
		}
		ij, ji := c.wins[[2]int{i, j}]+priorWins, c.wins[[2]int{j, i}]+priorWins
		met[[2]int{i, j}] = ij + ji
		won[i], won[j] = won[i]+ij, won[j]+ji
	}
	p := make([]float64, n)
	for i := range p {
		p[i] = 1
	}
	for range strengthRounds {
		below := make([]float64, n)
		for pair, times := range met {
			share := times / (p[pair[0]] + p[pair[1]])
			below[pair[0]], below[pair[1]] = below[pair[0]]+share, below[pair[1]]+share
		}
		mean, moved := 0.0, 0.0
		next := make([]float64, n)
		for i := range next {
			next[i] = won[i] / below[i]
			mean += math.Log(next[i]) / float64(n)
		}
		for i := range next {
			next[i] /= math.Exp(mean)
			moved = max(moved, math.Abs(next[i]-p[i]))
		}
		if p = next; moved < strengthDiffer {
			break
		}
	}
	for i := range p {
		p[i] = math.Log(p[i])
	}
	return p
}

// pipelines yields the pipelines by model, the strongest first.
func (x *snapshot) pipelines(add func(pipelineRow) error) error {
	contests, models := map[string]*contest{}, []string{}
	err := x.rows(`select w.model, w.pipeline, l.pipeline, coalesce(p.corr, 0), coalesce(p.validated, 0), coalesce(p.flagged, 0), coalesce(p.failed - p.passed, 0)
		from pairs c join images w on w.id = c.winner join images l on l.id = c.loser left join raters p on p.rater = 'u:' || c.user_id
		where c.excluded = 0 and w.model = l.model and w.pipeline <> '' and l.pipeline <> '' and w.pipeline <> l.pipeline order by w.model, c.created, c.set_id`,
		func(r *sqlite.Stmt) error {
			c := contests[r.ColumnText(0)]
			if c == nil {
				c = newContest()
				contests[r.ColumnText(0)], models = c, append(models, r.ColumnText(0))
			}
			c.add(r.ColumnText(1), r.ColumnText(2), weight(r.ColumnFloat(3), false, r.ColumnBool(4), r.ColumnBool(5), r.ColumnInt64(6)))
			return nil
		})
	if err != nil {
		return err
	}
	for _, model := range models {
		c := contests[model]
		rows := make([]pipelineRow, len(c.names))
		for i, s := range c.strengths() {
			rows[i] = pipelineRow{Model: model, Pipeline: c.names[i], Strength: s}
		}
		for pair, n := range c.counts {
			winner, loser, w := &rows[pair[0]], &rows[pair[1]], c.wins[pair]
			winner.Wins, loser.Losses = winner.Wins+n, loser.Losses+n
			winner.WeightedWon, winner.WeightedOf, loser.WeightedOf = winner.WeightedWon+w, winner.WeightedOf+w, loser.WeightedOf+w
		}
		slices.SortFunc(rows, func(a, b pipelineRow) int {
			return cmp.Or(cmp.Compare(b.Strength, a.Strength), cmp.Compare(a.Pipeline, b.Pipeline))
		})
		for _, row := range rows {
			if err := add(row); err != nil {
				return err
			}
		}
	}
	return nil
}
