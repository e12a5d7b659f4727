// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"database/sql"
	"time"

	"horde/internal/fediseer"
)

const instanceColumns = `i.id, i.domain, i.created, i.updated, i.orphan_since, i.software, i.version, i.open_registrations,
	i.email_verify, i.approval_required, i.has_captcha, i.sysadmins, i.moderators, i.max_list_size, i.pm_proxy,
	i.poll_failures, i.visibility_endorsements, i.visibility_censures, i.visibility_hesitations, i.lists_version`

func scanInstance(scan func(...any) error) (*fediseer.Instance, error) {
	in := new(fediseer.Instance)
	var created, updated int64
	var orphan sql.NullInt64
	if err := scan(&in.ID, &in.Domain, &created, &updated, &orphan, &in.Software, &in.Version, &in.OpenRegistrations,
		&in.EmailVerify, &in.ApprovalRequired, &in.HasCaptcha, &in.Sysadmins, &in.Moderators, &in.MaxListSize, &in.PMProxy,
		&in.PollFailures, &in.VisibilityOf[fediseer.Endorsement], &in.VisibilityOf[fediseer.Censure],
		&in.VisibilityOf[fediseer.Hesitation], &in.ListsVersion); err != nil {
		return nil, err
	}
	in.Created, in.Updated = fromMicros(created), fromMicros(updated)
	if orphan.Valid {
		in.OrphanSince = fromMicros(orphan.Int64)
	}
	return in, nil
}

func (t *Tx) instances(what, rest string, args ...any) ([]*fediseer.Instance, error) {
	var out []*fediseer.Instance
	err := t.each(what, "select "+instanceColumns+" from instances i "+rest, args, func(scan func(...any) error) error {
		in, err := scanInstance(scan)
		out = append(out, in)
		return err
	})
	return out, err
}

