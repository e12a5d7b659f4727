// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
)

// ActorName is the local part of the service's account on the fediverse.
const ActorName = "fediseer"

// ActorPath is where the service's actor document lies.
const ActorPath = Base + "/user/" + ActorName

const (
	inboxPath  = Base + "/inbox/" + ActorName
	outboxPath = Base + "/outbox/" + ActorName
	// seenSignatures is how many signatures are remembered against replays.
	seenSignatures = 10000
	// maxLogged bounds what of a stranger's text gets into the log, in characters.
	maxLogged = 500
)

// keySource fetches the key of a signer.
type keySource interface {
	PublicKey(ctx context.Context, keyID string) (*rsa.PublicKey, error)
}

func jsonDocument(w http.ResponseWriter, r *http.Request, contentType string, doc any) {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // the documents here are made of texts
	}
	newCached(contentType, append(b, '\n')).write(w, r)
}

// activityPub adds the routes that make the service an actor. It never acts on what it receives: messages are checked
// and logged.
func (a *API) activityPub(keys keySource) {
	actor := a.absolute(ActorPath)
	a.Page("/.well-known/webfinger", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			writeError(w, fediseer.Refuse(http.StatusBadRequest, "WebFinger needs ?resource=acct:..."))
			return
		}
		subject := "acct:" + ActorName + "@" + a.cfg.Host
		if !strings.EqualFold(r.URL.Query().Get("resource"), subject) {
			writeError(w, fediseer.Refuse(http.StatusNotFound, "There is no such account here"))
			return
		}
		jsonDocument(w, r, "application/jrd+json", map[string]any{"subject": subject, "links": []any{
			map[string]any{"rel": "self", "type": message.ActivityType, "href": actor}}})
	})
	a.Page(Base+"/user/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != ActorName {
			writeError(w, fediseer.Refuse(http.StatusNotFound, "There is no such account here"))
			return
		}
		jsonDocument(w, r, message.ActivityType, map[string]any{
			"@context": []string{"https://www.w3.org/ns/activitystreams", "https://w3id.org/security/v1"},
			"type":     "Person", "id": actor, "preferredUsername": ActorName, "name": "Fediseer", "url": a.absolute("/"),
			"inbox": a.absolute(inboxPath), "outbox": a.absolute(outboxPath), "endpoints": map[string]string{"sharedInbox": a.absolute("/inbox")},
			"publicKey": map[string]string{"id": actor + "#main-key", "owner": actor, "publicKeyPem": a.cfg.PublicPEM}})
	})
	a.Page(Base+"/outbox/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != ActorName {
			writeError(w, fediseer.Refuse(http.StatusNotFound, "There is no such account here"))
			return
		}
		jsonDocument(w, r, message.ActivityType, map[string]any{"@context": "https://www.w3.org/ns/activitystreams",
			"type": "OrderedCollection", "id": a.absolute(outboxPath), "totalItems": 0, "orderedItems": []any{}})
	})
	a.Page("/.well-known/nodeinfo", func(w http.ResponseWriter, r *http.Request) {
		jsonDocument(w, r, "application/json", map[string]any{"links": []any{map[string]string{
			"rel": "http://nodeinfo.diaspora.software/ns/schema/2.0", "href": a.absolute("/nodeinfo/2.0")}}})
	})
	a.Page("/nodeinfo/2.0", func(w http.ResponseWriter, r *http.Request) {
		jsonDocument(w, r, "application/json", map[string]any{"version": "2.0", "protocols": []string{"activitypub"},
			"software":          map[string]string{"name": fediseer.SoftwareFediseer, "version": a.cfg.Version},
			"services":          map[string]any{"inbound": []string{}, "outbound": []string{}},
			"openRegistrations": false, "usage": map[string]any{"users": map[string]int{"total": 1}}, "metadata": map[string]any{}})
	})
	seen, err := lru.New[string, struct{}](seenSignatures)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	inbox := func(w http.ResponseWriter, r *http.Request) bool {
		body, err := readAll(r, maxInbox)
		if err != nil {
			writeError(w, fediseer.Refuse(http.StatusRequestEntityTooLarge, "The message is too large"))
			return false
		}
		var activity struct {
			Actor  string          `json:"actor"`
			Object json.RawMessage `json:"object"`
		}
		if json.Unmarshal(body, &activity) != nil || activity.Actor == "" {
			writeError(w, fediseer.Refuse(http.StatusBadRequest, "The message must be JSON with an actor"))
			return false
		}
		if r.Header.Get("Signature") == "" {
			return true // taken and dropped, since nobody knows who sent it
		}
		if err := a.verify(r, body, activity.Actor, keys, seen); err != nil {
			writeError(w, fediseer.Refuse(http.StatusUnauthorized, "The message is not trusted: %s", err))
			return false
		}
		var object struct {
			Content string `json:"content"`
		}
		_ = json.Unmarshal(activity.Object, &object) // an object without content is logged without
		a.log.Info("a message came in", "actor", cutText(activity.Actor), "content", cutText(object.Content))
		return true
	}
	a.Page("POST "+Base+"/inbox/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != ActorName {
			writeError(w, fediseer.Refuse(http.StatusNotFound, "There is no such account here"))
			return
		}
		if inbox(w, r) {
			jsonDocument(w, r, "application/json", Simple{Message: "delivered"})
		}
	})
	a.Page("POST /inbox", func(w http.ResponseWriter, r *http.Request) {
		if inbox(w, r) {
			newCached("text/plain; charset=utf-8", []byte("ok\n")).write(w, r)
		}
	})
}

type inboxError string

func (e inboxError) Error() string { return string(e) }

// verify checks that the actor itself signed the message, now, and not once before.
func (a *API) verify(r *http.Request, body []byte, actor string, keys keySource, seen *lru.Cache[string, struct{}]) error {
	sig, err := message.ParseSignature(r, body, time.Now())
	if err != nil {
		return err
	}
	if owner, _, _ := strings.Cut(sig.KeyID, "#"); owner != actor && !strings.HasPrefix(owner, actor+"/") {
		return inboxError("the key does not belong to the actor")
	}
	if seen.Contains(r.Header.Get("Signature")) {
		return inboxError("it was received before")
	}
	key, err := keys.PublicKey(r.Context(), sig.KeyID)
	if err != nil {
		return inboxError("the signer's key could not be read")
	}
	if err := sig.Verify(r, key); err != nil {
		return err
	}
	if was, _ := seen.ContainsOrAdd(r.Header.Get("Signature"), struct{}{}); was {
		return inboxError("it was received before")
	}
	return nil
}

func cutText(s string) string {
	if r := []rune(s); len(r) > maxLogged {
		return string(r[:maxLogged]) + "..."
	}
	return s
}
