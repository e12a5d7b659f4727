// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"strconv"
	"strings"
	"time"

	"horde/internal/fediseer"
)

// param names the last of the arguments.
func param(args []any) string { return "$" + strconv.Itoa(len(args)) }

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// --- users and claims ---

const userQuery = `select u.id, u.account, u.username, u.api_key, u.key_sent, u.key_used, c.instance_id
	from users u join claims c on c.user_id = u.id `

func (t *Tx) users(what, rest string, args ...any) ([]fediseer.User, error) {
	var out []fediseer.User
	err := t.each(what, userQuery+rest, args, func(scan func(...any) error) error {
		var u fediseer.User
		var sent int64
		err := scan(&u.ID, &u.Account, &u.Username, &u.KeyHash, &sent, &u.KeyUsed, &u.InstanceID)
		u.KeySent = fromMicros(sent)
		out = append(out, u)
		return err
	})
	return out, err
}

// UserByKey returns the user whose key has this hash, or ErrNotFound.
func (t *Tx) UserByKey(hash string) (fediseer.User, error) {
	return firstUser(t.users("find a key", "where u.api_key = $1", hash))
}

// UserByAccount returns the user with this account, or ErrNotFound.
func (t *Tx) UserByAccount(account string) (fediseer.User, error) {
	return firstUser(t.users("find an account", "where u.account = $1", account))
}

func firstUser(list []fediseer.User, err error) (fediseer.User, error) {
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fediseer.User{}, err
	}
	return list[0], nil
}

// Claims returns the users that claimed the instance, in the order of their claims.
func (t *Tx) Claims(instanceID int64) ([]fediseer.User, error) {
	return t.users("list claims", "where c.instance_id = $1 order by c.id", instanceID)
}

// InsertUser stores a user and its claim. With root, user and claim get the id 0.
func (t *Tx) InsertUser(u *fediseer.User, now time.Time, root bool) error {
	ids, values := "", ""
	if root {
		ids, values = "id, ", "0, "
	}
	id, err := t.insert("store a user", "insert into users ("+ids+"account, username, api_key, key_sent, key_used, created, updated) values ("+
		values+"$1, $2, $3, $4, $5, $6, $7)", u.Account, u.Username, u.KeyHash, micros(u.KeySent), u.KeyUsed, micros(now), micros(now))
	if err != nil {
		return err
	}
	u.ID = id
	_, err = t.insert("store a claim", "insert into claims ("+ids+"user_id, instance_id, created) values ("+values+"$1, $2, $3)",
		u.ID, u.InstanceID, micros(now))
	return err
}

// SetKey changes the hash of a user's key; the old key stops working.
func (t *Tx) SetKey(userID int64, hash string, now time.Time) error {
	_, err := t.exec("change a key", "update users set api_key = $2, key_sent = $3, key_used = $4, updated = $3 where id = $1",
		userID, hash, micros(now), false)
	return err
}

// MarkKeyUsed records that a user's key was presented.
func (t *Tx) MarkKeyUsed(userID int64) error {
	_, err := t.exec("mark a key", "update users set key_used = $2 where id = $1", userID, true)
	return err
}

// DeleteUser removes a user and its claim.
func (t *Tx) DeleteUser(userID int64) error {
	_, err := t.exec("delete a user", "delete from users where id = $1", userID)
	return err
}

// --- guarantees ---

// Guarantor returns the instance that guarantees for this one, or ErrNotFound.
func (t *Tx) Guarantor(id int64) (*fediseer.Instance, error) {
	return first(t.instances("find a guarantor", "join guarantees g on g.guarantor_id = i.id where g.guaranteed_id = $1", id))
}

// GuaranteedBy returns the instances that this one guarantees, in the order of their names.
func (t *Tx) GuaranteedBy(id int64) ([]*fediseer.Instance, error) {
	return t.instances("list the guaranteed", "join guarantees g on g.guaranteed_id = i.id where g.guarantor_id = $1 order by i.domain", id)
}

// CountGuarantees counts the guarantees that an instance gave.
func (t *Tx) CountGuarantees(id int64) (int, error) {
	return t.count("count guarantees", "select count(*) from guarantees where guarantor_id = $1", id)
}

