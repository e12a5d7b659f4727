// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"horde/internal/fediseer"
)

// lemmySite is the part of Lemmy's (and PieFed's) site document that is used.
type lemmySite struct {
	SiteView struct {
		LocalSite struct {
			Mode    *string `json:"registration_mode"`
			Email   *bool   `json:"require_email_verification"`
			Captcha *bool   `json:"captcha_enabled"`
		} `json:"local_site"`
	} `json:"site_view"`
	Admins []struct {
		Person struct {
			Name string `json:"name"`
		} `json:"person"`
	} `json:"admins"`
}

func (s *lemmySite) names() []string {
	var out []string
	for _, a := range s.Admins {
		out = append(out, a.Person.Name)
	}
	return out
}

// mastodonInstance is the part of the instance document of Mastodon's API that is used; some versions nest the contact.
type mastodonInstance struct {
	ApprovalRequired *bool          `json:"approval_required"`
	ContactAccount   *mastodonActor `json:"contact_account"`
	Contact          struct {
		Account *mastodonActor `json:"account"`
	} `json:"contact"`
}

type mastodonActor struct {
	Username string `json:"username"`
}

func (m *mastodonInstance) names() []string {
	var out []string
	for _, a := range []*mastodonActor{m.ContactAccount, m.Contact.Account} {
		if a != nil {
			out = append(out, a.Username)
		}
	}
	return out
}

// site fills in what nodeinfo does not tell, by software. An error means that a value is missing which the software
// always has.
func (p *Prober) site(ctx context.Context, d fediseer.Domain, r *Result, meta metadata) error {
	yes := true
	captcha := func() *bool {
		if meta.Hcaptcha || meta.Recaptcha {
			return &yes
		}
		return nil
	}
	switch r.Software {
	case "lemmy", "piefed":
		site, err := p.lemmySite(ctx, d)
		if err != nil {
			return fmt.Errorf("its site information: %w", err)
		}
		local := site.SiteView.LocalSite
		if local.Mode == nil || local.Email == nil || local.Captcha == nil {
			return fmt.Errorf("its site information: %w: values are missing", errAnswer)
		}
		open, approval := strings.EqualFold(*local.Mode, "open"), *local.Mode == "RequireApplication"
		r.OpenRegistrations, r.ApprovalRequired, r.EmailVerify, r.HasCaptcha = &open, &approval, local.Email, local.Captcha
		r.Admins = clean(site.names())
	case "mastodon", "friendica", "pleroma", "akkoma", "sharkey", "firefish", "iceshrimp", "mitra":
		in, status, err := p.mastodonInstance(ctx, d, true)
		if err == nil && (status != http.StatusOK || in.ApprovalRequired == nil) {
			err = fmt.Errorf("%w: status %d or no approval_required", errAnswer, status)
		}
		if err != nil {
			return fmt.Errorf("its instance information: %w", err)
		}
		r.ApprovalRequired = in.ApprovalRequired
		names := in.names()
		switch r.Software {
		case "pleroma", "akkoma":
			names = staff(meta)
		case "firefish", "iceshrimp", "mitra", "sharkey":
			r.EmailVerify = meta.EmailRequired
			has := meta.Hcaptcha || meta.Recaptcha
			r.HasCaptcha = &has
		}
		r.Admins = clean(names)
	case "misskey":
		if r.OpenRegistrations == nil {
			r.OpenRegistrations = new(bool)
		}
		r.Admins = clean(p.misskeyAdmins(ctx, d))
	case fediseer.SoftwareUnknown, fediseer.SoftwareWildcard, fediseer.SoftwareFediseer:
		// nothing more to find out
	default:
		in, status, err := p.mastodonInstance(ctx, d, false)
		if err != nil {
			return fmt.Errorf("its instance information: %w", err)
		}
		var names []string
		if status == http.StatusOK {
			r.ApprovalRequired, r.EmailVerify, r.HasCaptcha = in.ApprovalRequired, meta.EmailRequired, captcha()
			names = in.names()
		}
		r.Admins = clean(names)
		if r.Admins == nil {
			if site, err := p.lemmySite(ctx, d); err == nil {
				r.Admins = clean(site.names())
			}
		}
		if r.Admins == nil {
			r.Admins = clean(staff(meta))
		}
		if r.Admins == nil {
			r.Admins = clean(p.misskeyAdmins(ctx, d))
		}
	}
	return nil
}

