// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	whitelistPage = 100
	reportPage    = 10
)

// Instances is the service for instances as such.
type Instances struct{ c *Client }

// Get returns an instance. The service looks at it afresh, and registers it if it is new. An empty domain is the
// client's own.
func (s *Instances) Get(ctx context.Context, domain string) (*Instance, error) {
	q, err := s.request(http.MethodGet, domain)
	if err != nil {
		return nil, err
	}
	in := new(Instance)
	if err := s.c.call(ctx, q, in); err != nil {
		return nil, err
	}
	return in, nil
}

func (s *Instances) request(method, domain string) (request, error) {
	d, err := s.c.domain(domain)
	return request{method: method, route: "whitelist", path: "/whitelist/" + segment(d)}, err
}

// Page returns a page of the whitelist, newest first. Pages count from 1; the limit is 10 to 100, and 0 is 100.
func (s *Instances) Page(ctx context.Context, f WhitelistFilter, page, limit int) (*InstancePage, error) {
	query := url.Values{}
	if f.MinEndorsements != 0 {
		query.Set("endorsements", strconv.Itoa(f.MinEndorsements))
	}
	if f.MinGuarantors != nil {
		query.Set("guarantors", strconv.Itoa(*f.MinGuarantors))
	}
	for name, set := range map[string][]string{"tags_csv": f.Tags, "software_csv": f.Software} {
		if len(set) > 0 {
			sorted := slices.Sorted(slices.Values(set))
			query.Set(name, strings.Join(sorted, ","))
		}
	}
	if limit == 0 {
		limit = whitelistPage
	}
	query.Set("page", strconv.Itoa(page))
	query.Set("limit", strconv.Itoa(limit))
	out := list[Instance]{Instances: []Instance{}}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "whitelist", path: "/whitelist", query: query}, &out); err != nil {
		return nil, err
	}
	return &InstancePage{Instances: out.Instances, Total: out.Total}, nil
}

// List returns the whitelist, newest first. Instances that move to a later page while it is read come once.
func (s *Instances) List(ctx context.Context, f WhitelistFilter) iter.Seq2[Instance, error] {
	return func(yield func(Instance, error) bool) {
		seen := map[int]bool{}
		for page := 1; ; page++ {
			p, err := s.Page(ctx, f, page, whitelistPage)
			if err != nil {
				yield(Instance{}, err)
				return
			}
			for _, in := range p.Instances {
				if seen[in.ID] {
					continue
				}
				seen[in.ID] = true
				if !yield(in, nil) {
					return
				}
			}
			if len(p.Instances) < whitelistPage {
				return
			}
		}
	}
}

// All returns every instance, guaranteed or not.
func (s *Instances) All(ctx context.Context) ([]Instance, error) {
	out := list[Instance]{Instances: []Instance{}}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "all_instances", path: "/all_instances"}, &out); err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// Claim asks for the key of an instance, which goes to the admin by private message. It is not retried.
func (s *Instances) Claim(ctx context.Context, domain string, r ClaimRequest) (*Instance, error) {
	q, err := s.request(http.MethodPut, domain)
	if err != nil {
		return nil, err
	}
	body := map[string]string{"admin": r.Admin}
	if r.Guarantor != "" {
		if body["guarantor"], err = NormalizeDomain(r.Guarantor); err != nil {
			return nil, err
		}
	}
	if r.PMProxy != "" {
		body["pm_proxy"] = string(r.PMProxy)
	}
	q.body, q.once = body, true
	in := new(Instance)
	if err := s.c.call(ctx, q, in); err != nil {
		return nil, err
	}
	return in, nil
}

// Proof asks what to publish to claim a domain without a private message.
func (s *Instances) Proof(ctx context.Context, domain, admin string) (*Proof, error) {
	q, err := s.request(http.MethodPost, domain)
	if err != nil {
		return nil, err
	}
	q.path += "/proof"
	q.body = map[string]string{"admin": admin}
	p := new(Proof)
	if err := s.c.call(ctx, q, p); err != nil {
		return nil, err
	}
	return p, nil
}

