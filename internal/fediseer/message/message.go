// SPDX-License-Identifier: AGPL-3.0-or-later

// Package message sends private messages to the admins of fediverse instances: straight to their server over
// ActivityPub in the form that its software understands, or through an account on a Mastodon-API server.
//
// [Messenger.Send] delivers now and tells how; it is for keys. [Messenger.Queue] takes a notice and delivers it in the
// background as well as it can.
package message

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/yuin/goldmark"

	"horde/internal/fediseer"
	"horde/internal/fediseer/probe"
	"horde/internal/fetch"
)

// ActivityType is the content type of ActivityPub documents.
const ActivityType = "application/activity+json"

// SendTimeout bounds a delivery as a whole.
const SendTimeout = 15 * time.Second

// Delivery is the way in which a message went out. Empty means that none did.
type Delivery string

const (
	ViaActivityPub Delivery = "ACTIVITYPUB"
	ViaMastodon    Delivery = "MASTODON"
)

// Recipient is an admin of an instance and what must be known to reach them.
type Recipient struct {
	User              string
	Domain            fediseer.Domain
	Software, Version string
	Proxy             fediseer.PMProxy
}

// Config says who sends.
type Config struct {
	// BaseURL is the public address of the service without a final slash, Actor the address of its actor document.
	BaseURL, Actor string
	Key            *rsa.PrivateKey
	UserAgent      string
	// Foreign reaches strangers' servers; Own reaches the operator's Mastodon-API server.
	Foreign probe.Doer
	Own     *http.Client
	// MastodonURL and MastodonToken are the operator's account. An empty URL means that there is none.
	MastodonURL, MastodonToken string
	// Root is the domain of the root instance, whose messages go to Operator ("user@domain"); empty means nowhere.
	Root     fediseer.Domain
	Operator string
}

// KeyID is the id of the service's key in its actor document.
func (c *Config) KeyID() string { return c.Actor + "#main-key" }

// Send delivers a Markdown text to a recipient.
func (m *Messenger) Send(ctx context.Context, to Recipient, text string) (Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, SendTimeout)
	defer cancel()
	if to.Software == fediseer.SoftwareFediseer && to.Domain == m.cfg.Root {
		user, domain, ok := strings.Cut(strings.TrimPrefix(m.cfg.Operator, "@"), "@")
		if !ok {
			return "", errors.New("the operator of the root instance has no account to write to")
		}
		to.User, to.Domain, to.Software = user, fediseer.Domain(domain), fediseer.SoftwareLemmy
	}
	if to.Proxy == fediseer.ProxyMastodon {
		return ViaMastodon, m.sendMastodon(ctx, to, text)
	}
	return ViaActivityPub, m.sendActivity(ctx, to, text)
}

func (m *Messenger) sendMastodon(ctx context.Context, to Recipient, text string) error {
	if m.cfg.MastodonURL == "" {
		return errors.New("this service has no account on a Mastodon server")
	}
	form := url.Values{"visibility": {"direct"}, "status": {fmt.Sprintf("@%s@%s %s", to.User, to.Domain, text)}}
	if m.proxyIsGoToSocial(ctx) {
		form.Set("content_type", "text/markdown")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.cfg.MastodonURL+"/api/v1/statuses", strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("the address of the Mastodon server is not one")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+m.cfg.MastodonToken)
	req.Header.Set("User-Agent", m.cfg.UserAgent)
	req.Header.Set("Idempotency-Key", uuid.NewString())
	resp, err := m.cfg.Own.Do(req)
	if err != nil {
		return fmt.Errorf("the Mastodon server did not answer: %w", err)
	}
	defer drain(resp)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the Mastodon server answered %d", resp.StatusCode)
	}
	return nil
}

// proxyIsGoToSocial asks the operator's server once what it is: GoToSocial shows Markdown when it is told so.
func (m *Messenger) proxyIsGoToSocial(ctx context.Context) bool {
	m.proxyOnce.Do(func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.cfg.MastodonURL+"/nodeinfo/2.0", nil)
		if err != nil {
			return
		}
		resp, err := m.cfg.Own.Do(req)
		if err != nil {
			return
		}
		defer drain(resp)
		var info struct {
			Software struct {
				Name string `json:"name"`
			} `json:"software"`
		}
		const enough = 1 << 20
		if json.NewDecoder(io.LimitReader(resp.Body, enough)).Decode(&info) == nil {
			m.proxyGTS = strings.EqualFold(info.Software.Name, "gotosocial")
		}
	})
	return m.proxyGTS
}

func drain(resp *http.Response) {
	const rest = 64 << 10 // so that the connection can be used again
	io.CopyN(io.Discard, resp.Body, rest)
	resp.Body.Close()
}

// address is where a message goes.
type address struct {
	id    string // of the recipient's actor
	inbox string
}

func (m *Messenger) sendActivity(ctx context.Context, to Recipient, text string) error {
	where, err := m.discover(ctx, to)
	if err != nil {
		where = fallback(to)
	}
	body, err := json.Marshal(m.document(to, where.id, text, time.Now()))
	if err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where.inbox, bytes.NewReader(body))
	if err != nil {
		return errors.New("the inbox has no usable address")
	}
	probe.Headers(req, m.cfg.UserAgent, "cross-site")
	req.Header.Set("Content-Type", ActivityType)
	if err := Sign(req, body, m.cfg.KeyID(), m.cfg.Key, time.Now()); err != nil {
		return err
	}
	resp, err := m.cfg.Foreign.Do(req)
	if err != nil {
		return fmt.Errorf("the inbox could not be reached: %w", err)
	}
	defer drain(resp)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the inbox answered %d", resp.StatusCode)
	}
	return nil
}