func first(list []*fediseer.Instance, err error) (*fediseer.Instance, error) {
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Instance returns the instance with this domain, or ErrNotFound.
func (t *Tx) Instance(d fediseer.Domain) (*fediseer.Instance, error) {
	return first(t.instances("find an instance", "where i.domain = $1", string(d)))
}

// InstanceByID returns the instance with this id, or ErrNotFound.
func (t *Tx) InstanceByID(id int64) (*fediseer.Instance, error) {
	return first(t.instances("find an instance by id", "where i.id = $1", id))
}

// Instances returns those of the domains that are registered, each once, in the order of their names.
func (t *Tx) Instances(ds []fediseer.Domain) ([]*fediseer.Instance, error) {
	names := make([]string, len(ds))
	for i, d := range ds {
		names[i] = string(d)
	}
	return t.instances("find instances", "where "+t.s.dialect.inTexts("i.domain", "$1")+" order by i.domain",
		t.s.dialect.textList(names))
}

// InsertInstance stores a new instance. Its ID is set, unless it is the root, which is stored with the id it has.
func (t *Tx) InsertInstance(in *fediseer.Instance, root bool) error {
	columns, first, args := "", "", []any{string(in.Domain), micros(in.Created), micros(in.Updated), nullMicros(in.OrphanSince),
		in.Software, in.Version, in.OpenRegistrations, in.EmailVerify, in.ApprovalRequired, in.HasCaptcha, in.Sysadmins,
		in.Moderators, in.MaxListSize, string(in.PMProxy), in.PollFailures, string(in.VisibilityOf[fediseer.Endorsement]),
		string(in.VisibilityOf[fediseer.Censure]), string(in.VisibilityOf[fediseer.Hesitation])}
	if root {
		columns, first, args = "id, ", "$19, ", append(args, in.ID)
	}
	id, err := t.insert("store an instance", `insert into instances (`+columns+`domain, created, updated, orphan_since, software,
		version, open_registrations, email_verify, approval_required, has_captcha, sysadmins, moderators, max_list_size, pm_proxy,
		poll_failures, visibility_endorsements, visibility_censures, visibility_hesitations)
		values (`+first+`$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`, args...)
	in.ID = id
	return err
}

// UpdateInstance stores everything of in that can change, except for its lists' version.
func (t *Tx) UpdateInstance(in *fediseer.Instance) error {
	_, err := t.exec("change an instance", `update instances set updated = $2, orphan_since = $3, software = $4, version = $5,
		open_registrations = $6, email_verify = $7, approval_required = $8, has_captcha = $9, sysadmins = $10, moderators = $11,
		max_list_size = $12, pm_proxy = $13, poll_failures = $14, visibility_endorsements = $15, visibility_censures = $16,
		visibility_hesitations = $17 where id = $1`,
		in.ID, micros(in.Updated), nullMicros(in.OrphanSince), in.Software, in.Version, in.OpenRegistrations, in.EmailVerify,
		in.ApprovalRequired, in.HasCaptcha, in.Sysadmins, in.Moderators, in.MaxListSize, string(in.PMProxy), in.PollFailures,
		string(in.VisibilityOf[fediseer.Endorsement]), string(in.VisibilityOf[fediseer.Censure]),
		string(in.VisibilityOf[fediseer.Hesitation]))
	return err
}

// SetOrphanSince marks the instances as cut off since then, or no longer when since is zero.
func (t *Tx) SetOrphanSince(ids []int64, since time.Time) error {
	_, err := t.exec("mark orphans", "update instances set orphan_since = $2 where "+t.s.dialect.inInts("id", "$1"),
		t.s.dialect.intList(ids), nullMicros(since))
	return err
}

// DomainsAfter returns up to limit instances with a domain after d, in the order of their names: a way to walk through
// all of them in bounded memory. Start with an empty d.
func (t *Tx) DomainsAfter(d fediseer.Domain, limit int) ([]*fediseer.Instance, error) {
	return t.instances("walk through the instances", "where i.domain > $1 order by i.domain limit $2", string(d), limit)
}

// WhitelistFilter selects from the instances. The zero value selects every instance that is not hidden as an orphan.
type WhitelistFilter struct {
	MinEndorsements, MinGuarantors int
	Tags, Software                 []string // lower case; any of them; nil does not filter
	// OrphanBefore hides instances that were cut off before then.
	OrphanBefore time.Time
	// NamePart, if not empty, must be contained in the domain.
	NamePart string
}

func (t *Tx) whitelistWhere(f WhitelistFilter) (string, []any) {
	where := "where (i.orphan_since is null or i.orphan_since >= $1)"
	args := []any{micros(f.OrphanBefore)}
	if f.MinGuarantors > 0 {
		args = append(args, f.MinGuarantors)
		where += " and (select count(*) from guarantees g where g.guaranteed_id = i.id) >= " + param(args)
	}
	if f.MinEndorsements > 0 {
		args = append(args, f.MinEndorsements)
		where += " and (select count(*) from endorsements e where e.endorsed_id = i.id) >= " + param(args)
	}
	if f.Tags != nil {
		args = append(args, t.s.dialect.textList(f.Tags))
		where += " and exists (select 1 from instance_tags x where x.instance_id = i.id and " +
			t.s.dialect.inTexts("x.tag_lower", param(args)) +
			") and not exists (select 1 from instance_flags m where m.instance_id = i.id and m.flag = 'MUTED')"
	}
	if f.Software != nil {
		args = append(args, t.s.dialect.textList(f.Software))
		where += " and " + t.s.dialect.inTexts("i.software", param(args))
	}
	if f.NamePart != "" {
		args = append(args, "%"+likeEscaper.Replace(f.NamePart)+"%")
		where += " and i.domain like " + param(args) + ` escape '!'`
	}
	return where, args
}

// Whitelist returns a page of the instances that pass the filter, newest first, and how many pass in all.
func (t *Tx) Whitelist(f WhitelistFilter, limit, offset int) ([]*fediseer.Instance, int, error) {
	where, args := t.whitelistWhere(f)
	total, err := t.count("count the whitelist", "select count(*) from instances i "+where, args...)
	if err != nil {
		return nil, 0, err
	}
	args = append(args, limit, offset)
	list, err := t.instances("list the whitelist", where+" order by i.created desc, i.id desc limit "+param(args[:len(args)-1])+
		" offset "+param(args), args...)
	return list, total, err
}

// Details adds to the instances what lists show of them. The order is kept.
func (t *Tx) Details(list []*fediseer.Instance) ([]*fediseer.Details, error) {
	out := make([]*fediseer.Details, len(list))
	byID := make(map[int64]*fediseer.Details, len(list))
	ids := make([]int64, len(list))
	for i, in := range list {
		d := byID[in.ID]
		if d == nil {
			d = &fediseer.Details{Instance: *in}
			byID[in.ID] = d
		}
		out[i], ids[i] = d, in.ID
	}
	if len(ids) == 0 {
		return out, nil
	}
	arg := []any{t.s.dialect.intList(ids)}
	counts := func(column, table string, to func(*fediseer.Details, int)) error {
		return t.each("count "+table, "select "+column+", count(*) from "+table+" where "+t.s.dialect.inInts(column, "$1")+
			" group by "+column, arg, func(scan func(...any) error) error {
			var id int64
			var n int
			err := scan(&id, &n)
			if d := byID[id]; d != nil {
				to(d, n)
			}
			return err
		})
	}
	if err := counts("instance_id", "claims", func(d *fediseer.Details, n int) { d.Claimed = n }); err != nil {
		return nil, err
	}
	if err := counts("approving_id", "endorsements", func(d *fediseer.Details, n int) { d.Approvals = n }); err != nil {
		return nil, err
	}
	if err := counts("endorsed_id", "endorsements", func(d *fediseer.Details, n int) { d.Endorsements = n }); err != nil {
		return nil, err
	}
	err := t.each("find guarantors", "select g.guaranteed_id, i.domain from guarantees g join instances i on i.id = g.guarantor_id where "+
		t.s.dialect.inInts("g.guaranteed_id", "$1"), arg, func(scan func(...any) error) error {
		var id int64
		var d fediseer.Domain
		err := scan(&id, &d)
		byID[id].Guarantor = d
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.each("find flags", "select instance_id, flag, comment from instance_flags where "+
		t.s.dialect.inInts("instance_id", "$1")+" order by id", arg, func(scan func(...any) error) error {
		var id int64
		var f fediseer.FlagRecord
		err := scan(&id, &f.Flag, &f.Comment)
		byID[id].Flags = append(byID[id].Flags, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.each("find tags", "select instance_id, tag from instance_tags where "+t.s.dialect.inInts("instance_id", "$1")+
		" order by id", arg, func(scan func(...any) error) error {
		var id int64
		var tag string
		err := scan(&id, &tag)
		if d := byID[id]; !d.HasFlag(fediseer.Muted) {
			d.Tags = append(d.Tags, tag)
		}
		return err
	})
	return out, err
}

// DetailsByID is Details for ids. Ids without a row are left out; the order is kept.
func (t *Tx) DetailsByID(ids []int64) ([]*fediseer.Details, error) {
	found, err := t.instances("find instances by id", "where "+t.s.dialect.inInts("i.id", "$1"), t.s.dialect.intList(ids))
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]*fediseer.Instance, len(found))
	for _, in := range found {
		byID[in.ID] = in
	}
	list := make([]*fediseer.Instance, 0, len(ids))
	for _, id := range ids {
		if in := byID[id]; in != nil {
			list = append(list, in)
		}
	}
	return t.Details(list)
}