// ClaimWithProof claims a domain, or replaces a lost key, after the value of a Proof was published. It returns the key.
// It is not retried.
func (s *Instances) ClaimWithProof(ctx context.Context, domain, admin, secret string, how ProofMethod) (key string, err error) {
	q, err := s.request(http.MethodPut, domain)
	if err != nil {
		return "", err
	}
	q.body, q.once = map[string]string{"admin": admin, "proof": string(how), "secret": secret}, true
	var out struct {
		NewKey string `json:"new_key"`
	}
	err = s.c.call(ctx, q, &out)
	return out.NewKey, err
}

// Update changes settings of an instance. It returns false if all are so already.
func (s *Instances) Update(ctx context.Context, domain string, u InstanceUpdate) (changed bool, err error) {
	q, err := s.request(http.MethodPatch, domain)
	if err != nil {
		return false, err
	}
	body := map[string]any{}
	set := func(name string, value any, given bool) {
		if given {
			body[name] = value
		}
	}
	set("sysadmins", u.Sysadmins, u.Sysadmins != nil)
	set("moderators", u.Moderators, u.Moderators != nil)
	set("pm_proxy", u.PMProxy, u.PMProxy != nil)
	set("visibility_endorsements", u.Endorsements, u.Endorsements != nil)
	set("visibility_censures", u.Censures, u.Censures != nil)
	set("visibility_hesitations", u.Hesitations, u.Hesitations != nil)
	q.body = body
	return s.c.write(ctx, q)
}

// ResetKey replaces the key of an admin. The new one goes to them by private message, or is returned with inResponse.
// The old key stops working. It is not retried.
func (s *Instances) ResetKey(ctx context.Context, domain, admin string, inResponse bool) (newKey string, err error) {
	q, err := s.request(http.MethodPatch, domain)
	if err != nil {
		return "", err
	}
	q.body, q.once = map[string]any{"admin_username": admin, "return_new_key": inResponse}, true
	var out struct {
		NewKey string `json:"new_key"`
	}
	err = s.c.call(ctx, q, &out)
	return out.NewKey, err
}

// Unclaim gives up one's own claim. It is not retried.
func (s *Instances) Unclaim(ctx context.Context, domain string) error {
	q, err := s.request(http.MethodDelete, domain)
	if err != nil {
		return err
	}
	q.once = true
	_, err = s.c.write(ctx, q)
	return err
}

// Config returns the limits of the service.
func (s *Instances) Config(ctx context.Context) (*Config, error) {
	out := new(Config)
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "config", path: "/config"}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Guarantees is the service for guarantees.
type Guarantees struct{ c *Client }

// Put guarantees for an instance. It returns false if one does already.
func (s *Guarantees) Put(ctx context.Context, domain string) (changed bool, err error) {
	return s.write(ctx, http.MethodPut, domain)
}

// Delete withdraws one's guarantee for an instance or, for the own domain, drops the one received. It returns false if
// there is none.
func (s *Guarantees) Delete(ctx context.Context, domain string) (changed bool, err error) {
	return s.write(ctx, http.MethodDelete, domain)
}

func (s *Guarantees) write(ctx context.Context, method, domain string) (bool, error) {
	d, err := s.c.domain(domain)
	if err != nil {
		return false, err
	}
	return s.c.write(ctx, request{method: method, route: "guarantees", path: "/guarantees/" + segment(d)})
}

// For returns the instances that guarantee for a domain: none or one.
func (s *Guarantees) For(ctx context.Context, domain string) ([]Instance, error) {
	return s.list(ctx, "guarantees", domain)
}

// By returns the instances that a domain guarantees.
func (s *Guarantees) By(ctx context.Context, domain string) ([]Instance, error) {
	return s.list(ctx, "guarantors", domain)
}

func (s *Guarantees) list(ctx context.Context, route, domain string) ([]Instance, error) {
	d, err := s.c.domain(domain)
	if err != nil {
		return nil, err
	}
	out := list[Instance]{Instances: []Instance{}}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: route, path: "/" + route + "/" + segment(d)}, &out); err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// Rebuttals is the service for answers to judgements.