// discover asks the instance where its user receives: WebFinger for the actor, the actor for the inbox.
func (m *Messenger) discover(ctx context.Context, to Recipient) (address, error) {
	var finger struct {
		Links []struct{ Rel, Type, Href string }
	}
	q := url.Values{"resource": {"acct:" + to.User + "@" + string(to.Domain)}}
	if err := m.get(ctx, "https://"+string(to.Domain)+"/.well-known/webfinger?"+q.Encode(), "application/jrd+json", maxHops, &finger); err != nil {
		return address{}, err
	}
	for _, l := range finger.Links {
		if l.Rel != "self" || l.Type != ActivityType {
			continue
		}
		var actor struct {
			ID    string `json:"id"`
			Inbox string `json:"inbox"`
		}
		if err := m.get(ctx, l.Href, ActivityType, maxHops, &actor); err != nil {
			return address{}, err
		}
		if !strings.HasPrefix(actor.ID, "https://") || !strings.HasPrefix(actor.Inbox, "https://") {
			return address{}, errors.New("the actor has no inbox")
		}
		return address{id: actor.ID, inbox: actor.Inbox}, nil
	}
	return address{}, errors.New("WebFinger names no actor")
}

// maxHops bounds the redirects on the way to a user's inbox. Keys are read without any, so that nobody can vouch for
// another host's actor through a redirect of that host.
const maxHops = 3

// get reads a JSON document with a signed request, since some servers answer no other. It follows redirects within the
// site and signs anew for each.
func (m *Messenger) get(ctx context.Context, from, accept string, hops int, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil || req.URL.Scheme != "https" {
		return errors.New("no usable address")
	}
	probe.Headers(req, m.cfg.UserAgent, "cross-site")
	req.Header.Set("Accept", accept)
	site := req.URL.Hostname()
	resp, err := fetch.Follow(req, m.cfg.Foreign, hops, func(hop *http.Request) error {
		if hop.URL.Scheme != "https" || !probe.SameSite(hop.URL.Hostname(), site) {
			return errors.New("it redirects to another site")
		}
		return Sign(hop, nil, m.cfg.KeyID(), m.cfg.Key, time.Now())
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// PublicKey fetches the key with this id from the actor document that holds it.
func (m *Messenger) PublicKey(ctx context.Context, keyID string) (*rsa.PublicKey, error) {
	var actor struct {
		ID        string `json:"id"`
		PublicKey struct {
			ID    string `json:"id"`
			Owner string `json:"owner"`
			PEM   string `json:"publicKeyPem"`
		} `json:"publicKey"`
	}
	if err := m.get(ctx, keyID, ActivityType, 0, &actor); err != nil {
		return nil, fmt.Errorf("the signer's key cannot be read: %w", err)
	}
	if actor.PublicKey.ID != keyID || actor.PublicKey.Owner != actor.ID {
		return nil, errors.New("the signer's document holds another key")
	}
	return ParsePublicPEM(actor.PublicKey.PEM)
}

// fallback is where the messages of this software are usually taken.
func fallback(to Recipient) address {
	base := "https://" + string(to.Domain)
	if isLemmyLike(to.Software) {
		return address{id: base + "/u/" + url.PathEscape(to.User), inbox: base + "/inbox"}
	}
	return address{id: base + "/users/" + url.PathEscape(to.User), inbox: base + "/inbox"}
}

func isLemmyLike(software string) bool { return software == "lemmy" || software == "piefed" }

// chatOnly tells whether the software parses nothing but ChatMessage as a private message: PieFed, and Lemmy before 0.20.
func chatOnly(to Recipient) bool {
	if to.Software != fediseer.SoftwareLemmy {
		return to.Software == "piefed"
	}
	major, rest, _ := strings.Cut(to.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	major = strings.TrimPrefix(major, "v")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(strings.TrimFunc(minor, func(r rune) bool { return r < '0' || r > '9' }))
	return errA != nil || errB != nil || a == 0 && b < 20
}

var activityContext = []string{"https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"}

// document builds the activity that carries a text.
func (m *Messenger) document(to Recipient, id, text string, now time.Time) map[string]any {
	content := renderHTML(text)
	object := map[string]any{"attributedTo": m.cfg.Actor, "id": m.cfg.BaseURL + "/" + uuid.NewString(),
		"published": now.UTC().Format("2006-01-02T15:04:05Z"), "to": []string{id}}
	activity := map[string]any{"@context": activityContext, "type": "Create", "actor": m.cfg.Actor,
		"id": m.cfg.BaseURL + "/" + uuid.NewString(), "to": []string{id}, "object": object}
	if chatOnly(to) {
		object["type"] = "ChatMessage"
		object["mediaType"] = "text/html"
		object["source"] = map[string]string{"content": text, "mediaType": "text/markdown"}
	} else {
		name := "@" + to.User + "@" + string(to.Domain)
		object["type"] = "Note"
		object["cc"], activity["cc"] = []string{}, []string{}
		object["tag"] = []map[string]string{{"type": "Mention", "name": name, "href": id}}
		content = fmt.Sprintf(`<p><a href="%s" class="u-url mention">%s</a></p>`+"\n", html.EscapeString(id), html.EscapeString(name)) + content
	}
	object["content"] = content
	return activity
}

// renderHTML turns Markdown into HTML; HTML inside of the Markdown is left out.
func renderHTML(text string) string {
	var b bytes.Buffer
	if err := goldmark.Convert([]byte(text), &b); err != nil {
		return "<p>" + html.EscapeString(text) + "</p>" // a buffer does not fail to be written to
	}
	return b.String()
}
