// SPDX-License-Identifier: AGPL-3.0-or-later

// Package probe finds out what a foreign instance is: its software, how it registers people, who its admins are. It
// reads nodeinfo first and then what the software offers, and it trusts nothing that it reads: bodies are bounded,
// redirects stay within the site, and addresses that are not public are refused by the client that it is given.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"horde/internal/fediseer"
	"horde/internal/fetch"
)

const (
	// maxRedirects bounds the redirects of one document. Split-domain installations, and those that send everybody from
	// the bare domain to "www.", use one.
	maxRedirects = 3
	// maxSoftware and maxVersion are the widths of their columns, in characters.
	maxSoftware = 50
	maxVersion  = 255
)

// Doer carries out HTTP requests. It must bound time and bodies and must not follow redirects; *fetch.Client with
// MaxRedirects 0 is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Resolver looks up names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Prober looks at instances. It keeps nothing between probes, so that what one instance says is never taken for
// another's, and may be used from any goroutine.
type Prober struct {
	HTTP     Doer
	Resolver Resolver
	// UserAgent names the service.
	UserAgent string
	// Timeout bounds each request.
	Timeout time.Duration
}

// Result is what a probe found.
type Result struct {
	fediseer.Attributes
	// Admins are user names, case-sensitive, without the domain. Nil means that none could be found out.
	Admins []string
	// Reached is true if nodeinfo answered with something that can be understood.
	Reached bool
	// Resolves is true if DNS knows the name.
	Resolves bool
	// Foreign is true if the domain sends its visitors to somebody else's site.
	Foreign bool
	// Err is why the instance cannot be taken at its word: an answer that is not what it should be, a private address.
	// An instance that does not answer at all is not an error.
	Err error
}