type Rebuttals struct{ c *Client }

// Put answers the open censure or hesitation of a domain. It returns false if it is answered already.
func (s *Rebuttals) Put(ctx context.Context, domain, text string) (changed bool, err error) {
	return s.write(ctx, http.MethodPut, domain, map[string]string{"rebuttal": text})
}

// Patch changes an answer.
func (s *Rebuttals) Patch(ctx context.Context, domain, text string) (changed bool, err error) {
	return s.write(ctx, http.MethodPatch, domain, map[string]string{"rebuttal": text})
}

// Delete removes an answer. It returns false if there is none.
func (s *Rebuttals) Delete(ctx context.Context, domain string) (changed bool, err error) {
	return s.write(ctx, http.MethodDelete, domain, nil)
}

func (s *Rebuttals) write(ctx context.Context, method, domain string, body any) (bool, error) {
	d, err := NormalizeDomain(domain)
	if err != nil {
		return false, err
	}
	return s.c.write(ctx, request{method: method, route: "rebuttals", path: "/rebuttals/" + segment(d), body: body})
}

// Solicitations is the service for requests for guarantees.
type Solicitations struct{ c *Client }

// List returns the instances that ask for a guarantee, longest waiting first.
func (s *Solicitations) List(ctx context.Context) ([]SolicitedInstance, error) {
	out := list[SolicitedInstance]{Instances: []SolicitedInstance{}}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "solicitations", path: "/solicitations"}, &out); err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// Create asks a domain for a guarantee, or anybody if guarantor is empty. It is not retried.
func (s *Solicitations) Create(ctx context.Context, guarantor, comment string) error {
	body := map[string]string{}
	if guarantor != "" {
		d, err := NormalizeDomain(guarantor)
		if err != nil {
			return err
		}
		body["guarantor"] = d
	}
	if comment != "" {
		body["comment"] = comment
	}
	_, err := s.c.write(ctx, request{method: http.MethodPost, route: "solicitations", path: "/solicitations", body: body, once: true})
	return err
}

// Tags is the service for the labels that instances give themselves.
type Tags struct{ c *Client }

// List returns all tags with their counts, most frequent first.
func (s *Tags) List(ctx context.Context) ([]TagCount, error) {
	out := []TagCount{}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "tags", path: "/tags"}, &out); err != nil {
		return nil, err
	}
	return out, nil
}

// Add tags one's own instance. It returns false if it carries all of them already.
func (s *Tags) Add(ctx context.Context, tags ...string) (changed bool, err error) {
	return s.write(ctx, http.MethodPut, tags)
}

// Remove takes tags off one's own instance. It returns false if it carries none of them.
func (s *Tags) Remove(ctx context.Context, tags ...string) (changed bool, err error) {
	return s.write(ctx, http.MethodDelete, tags)
}

func (s *Tags) write(ctx context.Context, method string, tags []string) (bool, error) {
	for _, t := range tags {
		if strings.Contains(t, ",") {
			return false, fmt.Errorf("fediseer: the tag %q holds a comma", t)
		}
	}
	return s.c.write(ctx, request{method: method, route: "tags", path: "/tags", body: map[string]string{"tags_csv": strings.Join(tags, ",")}})
}

// Flags is the service for sanctions. It needs the key of the service's admin.
type Flags struct{ c *Client }

// Put puts a flag on an instance. It returns false if it is there already.
func (s *Flags) Put(ctx context.Context, domain string, f Flag, comment string) (changed bool, err error) {
	return s.write(ctx, http.MethodPut, domain, f, comment)
}

// Patch changes the comment of a flag.
func (s *Flags) Patch(ctx context.Context, domain string, f Flag, comment string) (changed bool, err error) {
	return s.write(ctx, http.MethodPatch, domain, f, comment)
}

// Delete takes a flag off an instance. It returns false if it is not there.
func (s *Flags) Delete(ctx context.Context, domain string, f Flag) (changed bool, err error) {
	return s.write(ctx, http.MethodDelete, domain, f, "")
}

