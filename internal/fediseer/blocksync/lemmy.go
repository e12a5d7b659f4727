// SPDX-License-Identifier: AGPL-3.0-or-later

package blocksync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// lemmy keeps the blocked instances of a Lemmy server: API v3 replaces the whole list, API v4 changes one at a time.
type lemmy struct {
	server
	site *lemmySite // set by login
}

type lemmySite struct {
	Version  string `json:"version"`
	SiteView struct {
		LocalSite struct {
			Mode     string  `json:"registration_mode"`
			Question *string `json:"application_question"`
		} `json:"local_site"`
	} `json:"site_view"`
	Admins []struct {
		Person struct {
			Name string `json:"name"`
		} `json:"person"`
	} `json:"admins"`
	MyUser *struct {
		LocalUserView struct {
			Person struct {
				Name string `json:"name"`
			} `json:"person"`
		} `json:"local_user_view"`
	} `json:"my_user"`
}

func (l *lemmy) Traits() Traits { return Traits{} }

// old tells whether the version wants the token in the body or query too.
func (s *lemmySite) old() bool {
	major, minor := s.number()
	return major == 0 && minor < 19
}

func (s *lemmySite) number() (major, minor int) {
	a, rest, _ := strings.Cut(s.Version, ".")
	b, _, _ := strings.Cut(rest, ".")
	major, _ = strconv.Atoi(a) // not a number counts as 0
	minor, _ = strconv.Atoi(b)
	return major, minor
}

func (l *lemmy) v4() bool { major, _ := l.site.number(); return major >= 1 }

// login gets a token and the site.
func (l *lemmy) login(ctx context.Context) error {
	if l.site != nil {
		return nil
	}
	body := map[string]string{"username_or_email": l.cfg.User, "password": l.cfg.Password}
	if l.cfg.TOTP != "" {
		body["totp_2fa_token"] = l.cfg.TOTP
	}
	var token struct {
		JWT string `json:"jwt"`
	}
	if _, err := l.call(ctx, http.MethodPost, l.cfg.URL+"/api/v3/user/login", body, &token); err != nil {
		return fmt.Errorf("log in to Lemmy: %w", err)
	}
	if token.JWT == "" {
		return errors.New("log in to Lemmy: no token came back")
	}
	l.token = token.JWT
	site := new(lemmySite)
	if _, err := l.call(ctx, http.MethodGet, l.cfg.URL+"/api/v3/site?"+url.Values{"auth": {l.token}}.Encode(), nil, site); err != nil {
		return fmt.Errorf("read the Lemmy site: %w", err)
	}
	l.site = site
	if l.v4() && !l.cfg.LemmyV4 {
		l.site = nil
		return fmt.Errorf("this is Lemmy %s; set lemmy_v4 to use its new API, whose routes may still change", site.Version)
	}
	return nil
}

func (l *lemmy) WhoAmI(ctx context.Context) (string, bool, error) {
	if err := l.login(ctx); err != nil {
		return "", false, err
	}
	if l.site.MyUser == nil {
		return "", false, errors.New("the server does not say who is logged in")
	}
	name := l.site.MyUser.LocalUserView.Person.Name
	for _, a := range l.site.Admins {
		if a.Person.Name == name {
			return name, true, nil
		}
	}
	return name, false, nil
}

// lemmyBlocked is an entry: an object, or in old versions a text.
type lemmyBlocked string

func (b *lemmyBlocked) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*b = lemmyBlocked(s)
		return nil
	}
	var o struct {
		Domain   string `json:"domain"`
		Instance struct {
			Domain string `json:"domain"`
		} `json:"instance"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	*b = lemmyBlocked(o.Domain)
	if o.Domain == "" {
		*b = lemmyBlocked(o.Instance.Domain)
	}
	return nil
}

func (l *lemmy) Current(ctx context.Context) ([]Block, error) {
	user, admin, err := l.WhoAmI(ctx)
	if err != nil {
		return nil, err
	}
	if !admin {
		return nil, fmt.Errorf("%s is not an admin of %s", user, l.cfg.URL)
	}
	var names []lemmyBlocked
	if l.v4() {
		var doc struct {
			FederatedInstances []lemmyBlocked `json:"federated_instances"`
		}
		if _, err := l.call(ctx, http.MethodGet, l.cfg.URL+"/api/v4/federated_instances?kind=blocked", nil, &doc); err != nil {
			return nil, fmt.Errorf("read Lemmy's block list: %w", err)
		}
		names = doc.FederatedInstances
	} else {
		var doc struct {
			FederatedInstances *struct {
				Blocked []lemmyBlocked `json:"blocked"`
			} `json:"federated_instances"`
		}
		address := l.cfg.URL + "/api/v3/federated_instances"
		if l.site.old() {
			address += "?" + url.Values{"auth": {l.token}}.Encode()
		}
		if _, err := l.call(ctx, http.MethodGet, address, nil, &doc); err != nil {
			return nil, fmt.Errorf("read Lemmy's block list: %w", err)
		}
		if doc.FederatedInstances == nil {
			return nil, errors.New("no federated instances are told; federation is off there")
		}
		names = doc.FederatedInstances.Blocked
	}
	out := make([]Block, len(names))
	for i, n := range names {
		out[i] = Block{Domain: normal(string(n))}
	}
	return out, nil
}

func (l *lemmy) Apply(ctx context.Context, current []Block, p *Plan) (added []string, wrote bool, err error) {
	if l.v4() {
		return l.applyV4(ctx, p)
	}
	set := map[string]bool{}
	for _, b := range current {
		set[b.Domain] = true
	}
	for _, b := range p.Remove {
		delete(set, b.Domain)
	}
	for _, e := range p.Add {
		set[e.Domain] = true
		added = append(added, e.Domain)
	}
	body := map[string]any{"blocked_instances": append([]string{}, slices.Sorted(maps.Keys(set))...)}
	local := l.site.SiteView.LocalSite
	if local.Mode == "RequireApplication" && local.Question != nil {
		body["application_question"] = *local.Question // Lemmy refuses the change without it
	}
	if l.site.old() {
		body["auth"] = l.token
	}
	if _, err := l.call(ctx, http.MethodPut, l.cfg.URL+"/api/v3/site", body, nil); err != nil {
		return nil, false, fmt.Errorf("write Lemmy's block list: %w", err)
	}
	return added, true, nil
}

func (l *lemmy) applyV4(ctx context.Context, p *Plan) (added []string, wrote bool, err error) {
	block := func(domain string, on bool, reason string) error {
		body := map[string]any{"instance": domain, "block": on, "reason": reason}
		if _, err := l.call(ctx, http.MethodPost, l.cfg.URL+"/api/v4/admin/instance/block", body, nil); err != nil {
			return fmt.Errorf("change the block of %s: %w", domain, err)
		}
		wrote = true
		return nil
	}
	for _, e := range p.Add {
		if err := block(e.Domain, true, e.Comment); err != nil {
			return added, wrote, err
		}
		added = append(added, e.Domain)
	}
	for _, b := range p.Remove {
		if err := block(b.Domain, false, ""); err != nil {
			return added, wrote, err
		}
	}
	return added, wrote, nil
}