// InsertGuarantee stores a guarantee.
func (t *Tx) InsertGuarantee(guarantor, guaranteed int64, now time.Time) error {
	_, err := t.exec("store a guarantee", "insert into guarantees (guarantor_id, guaranteed_id, created) values ($1, $2, $3)",
		guarantor, guaranteed, micros(now))
	return err
}

// GuaranteeSince returns when the guarantee was given, or ErrNotFound.
func (t *Tx) GuaranteeSince(guarantor, guaranteed int64) (time.Time, error) {
	var created int64
	err := t.one("find a guarantee", "select created from guarantees where guarantor_id = $1 and guaranteed_id = $2",
		[]any{guarantor, guaranteed}, &created)
	return fromMicros(created), err
}

// DeleteGuarantee removes a guarantee.
func (t *Tx) DeleteGuarantee(guarantor, guaranteed int64) error {
	_, err := t.exec("delete a guarantee", "delete from guarantees where guarantor_id = $1 and guaranteed_id = $2", guarantor, guaranteed)
	return err
}

// maxChain bounds the walk up a chain, which the rules keep free of cycles: a record that was changed by hand must not
// hang a request.
const maxChain = 10000

// Chain returns the way from an instance up to the root, or to where it breaks.
func (t *Tx) Chain(id int64) (fediseer.Chain, error) {
	var chain fediseer.Chain
	seen := map[int64]bool{}
	err := t.each("walk up a chain", `with recursive up(id, depth) as (
			select cast($1 as bigint), 0
			union all
			select g.guarantor_id, up.depth + 1 from up join guarantees g on g.guaranteed_id = up.id
			where up.id <> 0 and up.depth < $2
		) select i.id, i.domain from up join instances i on i.id = up.id order by up.depth`,
		[]any{id, maxChain}, func(scan func(...any) error) error {
			var l fediseer.Link
			err := scan(&l.ID, &l.Domain)
			if !seen[l.ID] {
				seen[l.ID] = true
				chain = append(chain, l)
			}
			return err
		})
	return chain, err
}

// Descendants returns all instances below this one in the tree of guarantees, not itself.
func (t *Tx) Descendants(id int64) ([]*fediseer.Instance, error) {
	return t.instances("walk down a tree", `where i.id <> $1 and i.id in (
		with recursive down(id) as (
			select cast($1 as bigint)
			union
			select g.guaranteed_id from down join guarantees g on g.guarantor_id = down.id
		) select id from down) order by i.domain`, id)
}

// --- rejections ---

// LastRejection returns when rejector last withdrew its guarantee from rejected, or ErrNotFound.
func (t *Tx) LastRejection(rejector, rejected int64) (time.Time, error) {
	var performed int64
	err := t.one("find a rejection", "select performed from rejection_records where rejector_id = $1 and rejected_id = $2",
		[]any{rejector, rejected}, &performed)
	return fromMicros(performed), err
}

// Reject records that rejector withdrew its guarantee from rejected.
func (t *Tx) Reject(rejector, rejected int64, now time.Time) error {
	_, err := t.exec("record a rejection", `insert into rejection_records (rejector_id, rejected_id, created, performed)
		values ($1, $2, $3, $3) on conflict (rejector_id, rejected_id) do update set performed = excluded.performed`,
		rejector, rejected, micros(now))
	return err
}

// --- solicitations ---

// Solicitation is a request for a guarantee. Target is nil for an open one.
type Solicitation struct {
	Source  int64
	Target  *int64
	Comment *string
	Created time.Time
}

// Solicitations returns those of an instance, newest first.
func (t *Tx) Solicitations(source int64) ([]Solicitation, error) {
	var out []Solicitation
	err := t.each("list solicitations", "select source_id, target_id, comment, created from solicitations where source_id = $1 order by created desc, id desc",
		[]any{source}, func(scan func(...any) error) error {
			var s Solicitation
			var created int64
			err := scan(&s.Source, &s.Target, &s.Comment, &created)
			s.Created = fromMicros(created)
			out = append(out, s)
			return err
		})
	return out, err
}

