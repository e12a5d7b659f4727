// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/badge"
	"horde/internal/fediseer/faq"
	"horde/internal/fediseer/observer"
	"horde/internal/fediseer/probe"
	"horde/internal/fediseer/store"
	"horde/internal/fediseer/trust"
	"horde/internal/horde"
)

const (
	listCache   = 10 * time.Second
	configCache = 600 * time.Second
	badgeCache  = 60 * time.Second
)

var formParams = []param{
	{"csv", "boolean", "Answer with the domains as one comma-separated text. Any text counts as true.", false},
	{"domains", "boolean", "Answer with the domains as a list. Any text counts as true.", false},
}

func withForm(ps ...param) []param { return append(ps, formParams...) }

// operations is the table of the API.
func (a *API) operations() []operation {
	ops := []operation{
		{method: http.MethodGet, path: "/find_instance", summary: "The instance that the key belongs to", key: keyRequired,
			answer: InstanceVisibilityDetails{}, handle: func(q *request) (any, error) {
				d, err := a.trust.WhoAmI(q.r.Context(), q.cred())
				if err != nil {
					return nil, err
				}
				return withoutNulls(visibilityDetails(d))
			}},
		{method: http.MethodGet, path: "/whitelist", summary: "Guaranteed instances, newest first", cache: listCache,
			params: withForm(param{"endorsements", "integer", "Least number of endorsements received", 0},
				param{"guarantors", "integer", "Least number of guarantors", 1},
				param{"tags_csv", "string", "Any of these tags", nil}, param{"software_csv", "string", "Any of this software", nil},
				param{"page", "integer", "Page, from 1", 1}, param{"limit", "integer", "Page size, 10 to 100", trust.DefaultWhitelistLimit}),
			answer: List[InstanceVisibilityDetails]{}, handle: a.getWhitelist},
		{method: http.MethodGet, path: "/all_instances", summary: "All instances, guaranteed or not; at most some seconds old",
			answer: List[InstanceVisibilityDetails]{}, handle: func(q *request) (any, error) { return a.openSnapshot(q.r) }},
		{method: http.MethodGet, path: "/whitelist/{domain}", summary: "One instance, looked at afresh", cache: listCache,
			answer: InstanceVisibilityDetails{}, handle: func(q *request) (any, error) {
				d, err := a.trust.Instance(q.r.Context(), q.domain())
				if err != nil {
					return nil, err
				}
				return visibilityDetails(d), nil
			}},
		{method: http.MethodPut, path: "/whitelist/{domain}", summary: "Claim an instance as one of its admins", body: claimBody,
			answer: ClaimAnswer{}, handle: a.putClaim},
		{method: http.MethodPost, path: "/whitelist/{domain}/proof", summary: "What to publish to claim an instance without a private message",
			body:   &object{"ProofRequest", []field{{name: "admin", kind: "string", required: true, min: 1, doc: "Name of the admin, without @"}}},
			answer: ProofAnswer{}, handle: postProof},
		{method: http.MethodPatch, path: "/whitelist/{domain}", summary: "Change settings or reset a key", key: keyRequired, body: settingsBody,
			answer: Simple{}, handle: a.patchWhitelist},
		{method: http.MethodDelete, path: "/whitelist/{domain}", summary: "Give up one's claim", key: keyRequired,
			answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(true, a.trust.Unclaim(q.r.Context(), q.cred(), q.domain()))
			}},
		{method: http.MethodGet, path: "/guarantees/{domain}", summary: "Who guarantees for an instance", cache: listCache, limits: limitJudge,
			params: formParams, answer: List[InstanceVisibilityDetails]{}, handle: func(q *request) (any, error) {
				l, err := a.trust.GuarantorsOf(q.r.Context(), q.domain())
				return plainList(q, l, err)
			}},
		{method: http.MethodPut, path: "/guarantees/{domain}", summary: "Guarantee for an instance", key: keyRequired, limits: limitJudge,
			answer: Simple{}, handle: func(q *request) (any, error) { return simple(a.trust.Guarantee(q.r.Context(), q.cred(), q.domain())) }},
		{method: http.MethodDelete, path: "/guarantees/{domain}", summary: "Withdraw a guarantee, or drop the one received by naming oneself",
			key: keyRequired, limits: limitJudge, answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.Withdraw(q.r.Context(), q.cred(), q.domain()))
			}},
		{method: http.MethodGet, path: "/guarantors/{domain}", summary: "Whom an instance guarantees", cache: listCache, limits: limitGiven,
			params: formParams, answer: List[InstanceVisibilityDetails]{}, handle: func(q *request) (any, error) {
				l, err := a.trust.GuaranteedBy(q.r.Context(), q.domain())
				return plainList(q, l, err)
			}},
		{method: http.MethodPut, path: "/rebuttals/{domain}", summary: "Answer a censure or hesitation of an instance", key: keyRequired,
			limits: limitJudge, body: &object{"Rebuttal", []field{{name: "rebuttal", kind: "string", required: true, min: 1, max: fediseer.MaxRebuttalLength}}},
			answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.Rebut(q.r.Context(), q.cred(), q.domain(), q.stringOr("rebuttal", "")))
			}},
		{method: http.MethodPatch, path: "/rebuttals/{domain}", summary: "Change a rebuttal", key: keyRequired, limits: limitJudge,
			body:   &object{"RebuttalChange", []field{{name: "rebuttal", kind: "string", max: fediseer.MaxRebuttalLength}}},
			answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.AmendRebuttal(q.r.Context(), q.cred(), q.domain(), q.text("rebuttal")))
			}},
		{method: http.MethodDelete, path: "/rebuttals/{domain}", summary: "Remove a rebuttal", key: keyRequired, limits: limitJudge,
			answer: Simple{}, handle: func(q *request) (any, error) { return simple(a.trust.Unrebut(q.r.Context(), q.cred(), q.domain())) }},
		{method: http.MethodGet, path: "/solicitations", summary: "Instances that ask for a guarantee, longest waiting first", cache: listCache,
			limits: limitJudge, params: formParams, answer: List[SolicitedInstance]{}, handle: a.getSolicitations},
		{method: http.MethodPost, path: "/solicitations", summary: "Ask for a guarantee", key: keyRequired, limits: limitJudge,
			body:   &object{"Solicitation", []field{{name: "guarantor", kind: "string", min: 1, max: 255}, {name: "comment", kind: "string", min: 1, max: fediseer.MaxCommentLength}}},
			answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(true, a.trust.Solicit(q.r.Context(), q.cred(), q.stringOr("guarantor", ""), q.text("comment")))
			}},
		{method: http.MethodGet, path: "/tags", summary: "All tags with the number of instances that carry them", answer: []store.TagCount{},
			handle: func(q *request) (any, error) { return a.trust.TagCounts(q.r.Context()) }},
		{method: http.MethodPut, path: "/tags", summary: "Tag one's own instance", key: keyRequired,
			body: &object{"Tags", []field{{name: "tags_csv", kind: "string", required: true, min: 2}}}, answer: Simple{},
			handle: func(q *request) (any, error) {
				return simple(a.trust.AddTags(q.r.Context(), q.cred(), q.stringOr("tags_csv", "")))
			}},
		{method: http.MethodDelete, path: "/tags", summary: "Remove tags from one's own instance", key: keyRequired,
			body: &object{"TagsRemoved", []field{{name: "tags_csv", kind: "string", required: true}}}, answer: Simple{},
			handle: func(q *request) (any, error) {
				return simple(a.trust.RemoveTags(q.r.Context(), q.cred(), q.stringOr("tags_csv", "")))
			}},
		{method: http.MethodPut, path: "/admin/flags/{domain}", summary: "Flag an instance (admin of the service)", key: keyRequired,
			body: flagBody, answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.AddFlag(q.r.Context(), q.cred(), q.domain(), q.flagRecord()))
			}},
		{method: http.MethodPatch, path: "/admin/flags/{domain}", summary: "Change the comment of a flag (admin of the service)", key: keyRequired,
			body: flagBody, answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.AmendFlag(q.r.Context(), q.cred(), q.domain(), q.flagRecord()))
			}},
		{method: http.MethodDelete, path: "/admin/flags/{domain}", summary: "Remove a flag (admin of the service)", key: keyRequired,
			body: &object{"FlagRemoved", []field{flagField}}, answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.RemoveFlag(q.r.Context(), q.cred(), q.domain(), fediseer.Flag(q.stringOr("flag", ""))))
			}},
		{method: http.MethodGet, path: "/reports", summary: "The public log, newest first, ten to a page",
			params: []param{{"source_domains_csv", "string", "Any of these sources", nil}, {"target_domains_csv", "string", "Any of these targets", nil},
				{"report_type", "string", "A type of report", nil}, {"report_activity", "string", "ADDED, DELETED or MODIFIED", nil},
				{"page", "integer", "Page, from 1", 1}},
			answer: []ReportDetails{}, handle: a.getReports},
		{method: http.MethodGet, path: "/config", summary: "The limits of the service", cache: configCache, answer: Limits{},
			handle: func(*request) (any, error) {
				return Limits{fediseer.MaxGuarantees, fediseer.MaxGuarantors, fediseer.MaxActionsPerMinute, fediseer.MaxTags}, nil
			}},
		{method: http.MethodGet, path: "/instances", summary: "Lemmy instances that look like bot farms", cache: listCache,
			params: withForm(param{"activity_suspicion", "integer", "Users per post or comment above which an instance is suspicious", 20},
				param{"active_suspicion", "integer", "Users per active user above which an instance is suspicious", 500}),
			answer: List[SuspiciousInstance]{}, handle: a.getSuspicions},
		{method: http.MethodGet, path: "/badges/guarantees/{file}", summary: "Badge with the guarantor, as SVG", cache: badgeCache,
			params: []param{{"style", "string", "FULL or ICON", "FULL"}}, handle: a.badge(func(domain string, d *fediseer.Details, s badge.Style) string {
				if d == nil {
					return badge.Guarantee(domain, "", s)
				}
				return badge.Guarantee(domain, d.Guarantor, s)
			})},
		{method: http.MethodGet, path: "/badges/endorsements/{file}", summary: "Badge with the number of endorsements, as SVG", cache: badgeCache,
			params: []param{{"style", "string", "FULL or ICON", "FULL"}}, handle: a.badge(func(domain string, d *fediseer.Details, s badge.Style) string {
				if d == nil {
					return badge.Endorsements(domain, 0, s)
				}
				return badge.Endorsements(domain, d.Endorsements, s)
			})},
		{method: http.MethodGet, path: "/faq", summary: "Questions and answers", params: []param{{"lang", "string", "eng, ell or deu", "eng"},
			{"category", "string", "A category", nil}}, answer: []faq.Entry{}, handle: getFAQ},
	}
	for _, k := range fediseer.Kinds {
		ops = append(ops, a.judgementOperations(k)...)
	}
	return ops
}