func (s *Flags) write(ctx context.Context, method, domain string, f Flag, comment string) (bool, error) {
	d, err := NormalizeDomain(domain)
	if err != nil {
		return false, err
	}
	body := map[string]string{"flag": string(f)}
	if comment != "" {
		body["comment"] = comment
	}
	return s.c.write(ctx, request{method: method, route: "admin", path: "/admin/flags/" + segment(d), body: body})
}

// Reports is the service for the public log.
type Reports struct{ c *Client }

// List returns the log, newest first.
func (s *Reports) List(ctx context.Context, f ReportFilter) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		query := url.Values{}
		for name, set := range map[string][]string{"source_domains_csv": f.Sources, "target_domains_csv": f.Targets} {
			if len(set) > 0 {
				query.Set(name, strings.Join(slices.Sorted(slices.Values(set)), ","))
			}
		}
		if f.Type != "" {
			query.Set("report_type", string(f.Type))
		}
		if f.Activity != "" {
			query.Set("report_activity", string(f.Activity))
		}
		for page := 1; ; page++ {
			query.Set("page", strconv.Itoa(page))
			var p []Report
			if err := s.c.call(ctx, request{method: http.MethodGet, route: "reports", path: "/reports", query: query}, &p); err != nil {
				yield(Report{}, err)
				return
			}
			for _, r := range p {
				if !yield(r, nil) {
					return
				}
			}
			if len(p) < reportPage {
				return
			}
		}
	}
}

// Suspicions is the service for Lemmy instances that look like bot farms.
type Suspicions struct{ c *Client }

// List returns them. If the source of the numbers is down it is ErrUnavailable.
func (s *Suspicions) List(ctx context.Context, f SuspicionFilter) ([]SuspiciousInstance, error) {
	query := url.Values{}
	if f.Activity != 0 {
		query.Set("activity_suspicion", strconv.Itoa(f.Activity))
	}
	if f.Active != 0 {
		query.Set("active_suspicion", strconv.Itoa(f.Active))
	}
	out := list[SuspiciousInstance]{Instances: []SuspiciousInstance{}}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "instances", path: "/instances", query: query}, &out); err != nil {
		return nil, err
	}
	return out.Instances, nil
}

// FAQ is the service for questions and answers.
type FAQ struct{ c *Client }

// List returns them in a language ("eng", "deu", "ell"; empty is English) and of one category, or of all if it is empty.
func (s *FAQ) List(ctx context.Context, lang, category string) ([]FAQEntry, error) {
	query := url.Values{}
	if lang != "" {
		query.Set("lang", lang)
	}
	if category != "" {
		query.Set("category", category)
	}
	out := []FAQEntry{}
	if err := s.c.call(ctx, request{method: http.MethodGet, route: "faq", path: "/faq", query: query}, &out); err != nil {
		return nil, err
	}
	return out, nil
}

// Badges is the service for pictures.
type Badges struct{ c *Client }

// Guarantee returns the badge that shows the guarantor of a domain, as SVG.
func (s *Badges) Guarantee(ctx context.Context, domain string) ([]byte, error) {
	return s.get(ctx, "guarantees", domain, "")
}

// Endorsement returns the badge that shows the number of endorsements, as SVG. An empty style is BadgeFull.
func (s *Badges) Endorsement(ctx context.Context, domain string, style BadgeStyle) ([]byte, error) {
	return s.get(ctx, "endorsements", domain, style)
}

func (s *Badges) get(ctx context.Context, kind, domain string, style BadgeStyle) ([]byte, error) {
	d, err := s.c.domain(domain)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if style != "" {
		query.Set("style", string(style))
	}
	out := []byte{}
	err = s.c.call(ctx, request{method: http.MethodGet, route: "badges", path: "/badges/" + kind + "/" + segment(d) + ".svg", query: query, raw: &out}, nil)
	if err != nil {
		return nil, err
	}
	return out, nil
}