// staff takes the names from the addresses of nodeinfo's staff accounts.
func staff(meta metadata) []string {
	var out []string
	for _, s := range meta.Staff {
		if u, err := url.Parse(s); err == nil {
			out = append(out, path.Base(u.Path))
		}
	}
	return out
}

// maxAdmins bounds what a foreign answer can make us keep.
const maxAdmins = 1000

// clean drops what cannot be a user name and duplicates. No names is nil.
func clean(names []string) []string {
	var out []string
	for _, n := range names {
		if n != "" && n != "." && n != "/" && len(n) <= 255 && !slices.Contains(out, n) && len(out) < maxAdmins {
			out = append(out, n)
		}
	}
	return out
}

func (p *Prober) lemmySite(ctx context.Context, d fediseer.Domain) (*lemmySite, error) {
	var site lemmySite
	status, err := p.call(ctx, http.MethodGet, d, "/api/v3/site", nil, &site)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%w: status %d", errAnswer, status)
	}
	return &site, err
}

// mastodonInstance reads the instance document. Discovery, which tries it on software that may not have it, does not
// follow redirects: they lead to a page for people more often than to the document.
func (p *Prober) mastodonInstance(ctx context.Context, d fediseer.Domain, follow bool) (*mastodonInstance, int, error) {
	const route = "/api/v1/instance"
	var in mastodonInstance
	if follow {
		status, err := p.call(ctx, http.MethodGet, d, route, nil, &in)
		return &in, status, err
	}
	resp, err := p.do(ctx, http.MethodGet, "https://"+string(d)+route, "cross-site", nil)
	if err != nil {
		return nil, 0, err
	}
	status, err := document(resp, &in)
	return &in, status, err
}

// call sends a request, follows redirects within the site and decodes an answer with status 200.
func (p *Prober) call(ctx context.Context, method string, d fediseer.Domain, route string, body, into any) (int, error) {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	resp, _, err := p.follow(ctx, method, d, "https://"+string(d)+route, "cross-site", b)
	if err != nil {
		return 0, err
	}
	return document(resp, into)
}

// document decodes an answer with status 200 and closes it.
func document(resp *http.Response, into any) (int, error) {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, decode(resp.Body, into)
}

const (
	// misskeyPage and misskeyEnd bound the walk through the users of a Misskey instance, oldest first.
	misskeyPage = 10
	misskeyEnd  = 500
)

type misskeyUser struct {
	Username string `json:"username"`
	IsAdmin  bool   `json:"isAdmin"`
	Roles    []struct {
		IsAdministrator bool `json:"isAdministrator"`
	} `json:"roles"`
}

func (u *misskeyUser) admin() bool {
	for _, r := range u.Roles {
		if r.IsAdministrator {
			return true
		}
	}
	return u.IsAdmin
}

func (p *Prober) misskeyAdmins(ctx context.Context, d fediseer.Domain) []string {
	var out []string
	for offset := 0; offset < misskeyEnd; offset += misskeyPage {
		var page []misskeyUser
		status, err := p.call(ctx, http.MethodPost, d, "/api/users", map[string]any{"limit": misskeyPage, "offset": offset,
			"sort": "+createdAt", "state": "alive", "origin": "local", "hostname": nil}, &page)
		if err != nil || status != http.StatusOK || len(page) == 0 {
			break
		}
		for _, u := range page {
			if u.admin() {
				out = append(out, u.Username)
			}
		}
	}
	return out
}

// IsAdmin implements trust.Prober.
func (p *Prober) IsAdmin(ctx context.Context, d fediseer.Domain, r Result, user string) bool {
	if slices.Contains(r.Admins, user) {
		return true
	}
	if r.Software != "firefish" {
		return false
	}
	var u misskeyUser
	status, err := p.call(ctx, http.MethodPost, d, "/api/users/show", map[string]any{"username": user}, &u)
	return err == nil && status == http.StatusOK && u.IsAdmin
}