var claimBody = &object{"Claim", []field{
	{name: "admin", kind: "string", required: true, min: 1, doc: "Name of the admin, without @"},
	{name: "guarantor", kind: "string", doc: "A registered domain that is asked for a guarantee"},
	{name: "pm_proxy", kind: "string", enum: []string{string(fediseer.ProxyNone), string(fediseer.ProxyMastodon)}},
	{name: "proof", kind: "string", enum: []string{"message", string(probe.ProofDNS), string(probe.ProofWellKnown)},
		doc: "How the claim is proved. message: the key goes to the admin by private message. dns, well-known: the domain publishes what POST .../proof said, and the key is returned"},
	{name: "secret", kind: "string", doc: "The secret of the proof"},
}}

var settingsBody = &object{"Settings", []field{
	{name: "admin_username", kind: "string", doc: "The admin whose key is reset; without it no key is reset"},
	{name: "return_new_key", kind: "boolean", doc: "Return the new key instead of sending it"},
	{name: "sysadmins", kind: "integer", max: 100},
	{name: "moderators", kind: "integer", max: 1000},
	{name: "pm_proxy", kind: "string", enum: []string{string(fediseer.ProxyNone), string(fediseer.ProxyMastodon)}},
	{name: "visibility_endorsements", kind: "string", enum: visibilities},
	{name: "visibility_censures", kind: "string", enum: visibilities},
	{name: "visibility_hesitations", kind: "string", enum: visibilities},
}}