// InsertSolicitation stores one.
func (t *Tx) InsertSolicitation(s Solicitation) error {
	_, err := t.exec("store a solicitation", "insert into solicitations (source_id, target_id, comment, created) values ($1, $2, $3, $4)",
		s.Source, s.Target, s.Comment, micros(s.Created))
	return err
}

// DeleteSolicitations removes all of an instance.
func (t *Tx) DeleteSolicitations(source int64) error {
	_, err := t.exec("delete solicitations", "delete from solicitations where source_id = $1", source)
	return err
}

// Solicited is an instance that asks for a guarantee, with the comment of its newest solicitation.
type Solicited struct {
	ID      int64
	Comment *string
}

// SolicitingInstances returns the instances with a solicitation and fewer failed polls than maxFailures, ordered by their
// oldest solicitation.
func (t *Tx) SolicitingInstances(maxFailures int) ([]Solicited, error) {
	var out []Solicited
	err := t.each("list soliciting instances", `select s.source_id,
			(select n.comment from solicitations n where n.source_id = s.source_id order by n.created desc, n.id desc limit 1)
		from solicitations s join instances i on i.id = s.source_id where i.poll_failures < $1
		group by s.source_id order by min(s.created), min(s.id)`, []any{maxFailures}, func(scan func(...any) error) error {
		var s Solicited
		err := scan(&s.ID, &s.Comment)
		out = append(out, s)
		return err
	})
	return out, err
}

// --- flags ---

// SetFlag stores a flag or changes its comment.
func (t *Tx) SetFlag(instance int64, f fediseer.FlagRecord, now time.Time) error {
	_, err := t.exec("store a flag", `insert into instance_flags (instance_id, flag, comment, created) values ($1, $2, $3, $4)
		on conflict (instance_id, flag) do update set comment = excluded.comment`, instance, string(f.Flag), f.Comment, micros(now))
	return err
}

// DeleteFlag removes a flag and tells whether there was one.
func (t *Tx) DeleteFlag(instance int64, f fediseer.Flag) (bool, error) {
	n, err := t.exec("delete a flag", "delete from instance_flags where instance_id = $1 and flag = $2", instance, string(f))
	return n > 0, err
}

// Flag returns the record of a flag, or ErrNotFound.
func (t *Tx) Flag(instance int64, f fediseer.Flag) (fediseer.FlagRecord, error) {
	r := fediseer.FlagRecord{Flag: f}
	err := t.one("find a flag", "select comment from instance_flags where instance_id = $1 and flag = $2", []any{instance, string(f)}, &r.Comment)
	return r, err
}

// --- tags ---

// Tags returns the tags of an instance, muted or not, in the order in which they were added.
func (t *Tx) Tags(instance int64) ([]string, error) {
	var out []string
	err := t.each("list tags", "select tag from instance_tags where instance_id = $1 order by id", []any{instance}, func(scan func(...any) error) error {
		var s string
		err := scan(&s)
		out = append(out, s)
		return err
	})
	return out, err
}

// InsertTag stores a tag. Tags of an instance differ in more than case.
func (t *Tx) InsertTag(instance int64, tag string, now time.Time) error {
	_, err := t.exec("store a tag", "insert into instance_tags (instance_id, tag, tag_lower, created) values ($1, $2, $3, $4)",
		instance, tag, strings.ToLower(tag), micros(now))
	return err
}

// DeleteTag removes a tag in whatever case and tells whether there was one.
func (t *Tx) DeleteTag(instance int64, tag string) (bool, error) {
	n, err := t.exec("delete a tag", "delete from instance_tags where instance_id = $1 and tag_lower = $2", instance, strings.ToLower(tag))
	return n > 0, err
}

// TagCount is a tag in lower case and the number of instances that carry it.
type TagCount struct {
	Tag   string `json:"tag"`
	Count int    `json:"count"`
}

