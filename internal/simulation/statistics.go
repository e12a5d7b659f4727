// SPDX-License-Identifier: AGPL-3.0-or-later

package simulation

import (
	"encoding/json"
	"strings"

	"horde/internal/horde"
	"horde/internal/store"
)

// counted is what the record's statistics say was made, by the documents that say so.
type counted struct {
	minutes, hours, pasts map[string]horde.Tally
	// folded is the first hour that is not in the sum of the past, by kind; hourAt the number of each hour.
	folded map[string]int64
	hourAt map[string]int64
	all    int64
}

func newCounted() counted {
	return counted{
		minutes: map[string]horde.Tally{}, hours: map[string]horde.Tally{}, pasts: map[string]horde.Tally{},
		folded: map[string]int64{}, hourAt: map[string]int64{},
	}
}

// take mirrors the statistics of a batch and returns by how many results they grew.
func (c *counted) take(documents []store.Document) int64 {
	for _, d := range documents {
		if !strings.HasPrefix(d.Kind, "stat ") {
			continue
		}
		var at struct {
			horde.Tally
			At     int64 `json:"at"`
			Before int64 `json:"before"`
		}
		if d.Data != nil {
			if err := json.Unmarshal(d.Data, &at); err != nil {
				panic(err)
			}
		}
		switch d.Kind {
		case "stat minute":
			c.minutes[d.ID] = at.Tally
		case "stat past":
			c.pasts[d.ID], c.folded[d.ID] = at.Tally, at.Before
		case "stat hour":
			if delete(c.hours, d.ID); d.Data != nil {
				c.hours[d.ID], c.hourAt[d.ID] = at.Tally, at.At
			}
		}
	}
	var sum int64
	for _, t := range c.minutes {
		sum += t.Results
	}
	for _, t := range c.pasts {
		sum += t.Results
	}
	for id, t := range c.hours {
		if kind, _, _ := strings.Cut(id, " "); c.hourAt[id] >= c.folded[kind] {
			sum += t.Results
		}
	}
	grew := sum - c.all
	c.all = sum
	return grew
}

// tallied checks that each result is in the statistics when it is in the record, once and for ever. It is called before the
// jobs of the batch are mirrored. Jobs that fail count unless they were cancelled before;
// those of requests that go in the same batch are not in it.
func (r *record) tallied(b *store.Batch) {
	var delivered, failed int64
	for _, j := range b.Jobs {
		if was, known := r.jobs[j.ID]; j.Decoy || known && was.State != horde.JobRunning {
			continue
		}
		switch j.State {
		case horde.JobDelivered:
			delivered++
		case horde.JobFaulted:
			failed++
		}
	}
	if grew := r.counted.take(b.Documents); grew < delivered || grew > delivered+failed && len(b.DeletedRequests) == 0 {
		r.find("%d results and %d failures came with %d in the statistics", delivered, failed, grew)
	}
}