var visibilities = []string{string(fediseer.Open), string(fediseer.Endorsed), string(fediseer.Private)}

var flagField = field{name: "flag", kind: "string", required: true, enum: []string{string(fediseer.Restricted), string(fediseer.Muted)}}

var flagBody = &object{"FlagChange", []field{flagField, {name: "comment", kind: "string", max: fediseer.MaxFlagCommentLength}}}

func (q *request) flagRecord() fediseer.FlagRecord {
	return fediseer.FlagRecord{Flag: fediseer.Flag(q.stringOr("flag", "")), Comment: q.text("comment")}
}

// judgementOperations are the routes of one kind of judgement.
func (a *API) judgementOperations(k fediseer.Kind) []operation {
	words := []field{{name: "reason", kind: "string", doc: "Short labels, separated by commas; at most 255 characters"}}
	if k.HasEvidence() {
		words = append(words, field{name: "evidence", kind: "string", max: fediseer.MaxEvidenceLength})
	}
	title := strings.ToUpper(k.String()[:1]) + k.String()[1:]
	change := &object{title + "Change", words}
	put := operation{method: http.MethodPut, path: "/" + k.Plural() + "/{domain}", summary: "Give an instance a " + k.String(), key: keyRequired,
		limits: limitJudge, body: change, answer: Simple{}, handle: func(q *request) (any, error) {
			return simple(a.trust.Judge(q.r.Context(), q.cred(), k, q.domain(), q.words()))
		}}
	given := k.Plural() + "_given"
	if k == fediseer.Endorsement {
		given = "approvals"
		// Old clients send this without a body, with null or with a number.
		put.body = nil
		put.handle = func(q *request) (any, error) {
			w, err := looseWords(q.r)
			if err != nil {
				return nil, err
			}
			return simple(a.trust.Judge(q.r.Context(), q.cred(), k, q.domain(), w))
		}
	}
	entry := &object{title + "Entry", append([]field{{name: "domain", kind: "string", required: true}}, words...)}
	return []operation{
		put,
		{method: http.MethodGet, path: "/" + k.Plural() + "/{domain}", summary: "Who gave an instance a " + k.String(), key: keyOptional, cache: listCache,
			limits: limitJudge, params: formParams, answer: judged(&request{r: emptyRequest}, k, trust.JudgedList{}), handle: func(q *request) (any, error) {
				l, err := a.trust.Received(q.r.Context(), q.cred(), k, q.domain())
				if err != nil {
					return nil, err
				}
				return judged(q, k, l), nil
			}},
		{method: http.MethodPatch, path: "/" + k.Plural() + "/{domain}", summary: "Change the words of a " + k.String(), key: keyRequired, limits: limitJudge,
			body: change, answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.Amend(q.r.Context(), q.cred(), k, q.domain(), q.words()))
			}},
		{method: http.MethodDelete, path: "/" + k.Plural() + "/{domain}", summary: "Withdraw a " + k.String(), key: keyRequired, limits: limitJudge,
			answer: Simple{}, handle: func(q *request) (any, error) {
				return simple(a.trust.Unjudge(q.r.Context(), q.cred(), k, q.domain()))
			}},
		{method: http.MethodGet, path: "/" + given + "/{domain}", summary: "Whom any of several instances gave a " + k.String(), key: keyOptional,
			cache: listCache, limits: limitGiven,
			params: withForm(param{"min_" + k.Plural(), "integer", "Least number of instances that say so", 1},
				param{"reasons_csv", "string", "Only with a reason that contains one of these texts", nil},
				param{"page", "integer", "Page, from 1", 1}, param{"limit", "integer", "Page size, at least 10", trust.DefaultGivenLimit}),
			answer: judged(&request{r: emptyRequest}, k, trust.JudgedList{}), handle: func(q *request) (any, error) {
				page, _ := q.integer("page") // validated before
				limit, _ := q.integer("limit")
				l, err := a.trust.Given(q.r.Context(), q.cred(), k, trust.GivenQuery{Domains: strings.Split(q.domain(), ","),
					Min: q.number("min_"+k.Plural(), 1), Reasons: q.csv("reasons_csv"), Page: page, Limit: limit, NamesOnly: namesOnly(q)})
				if err != nil {
					return nil, err
				}
				return judged(q, k, l), nil
			}},
		{method: http.MethodPost, path: "/batch/" + k.Plural(), summary: "Store many " + k.Plural() + " at once", key: keyRequired, limits: limitBatch,
			body: &object{title + "Batch", []field{{name: "delete", kind: "boolean", doc: "Remove what is not in the list"},
				{name: "overwrite", kind: "boolean", doc: "Replace the words of what is there"},
				{name: k.Plural(), kind: "array", required: true, items: entry}}},
			answer: Simple{}, handle: func(q *request) (any, error) {
				list, _ := q.body[k.Plural()].([]any)
				entries := make([]trust.Entry, len(list))
				for i, x := range list {
					inner := &request{body: x.(map[string]any)} // validated before
					entries[i] = trust.Entry{Domain: inner.stringOr("domain", ""), Words: inner.words()}
				}
				return simple(a.trust.Batch(q.r.Context(), q.cred(), k, entries, trust.BatchOptions{Delete: q.truth("delete"), Overwrite: q.truth("overwrite")}))
			}},
	}
}

