// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"horde/fediseer"
)

// mastodon keeps the domain blocks of a server with Mastodon's admin API: Mastodon itself, or GoToSocial, which knows no
// severities.
type mastodon struct{ server }

const blocksPath = "/api/v1/admin/domain_blocks"

type mastodonBlock struct {
	ID             string `json:"id,omitempty"`
	Domain         string `json:"domain,omitempty"`
	Severity       string `json:"severity,omitempty"`
	PrivateComment string `json:"private_comment"`
	PublicComment  string `json:"public_comment"`
}

func (m *mastodon) Traits() Traits {
	return Traits{Subdomains: true, Severities: m.cfg.Kind == "mastodon", PublicComments: true, PrivateComments: true}
}

func (m *mastodon) WhoAmI(ctx context.Context) (string, bool, error) {
	var me struct {
		Acct string `json:"acct"`
		Role *struct {
			Name string `json:"name"`
		} `json:"role"`
	}
	if _, err := m.call(ctx, http.MethodGet, m.cfg.URL+"/api/v1/accounts/verify_credentials", nil, &me); err != nil {
		return "", false, fmt.Errorf("ask who the token belongs to: %w", err)
	}
	// Roles can be named at will, so that only trying tells whether the list may be changed.
	_, err := m.call(ctx, http.MethodGet, m.cfg.URL+blocksPath+"?limit=1", nil, nil)
	var status *statusError
	if errors.As(err, &status) && (status.Status == http.StatusForbidden || status.Status == http.StatusUnauthorized) {
		return me.Acct, false, nil
	}
	return me.Acct, err == nil, err
}

// maxPages bounds a server that links its pages in a circle.
const maxPages = 10000

func (m *mastodon) Current(ctx context.Context) ([]Block, error) {
	var out []Block
	base, err := url.Parse(m.cfg.URL + blocksPath + "?limit=200")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for next := base; next != nil; {
		if seen[next.String()] || len(seen) > maxPages {
			return nil, errors.New("the server's pages of domain blocks lead in a circle")
		}
		seen[next.String()] = true
		var page []mastodonBlock
		header, err := m.call(ctx, http.MethodGet, next.String(), nil, &page)
		if err != nil {
			return nil, fmt.Errorf("read the domain blocks: %w", err)
		}
		for _, b := range page {
			comment := b.PrivateComment
			if b.PublicComment != "" {
				comment += "," + b.PublicComment
			}
			out = append(out, Block{Domain: normal(b.Domain), ID: b.ID, Severity: b.Severity, Comment: comment, Public: b.PublicComment, Private: b.PrivateComment})
		}
		at := next
		if next, err = nextLink(at, header.Get("Link")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// nextLink finds the next page in a Link header. The token must not be carried to another server.
func nextLink(at *url.URL, header string) (*url.URL, error) {
	for part := range strings.SplitSeq(header, ",") {
		target, params, ok := strings.Cut(strings.TrimSpace(part), ";")
		if !ok || !strings.Contains(params, `rel="next"`) {
			continue
		}
		u, err := at.Parse(strings.Trim(target, "<> "))
		if err != nil || u.Host != at.Host {
			return nil, errors.New("the next page of domain blocks is on another server")
		}
		u.Scheme = at.Scheme
		return u, nil
	}
	return nil, nil
}

func (m *mastodon) Apply(ctx context.Context, current []Block, p *Plan) (added []string, wrote bool, err error) {
	ids := map[string]string{}
	for _, b := range current {
		ids[b.Domain] = b.ID
	}
	for _, e := range p.Add {
		_, err := m.call(ctx, http.MethodPost, m.cfg.URL+blocksPath, m.block(e, true), nil)
		if covered(err) {
			continue
		}
		if err != nil {
			return added, wrote, fmt.Errorf("block %s: %w", e.Domain, err)
		}
		wrote = true
		added = append(added, e.Domain)
	}
	for _, e := range p.Update {
		if _, err := m.call(ctx, http.MethodPut, m.cfg.URL+blocksPath+"/"+url.PathEscape(ids[e.Domain]), m.block(e, false), nil); err != nil {
			return added, wrote, fmt.Errorf("change the block of %s: %w", e.Domain, err)
		}
		wrote = true
	}
	for _, b := range p.Remove {
		_, err := m.call(ctx, http.MethodDelete, m.cfg.URL+blocksPath+"/"+url.PathEscape(b.ID), nil, nil)
		var status *statusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound {
			continue // somebody was faster
		}
		if err != nil {
			return added, wrote, fmt.Errorf("unblock %s: %w", b.Domain, err)
		}
		wrote = true
	}
	return added, wrote, nil
}

func (m *mastodon) block(e Entry, withDomain bool) mastodonBlock {
	b := mastodonBlock{Severity: e.Severity, PrivateComment: e.Private, PublicComment: e.Public}
	if withDomain {
		b.Domain = e.Domain
	}
	return b
}

// covered tells whether a block was refused because the domain, or a parent of it, is blocked already.
func covered(err error) bool {
	var status *statusError
	if !errors.As(err, &status) || status.Status != http.StatusUnprocessableEntity {
		return false
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(status.Body, &doc) != nil {
		return false
	}
	_, ok := doc["existing_domain_block"]
	return ok
}

// normal normalises what a server has on its list; what cannot be normalised stays as it is and matches nothing.
func normal(d string) string {
	if n, err := fediseer.NormalizeDomain(d); err == nil {
		return n
	}
	return d
}
