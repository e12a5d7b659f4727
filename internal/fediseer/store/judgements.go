// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"horde/internal/fediseer"
)

// judgementTable says how a kind of judgement is stored.
type judgementTable struct{ name, judge, target, evidence string }

var judgementTables = [fediseer.NumKinds]judgementTable{
	fediseer.Endorsement: {"endorsements", "approving_id", "endorsed_id", "cast(null as text)"},
	fediseer.Censure:     {"censures", "censuring_id", "censured_id", "evidence"},
	fediseer.Hesitation:  {"hesitations", "hesitant_id", "dubious_id", "evidence"},
}

func (t *Tx) judgements(k fediseer.Kind, where string, args ...any) ([]fediseer.Judgement, error) {
	x := judgementTables[k]
	var out []fediseer.Judgement
	err := t.each("list "+x.name, fmt.Sprintf("select %s, %s, reason, %s, created from %s where %s", x.judge, x.target, x.evidence, x.name, where),
		args, func(scan func(...any) error) error {
			var j fediseer.Judgement
			var created int64
			err := scan(&j.JudgeID, &j.TargetID, &j.Reason, &j.Evidence, &created)
			j.Created = fromMicros(created)
			out = append(out, j)
			return err
		})
	return out, err
}

// Judgement returns what judge says about target, or ErrNotFound.
func (t *Tx) Judgement(k fediseer.Kind, judge, target int64) (fediseer.Judgement, error) {
	x := judgementTables[k]
	list, err := t.judgements(k, x.judge+" = $1 and "+x.target+" = $2", judge, target)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fediseer.Judgement{}, err
	}
	return list[0], nil
}

// HasJudgement tells whether judge says something of the kind about target.
func (t *Tx) HasJudgement(k fediseer.Kind, judge, target int64) (bool, error) {
	_, err := t.Judgement(k, judge, target)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// JudgementsBy returns everything that a judge says, JudgementsOf everything that is said about a target.
func (t *Tx) JudgementsBy(k fediseer.Kind, judge int64) ([]fediseer.Judgement, error) {
	return t.judgements(k, judgementTables[k].judge+" = $1", judge)
}

// JudgementsOf returns everything that is said about a target.
func (t *Tx) JudgementsOf(k fediseer.Kind, target int64) ([]fediseer.Judgement, error) {
	return t.judgements(k, judgementTables[k].target+" = $1", target)
}

// JudgementsAbout returns what any of the judges says about any of the targets.
func (t *Tx) JudgementsAbout(k fediseer.Kind, judges, targets []int64) ([]fediseer.Judgement, error) {
	x, d := judgementTables[k], t.s.dialect
	return t.judgements(k, d.inInts(x.judge, "$1")+" and "+d.inInts(x.target, "$2"), d.intList(judges), d.intList(targets))
}

// CountJudgements counts what a judge says.
func (t *Tx) CountJudgements(k fediseer.Kind, judge int64) (int, error) {
	x := judgementTables[k]
	return t.count("count "+x.name, "select count(*) from "+x.name+" where "+x.judge+" = $1", judge)
}

// SetJudgement stores a judgement, or changes reason and evidence of the one that there is.
func (t *Tx) SetJudgement(k fediseer.Kind, j fediseer.Judgement) error {
	x := judgementTables[k]
	columns, values, change := "", "", ""
	args := []any{j.JudgeID, j.TargetID, j.Reason, micros(j.Created)}
	if k.HasEvidence() {
		columns, values, change = ", evidence", ", $5", ", evidence = excluded.evidence"
		args = append(args, j.Evidence)
	}
	_, err := t.exec("store in "+x.name, fmt.Sprintf(`insert into %s (%s, %s, reason, created%s) values ($1, $2, $3, $4%s)
		on conflict (%[2]s, %[3]s) do update set reason = excluded.reason%[6]s`, x.name, x.judge, x.target, columns, values, change), args...)
	if err != nil {
		return err
	}
	return t.bumpLists(j.JudgeID)
}

// DeleteJudgement removes a judgement and tells whether there was one.
func (t *Tx) DeleteJudgement(k fediseer.Kind, judge, target int64) (bool, error) {
	x := judgementTables[k]
	n, err := t.exec("delete from "+x.name, "delete from "+x.name+" where "+x.judge+" = $1 and "+x.target+" = $2", judge, target)
	if err != nil || n == 0 {
		return false, err
	}
	return true, t.bumpLists(judge)
}

func (t *Tx) bumpLists(judge int64) error {
	_, err := t.exec("note a change of lists", "update instances set lists_version = lists_version + 1 where id = $1", judge)
	return err
}

// Lists returns the list of each judge, sorted by domain. The entries are shared with a cache: read only.
func (t *Tx) Lists(k fediseer.Kind, judges []*fediseer.Instance) ([][]fediseer.ListEntry, error) {
	out := make([][]fediseer.ListEntry, len(judges))
	var missing []int64
	at := map[int64]int{}
	for i, in := range judges {
		if l, ok := t.s.lists.get(k, in.ID, in.ListsVersion); ok {
			out[i] = l
		} else {
			at[in.ID] = i
			missing = append(missing, in.ID)
		}
	}
	if missing == nil {
		return out, nil
	}
	x := judgementTables[k]
	hasEvidence := "false"
	if k.HasEvidence() {
		hasEvidence = "j.evidence is not null"
	}
	texts := t.s.lists.interner()
	err := t.each("read "+x.name, fmt.Sprintf(`select j.id, j.%s, j.%s, i.domain, j.reason, %s from %s j join instances i on i.id = j.%[2]s where %[5]s`,
		x.judge, x.target, hasEvidence, x.name, t.s.dialect.inInts("j."+x.judge, "$1")), []any{t.s.dialect.intList(missing)}, func(scan func(...any) error) error {
		var judge int64
		var reason sql.NullString
		var e fediseer.ListEntry
		if err := scan(&e.ID, &judge, &e.TargetID, &e.Target, &reason, &e.HasEvidence); err != nil {
			return err
		}
		e.Target = texts.domain(e.Target)
		if reason.Valid {
			e.Reason = texts.reason(reason.String)
		}
		i := at[judge]
		out[i] = append(out[i], e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, i := range at {
		slices.SortFunc(out[i], func(a, b fediseer.ListEntry) int { return strings.Compare(string(a.Target), string(b.Target)) })
		out[i] = slices.Clip(out[i])
		t.s.lists.put(k, id, judges[i].ListsVersion, out[i])
	}
	return out, nil
}

// Evidence returns the evidence of judgements by their ids, as far as there is any.
func (t *Tx) Evidence(k fediseer.Kind, ids []int64) (map[int64]string, error) {
	out := map[int64]string{}
	if !k.HasEvidence() || len(ids) == 0 {
		return out, nil
	}
	err := t.each("read evidence", "select id, evidence from "+judgementTables[k].name+" where evidence is not null and "+t.s.dialect.inInts("id", "$1"),
		[]any{t.s.dialect.intList(ids)}, func(scan func(...any) error) error {
			var id int64
			var text string
			err := scan(&id, &text)
			out[id] = text
			return err
		})
	return out, err
}