// emptyRequest stands for a request without query where only the type of an answer matters.
var emptyRequest = func() *http.Request {
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil {
		panic(err)
	}
	return r
}()

func (q *request) words() trust.Words {
	return trust.Words{Reason: q.text("reason"), Evidence: q.text("evidence")}
}

// looseWords reads the reason of an endorsement from a body that may be anything.
func looseWords(r *http.Request) (trust.Words, error) {
	raw, err := readAll(r, maxBody)
	if err != nil || len(strings.TrimSpace(string(raw))) == 0 {
		return trust.Words{}, err
	}
	v, err := decodeJSON(raw)
	if err != nil {
		return trust.Words{}, horde.Invalid(map[string]string{"": err.Error()})
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return trust.Words{}, nil
	}
	switch reason := obj["reason"].(type) {
	case nil:
		return trust.Words{}, nil
	case string:
		return trust.Words{Reason: &reason}, nil
	case interface{ String() string }: // a number
		s := reason.String()
		return trust.Words{Reason: &s}, nil
	}
	return trust.Words{}, horde.Invalid(map[string]string{"reason": "is not of type string"})
}

// simple is the answer of a write.
func simple(changed bool, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if changed {
		return Simple{Message: "Changed"}, nil
	}
	return Simple{Message: "OK"}, nil
}