// TagCounts counts the tags of all instances that are not muted, most frequent first.
func (t *Tx) TagCounts() ([]TagCount, error) {
	out := []TagCount{}
	err := t.each("count tags", `select tag_lower, count(*) from instance_tags x where not exists
		(select 1 from instance_flags m where m.instance_id = x.instance_id and m.flag = 'MUTED')
		group by tag_lower order by count(*) desc, tag_lower`, nil, func(scan func(...any) error) error {
		var c TagCount
		err := scan(&c.Tag, &c.Count)
		out = append(out, c)
		return err
	})
	return out, err
}

// --- reports ---

// InsertReport adds a line to the public log.
func (t *Tx) InsertReport(r fediseer.Report) error {
	_, err := t.exec("store a report", "insert into reports (source_domain, target_domain, report_type, report_activity, created) values ($1, $2, $3, $4, $5)",
		r.Source, r.Target, string(r.Type), string(r.Activity), micros(r.Created))
	return err
}

// CountReports counts the lines that an instance caused since then.
func (t *Tx) CountReports(source fediseer.Domain, since time.Time) (int, error) {
	return t.count("count reports", "select count(*) from reports where source_domain = $1 and created > $2", string(source), micros(since))
}

// ReportFilter selects lines of the log. Zero fields do not filter.
type ReportFilter struct {
	Sources, Targets []string // any of them, exactly
	Type             fediseer.ReportType
	Activity         fediseer.ReportActivity
}

// Reports returns a page of the log, newest first.
func (t *Tx) Reports(f ReportFilter, limit, offset int) ([]fediseer.Report, error) {
	where, args := " where 1 = 1", []any{}
	if f.Sources != nil {
		args = append(args, t.s.dialect.textList(f.Sources))
		where += " and " + t.s.dialect.inTexts("source_domain", param(args))
	}
	if f.Targets != nil {
		args = append(args, t.s.dialect.textList(f.Targets))
		where += " and " + t.s.dialect.inTexts("target_domain", param(args))
	}
	if f.Type != "" {
		args = append(args, string(f.Type))
		where += " and report_type = " + param(args)
	}
	if f.Activity != "" {
		args = append(args, string(f.Activity))
		where += " and report_activity = " + param(args)
	}
	args = append(args, limit, offset)
	out := []fediseer.Report{}
	err := t.each("list reports", "select source_domain, target_domain, report_type, report_activity, created from reports"+where+
		" order by created desc, id desc limit "+param(args[:len(args)-1])+" offset "+param(args), args, func(scan func(...any) error) error {
		var r fediseer.Report
		var created int64
		err := scan(&r.Source, &r.Target, &r.Type, &r.Activity, &created)
		r.Created = fromMicros(created)
		out = append(out, r)
		return err
	})
	return out, err
}

// --- rebuttals ---

// Rebuttal returns what source answered to target's judgement, or ErrNotFound.
func (t *Tx) Rebuttal(source, target int64) (string, error) {
	var text string
	err := t.one("find a rebuttal", "select rebuttal from rebuttals where source_id = $1 and target_id = $2", []any{source, target}, &text)
	return text, err
}

// Rebuttals returns all rebuttals of a source by target.
func (t *Tx) Rebuttals(source int64) (map[int64]string, error) {
	out := map[int64]string{}
	err := t.each("list rebuttals", "select target_id, rebuttal from rebuttals where source_id = $1", []any{source}, func(scan func(...any) error) error {
		var id int64
		var text string
		err := scan(&id, &text)
		out[id] = text
		return err
	})
	return out, err
}

// SetRebuttal stores or changes a rebuttal.
func (t *Tx) SetRebuttal(source, target int64, text string, now time.Time) error {
	_, err := t.exec("store a rebuttal", `insert into rebuttals (source_id, target_id, rebuttal, created) values ($1, $2, $3, $4)
		on conflict (source_id, target_id) do update set rebuttal = excluded.rebuttal`, source, target, text, micros(now))
	return err
}

// DeleteRebuttal removes a rebuttal and tells whether there was one.
func (t *Tx) DeleteRebuttal(source, target int64) (bool, error) {
	n, err := t.exec("delete a rebuttal", "delete from rebuttals where source_id = $1 and target_id = $2", source, target)
	return n > 0, err
}