// nodeinfo is the part of the document that is used.
type nodeinfo struct {
	Software struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"software"`
	OpenRegistrations *bool           `json:"openRegistrations"`
	Metadata          json.RawMessage `json:"metadata"`
}

// metadata are the keys of nodeinfo's metadata that some software fills. Its form is free, so that one that does not
// fit counts as empty.
type metadata struct {
	EmailRequired *bool    `json:"emailRequiredForSignup"`
	Hcaptcha      bool     `json:"enableHcaptcha"`
	Recaptcha     bool     `json:"enableRecaptcha"`
	Staff         []string `json:"staffAccounts"`
}

var (
	errMissing = errors.New("no nodeinfo there")
	errForeign = errors.New("it redirects to another site")
	errAnswer  = errors.New("the answer is not what the protocol says")
)

// Probe implements trust.Prober.
func (p *Prober) Probe(ctx context.Context, d fediseer.Domain) Result {
	r := Result{Attributes: fediseer.Attributes{Software: fediseer.SoftwareUnknown, Version: fediseer.SoftwareUnknown}}
	if d.Wildcard() {
		r.Software, r.Resolves = fediseer.SoftwareWildcard, true
		return r
	}
	r.Resolves = p.resolves(ctx, d)
	if !r.Resolves {
		return r
	}
	info, err := p.nodeinfo(ctx, d)
	switch {
	case err == nil:
		r.Reached = true
	case errors.Is(err, errForeign):
		r.Foreign, r.Err = true, err
		return r
	case errors.Is(err, errAnswer), errors.Is(err, fetch.ErrPrivateAddress), errors.Is(err, fetch.ErrTooLarge), errors.Is(err, fetch.ErrURL):
		r.Err = err
		return r
	default: // nobody there
		return r
	}
	software, version := strings.ToLower(visible(info.Software.Name)), visible(info.Software.Version)
	switch {
	case !softwareName.MatchString(software):
		r.Err = fmt.Errorf("%w: the software's name in nodeinfo is not made of at most %d letters, digits, hyphens, dots and underscores", errAnswer, maxSoftware)
		return r
	case utf8.RuneCountInString(version) > maxVersion:
		r.Err = fmt.Errorf("%w: the software's version in nodeinfo is longer than %d characters", errAnswer, maxVersion)
		return r
	}
	r.Software, r.Version = software, version
	r.OpenRegistrations = info.OpenRegistrations
	var meta metadata
	if json.Unmarshal(info.Metadata, &meta) != nil {
		meta = metadata{}
	}
	r.Err = p.site(ctx, d, &r, meta)
	return r
}

// softwareName is the form that nodeinfo gives to names of software, and two characters that are in use besides.
var softwareName = regexp.MustCompile(fmt.Sprintf(`^[a-z0-9_.-]{1,%d}$`, maxSoftware))

// visible keeps the visible characters of a text. Nothing left is SoftwareUnknown.
func visible(s string) string {
	s = strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, strings.ToValidUTF8(s, "")))
	if s == "" {
		return fediseer.SoftwareUnknown
	}
	return s
}

func (p *Prober) resolves(ctx context.Context, d fediseer.Domain) bool {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	addrs, err := p.Resolver.LookupNetIP(ctx, "ip", string(d))
	if dns, ok := errors.AsType[*net.DNSError](err); ok && (dns.IsTimeout || dns.IsTemporary) && !dns.IsNotFound {
		return true // the name server is ill, which says nothing about the name
	}
	return err == nil && len(addrs) > 0
}

// nodeinfoSchema begins the rels of all versions of the document.
const nodeinfoSchema = "http://nodeinfo.diaspora.software/ns/schema/2."

func (p *Prober) nodeinfo(ctx context.Context, d fediseer.Domain) (*nodeinfo, error) {
	var index struct {
		Links []struct {
			Rel  string `json:"rel"`
			Href string `json:"href"`
		} `json:"links"`
	}
	at, err := p.getJSON(ctx, d, "https://"+string(d)+"/.well-known/nodeinfo", "none", &index)
	if err != nil {
		return nil, err
	}
	href, best := "", ""
	for _, l := range index.Links {
		if strings.HasPrefix(l.Rel, nodeinfoSchema) && l.Rel >= best {
			href, best = l.Href, l.Rel
		}
	}
	if href == "" && len(index.Links) > 0 {
		href = index.Links[len(index.Links)-1].Href
	}
	if href == "" {
		return nil, fmt.Errorf("%w: the index of nodeinfo names no document", errAnswer)
	}
	u, err := at.Parse(href)
	if err != nil {
		return nil, fmt.Errorf("%w: the index of nodeinfo holds no address", errAnswer)
	}
	var info nodeinfo
	if _, err := p.getJSON(ctx, d, u.String(), "cross-site", &info); err != nil {
		return nil, err
	}
	return &info, nil
}

// getJSON reads a document and returns the address that it was found at after redirects within the site of d.
func (p *Prober) getJSON(ctx context.Context, d fediseer.Domain, address, fetchSite string, into any) (*url.URL, error) {
	resp, u, err := p.follow(ctx, http.MethodGet, d, address, fetchSite, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: status %d", errMissing, resp.StatusCode)
	}
	return u, decode(resp.Body, into)
}

// follow sends a request and repeats it, method and body included, wherever redirects within the site of d lead. It
// returns the address that answered. What is asked with POST here only reads, so that repeating it changes nothing.
func (p *Prober) follow(ctx context.Context, method string, d fediseer.Domain, address, fetchSite string, body []byte) (*http.Response, *url.URL, error) {
	for hop := 0; ; hop++ {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" {
			return nil, nil, fmt.Errorf("%w: only https addresses are followed", errAnswer)
		}
		if !SameSite(u.Hostname(), string(d)) {
			return nil, nil, errForeign
		}
		resp, err := p.do(ctx, method, u.String(), fetchSite, body)
		if err != nil {
			return nil, nil, err
		}
		loc := resp.Header.Get("Location")
		if resp.StatusCode/100 != 3 || loc == "" {
			return resp, u, nil
		}
		resp.Body.Close()
		next, err := u.Parse(loc)
		if err != nil || hop == maxRedirects {
			return nil, nil, fmt.Errorf("%w: its redirects lead nowhere", errAnswer)
		}
		address = next.String()
	}
}

// SameSite tells whether two hosts are under one registered domain.
func SameSite(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSuffix(a, ".")), strings.ToLower(b)
	if a == b {
		return true
	}
	siteA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	siteB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && siteA == siteB
}

func decode(body io.Reader, into any) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: no JSON, or of another form", errAnswer)
	}
	return nil
}

// do sends a request with the headers of a browser that follows a link, which some instances insist on. The body of the
// answer ends the request's time when it is closed.
func (p *Prober) do(ctx context.Context, method, address, fetchSite string, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	var r io.Reader
	if body != nil {
		r = strings.NewReader(string(body))
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%w: no address", errAnswer)
	}
	Headers(req, p.UserAgent, fetchSite)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = cancelBody{resp.Body, cancel}
	return resp, nil
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Headers sets what all requests to foreign instances carry.
func Headers(req *http.Request, userAgent, fetchSite string) {
	h := req.Header
	h.Set("User-Agent", userAgent)
	h.Set("Sec-Fetch-Dest", "document")
	h.Set("Sec-Fetch-Mode", "navigate")
	h.Set("Sec-Fetch-Site", fetchSite)
	h.Set("Sec-Fetch-User", "?1")
	h.Set("Sec-GPC", "1")
}

// Proof is a way to show that a domain is one's own.
type Proof string

const (
	ProofNone      Proof = ""           // none: the key goes out by private message
	ProofDNS       Proof = "dns"        // a TXT record of ProofLabel below the domain
	ProofWellKnown Proof = "well-known" // a line of the file ProofPath on the domain
)

const (
	ProofLabel = "_fediseer."
	ProofPath  = "/.well-known/fediseer"
)

// Published implements trust.Prober.
func (p *Prober) Published(ctx context.Context, d fediseer.Domain, how Proof) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	if how == ProofDNS {
		values, err := p.Resolver.LookupTXT(ctx, ProofLabel+string(d))
		if err != nil {
			return nil, fmt.Errorf("no TXT record of %s%s", ProofLabel, d)
		}
		return values, nil
	}
	resp, err := p.do(ctx, http.MethodGet, "https://"+string(d)+ProofPath, "none", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK { // redirects are not followed: the file must be on the domain itself
		return nil, fmt.Errorf("https://%s%s answered %d", d, ProofPath, resp.StatusCode)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return slices.Collect(strings.FieldsSeq(string(b))), nil
}