func plainList(q *request, list []*fediseer.Details, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return formOf(q, list, func(d *fediseer.Details) InstanceVisibilityDetails {
		return InstanceVisibilityDetails{InstanceDetails: details(d)}
	}, nil), nil
}

func (a *API) getWhitelist(q *request) (any, error) {
	list, total, err := a.trust.Whitelist(q.r.Context(), trust.WhitelistQuery{MinEndorsements: q.number("endorsements", 0),
		MinGuarantors: q.number("guarantors", 1), Tags: q.csv("tags_csv"), Software: q.csv("software_csv"),
		Page: q.number("page", 1), Limit: q.number("limit", trust.DefaultWhitelistLimit)})
	if err != nil {
		return nil, err
	}
	return formOf(q, list, visibilityDetails, &total), nil
}

func (a *API) putClaim(q *request) (any, error) {
	c := trust.Claim{Admin: q.stringOr("admin", ""), Guarantor: q.stringOr("guarantor", ""), PMProxy: fediseer.PMProxy(q.stringOr("pm_proxy", "")),
		Secret: q.stringOr("secret", "")}
	if p := q.stringOr("proof", "message"); p != "message" {
		c.Proof = probe.Proof(p)
	}
	claimed, err := a.trust.Claim(q.r.Context(), q.domain(), c)
	if err != nil {
		return nil, err
	}
	return claimAnswer(claimed), nil
}

// ProofAnswer tells what to publish. Either of the two places is enough; then PUT the claim with proof and secret.
type ProofAnswer struct {
	Secret string `json:"secret"` // to keep
	Value  string `json:"value"`  // to publish
	DNS    struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"dns"`
	WellKnown string `json:"well_known"`
}

func postProof(q *request) (any, error) {
	admin := q.stringOr("admin", "")
	if err := trust.CheckUsername(admin); err != nil {
		return nil, err
	}
	d, err := fediseer.ParseDomain(q.domain())
	if err != nil {
		return nil, err
	}
	out := ProofAnswer{Secret: fediseer.NewKey()}
	out.Value = fediseer.ProofValue(d, admin, out.Secret)
	out.DNS.Type, out.DNS.Name = "TXT", probe.ProofLabel+string(d)
	out.WellKnown = "https://" + string(d) + probe.ProofPath
	return out, nil
}

func (a *API) patchWhitelist(q *request) (any, error) {
	set := trust.Settings{AdminUsername: q.stringOr("admin_username", ""), ReturnNewKey: q.truth("return_new_key"),
		Sysadmins: q.integerField("sysadmins"), Moderators: q.integerField("moderators")}
	if p := q.text("pm_proxy"); p != nil {
		proxy := fediseer.PMProxy(*p)
		set.PMProxy = &proxy
	}
	for _, k := range fediseer.Kinds {
		if s := q.text("visibility_" + k.Plural()); s != nil {
			v := fediseer.Visibility(*s)
			set.Visibility[k] = &v
		}
	}
	c, err := a.trust.Change(q.r.Context(), q.cred(), q.domain(), set)
	if err != nil {
		return nil, err
	}
	out := Simple{Message: "OK", NewKey: c.NewKey, Delivered: deliveredVia(c.Delivery)}
	if c.Any {
		out.Message = "Changed"
	}
	return out, nil
}

func (a *API) getSolicitations(q *request) (any, error) {
	list, err := a.trust.Solicitations(q.r.Context())
	if err != nil {
		return nil, err
	}
	names := mapped(list, func(s trust.Solicited) string { return string(s.Domain) })
	return form(q, names, func() []SolicitedInstance {
		return mapped(list, func(s trust.Solicited) SolicitedInstance {
			return SolicitedInstance{InstanceDetails: details(s.Details), Comment: s.Comment}
		})
	}, nil), nil
}

func (a *API) getReports(q *request) (any, error) {
	query := q.r.URL.Query()
	f := store.ReportFilter{Type: fediseer.ReportType(query.Get("report_type")), Activity: fediseer.ReportActivity(query.Get("report_activity"))}
	known := f.Type == ""
	for _, t := range fediseer.ReportTypes {
		known = known || f.Type == t
	}
	if !known {
		return nil, horde.Invalid(map[string]string{"report_type": "is not a type of report"})
	}
	known = f.Activity == ""
	for _, t := range fediseer.ReportActivities {
		known = known || f.Activity == t
	}
	if !known {
		return nil, horde.Invalid(map[string]string{"report_activity": "is not an activity"})
	}
	exact := func(name string) []string {
		v := query.Get(name)
		if v == "" {
			return nil
		}
		return mapped(strings.Split(v, ","), strings.TrimSpace)
	}
	f.Sources, f.Targets = exact("source_domains_csv"), exact("target_domains_csv")
	list, err := a.trust.Reports(q.r.Context(), f, q.number("page", 1))
	if err != nil {
		return nil, err
	}
	return mapped(list, func(r fediseer.Report) ReportDetails {
		return ReportDetails{SourceDomain: r.Source, TargetDomain: r.Target, ReportType: string(r.Type), ReportActivity: string(r.Activity), Created: isoTime(r.Created)}
	}), nil
}

// Limits is the answer of /config.
type Limits struct {
	MaxGuarantees          int `json:"max_guarantees"`
	MaxGuarantors          int `json:"max_guarantors"`
	MaxConfigActionsPerMin int `json:"max_config_actions_per_min"`
	MaxTags                int `json:"max_tags"`
}

func (a *API) getSuspicions(q *request) (any, error) {
	nodes, err := a.nodes.Nodes(q.r.Context())
	if errors.Is(err, observer.ErrUnavailable) {
		return nil, fediseer.Refuse(http.StatusServiceUnavailable, "The source of suspicions is not available")
	}
	if err != nil {
		return nil, err
	}
	activityLimit, activeLimit := q.number("activity_suspicion", 20), q.number("active_suspicion", 500)
	items, names := []SuspiciousInstance{}, []string{}
	for _, n := range nodes {
		if activity, active, suspect := n.Suspicion(float64(activityLimit), float64(activeLimit)); suspect {
			items = append(items, SuspiciousInstance{Node: n, ActivitySuspicion: activity, ActiveUsersSuspicion: active})
			names = append(names, n.Domain)
		}
	}
	return form(q, names, func() []SuspiciousInstance { return items }, nil), nil
}

// badge answers with a picture for "{domain}.svg", whether the domain is known or not.
func (a *API) badge(draw func(string, *fediseer.Details, badge.Style) string) func(*request) (any, error) {
	return func(q *request) (any, error) {
		name, ok := strings.CutSuffix(q.r.PathValue("file"), ".svg")
		if !ok {
			return nil, fediseer.Refuse(http.StatusNotFound, "Badges are called {domain}.svg")
		}
		style := badge.Full
		if s := q.r.URL.Query().Get("style"); s != "" {
			style = badge.Style(s)
		}
		if !style.Valid() {
			return nil, horde.Invalid(map[string]string{"style": "is not FULL or ICON"})
		}
		d, err := fediseer.ParseDomain(name)
		if err != nil {
			return svg(draw(strings.ToLower(name), nil, style)), nil
		}
		stored, err := a.trust.Stored(q.r.Context(), d)
		if err != nil {
			return nil, err
		}
		return svg(draw(string(d), stored, style)), nil
	}
}

func getFAQ(q *request) (any, error) {
	lang := q.r.URL.Query().Get("lang")
	if lang == "" {
		lang = faq.English
	}
	list, err := faq.List(lang, q.r.URL.Query().Get("category"))
	if err != nil {
		return nil, fediseer.Refuse(http.StatusBadRequest, "%s", err)
	}
	return list, nil
}
