// SPDX-License-Identifier: AGPL-3.0-or-later

// Package fediversetest is a fediverse for tests: servers of several kinds with names of their own, reached over real
// TLS on a loopback address, and driven by a table of behaviours. An inbox checks Digest, Date and Signature of what it
// gets, fetching the sender's key as a real server does, and keeps it, so that a test can read the API key out of it.
package fediversetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/fediseer/message"
)

// Host is one server. Fields are set before it is added and changed only through Network.Change.
type Host struct {
	Domain   string
	Software string // "lemmy", "mastodon", ...; empty means that there is no nodeinfo
	Version  string
	Admins   []string
	// Open is what nodeinfo says about registrations: nil is null.
	Open *bool
	// Mode is Lemmy's registration mode.
	Mode     string
	Captcha  bool
	Approval *bool // Mastodon's approval_required; nil leaves it out
	// Handle, if it returns true, has answered a request in place of the usual behaviour.
	Handle func(w http.ResponseWriter, r *http.Request) bool
	// InboxStatus answers posts to the inbox; 0 is 200.
	InboxStatus int
	// NoWebfinger hides the users, so that senders fall back to fixed addresses.
	NoWebfinger bool
	// Addr is where the name leads; the zero address is the network's own.
	Addr netip.Addr
}

// Received is a message that an inbox took.
type Received struct {
	To, Path string
	Type     string // of the object
	Content  string
	Raw      map[string]any
}

// Network is a fediverse. Make one with New.
type Network struct {
	Roots *x509.CertPool
	// Prefix is the loopback address that has to be allowed to be reached.
	Prefix netip.Prefix

	addr  netip.Addr
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
	keys  *http.Client

	mu    sync.Mutex
	hosts map[string]*Host            // guarded by mu
	txt   map[string][]string         // guarded by mu
	inbox map[string][]Received       // guarded by mu
	certs map[string]*tls.Certificate // guarded by mu
	bad   []string                    // guarded by mu; messages that were not signed as they should be
	calls map[string]int              // guarded by mu; by "domain path"
}

// New starts a network that ends with the test. It needs port 443 on a loopback address, which takes root or an
// ip_unprivileged_port_start below that; without it the test is skipped, or fails where HORDE_TEST_REQUIRE is set.
func New(t testing.TB) *Network {
	t.Helper()
	n := &Network{hosts: map[string]*Host{}, txt: map[string][]string{}, inbox: map[string][]Received{}, certs: map[string]*tls.Certificate{},
		calls: map[string]int{}, keys: &http.Client{Timeout: 5 * time.Second}}
	n.authority(t)
	listener := listen(t)
	n.addr = listener.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	n.Prefix = netip.PrefixFrom(n.addr, 32)
	srv := &http.Server{Handler: http.HandlerFunc(n.serve), ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: n.certificate, NextProtos: []string{"http/1.1"}}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(listener, "", "") // ends with Close
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return n
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	var err error
	for range 20 {
		// A random address of the loopback range, so that networks of parallel tests do not meet.
		at := fmt.Sprintf("127.%d.%d.%d:443", 16+mathrand.IntN(200), mathrand.IntN(256), 1+mathrand.IntN(250))
		var l net.Listener
		if l, err = net.Listen("tcp4", at); err == nil {
			return l
		}
	}
	if os.Getenv("HORDE_TEST_REQUIRE") == "1" {
		t.Fatal(err)
	}
	t.Skipf("no port 443 on loopback: %v", err)
	return nil
}

func (n *Network) authority(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fediverse of a test"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if n.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	n.caKey = key
	n.Roots = x509.NewCertPool()
	n.Roots.AddCert(n.ca)
}

func (n *Network) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.certs[hello.ServerName]; c != nil {
		return c, nil
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{hello.ServerName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, n.ca, &n.caKey.PublicKey, n.caKey)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: n.caKey}
	n.certs[hello.ServerName] = c
	return c, nil
}

// Add adds servers.
func (n *Network) Add(hosts ...Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range hosts {
		if h.Version == "" {
			h.Version = "0.19.5"
		}
		if h.Mode == "" {
			h.Mode = "Closed"
		}
		n.hosts[h.Domain] = &h
	}
}

// Lemmy is a Lemmy server with one admin.
func Lemmy(domain, admin string) Host {
	return Host{Domain: domain, Software: "lemmy", Admins: []string{admin}}
}

// Change changes a server.
func (n *Network) Change(domain string, f func(*Host)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := *n.hosts[domain]
	f(&h)
	n.hosts[domain] = &h
}

// Remove makes a name unknown to DNS.
func (n *Network) Remove(domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hosts, domain)
}

// SetTXT publishes TXT records.
func (n *Network) SetTXT(name string, values ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.txt[name] = values
}

// LookupNetIP and LookupTXT make the network a resolver.
func (n *Network) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[strings.TrimSuffix(host, ".")]
	if h == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if h.Addr.IsValid() {
		return []netip.Addr{h.Addr}, nil
	}
	return []netip.Addr{n.addr}, nil
}

func (n *Network) LookupTXT(_ context.Context, name string) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if v := n.txt[name]; v != nil {
		return v, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// Messages returns what the inboxes of a domain took for a user, oldest first.
func (n *Network) Messages(domain, user string) []Received {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Received(nil), n.inbox[user+"@"+domain]...)
}

// Bad returns why messages were not taken.
func (n *Network) Bad() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.bad...)
}

// Calls counts the requests for a path of a domain.
func (n *Network) Calls(domain, path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[domain+" "+path]
}

func (n *Network) serve(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	h := n.hosts[r.Host]
	n.calls[r.Host+" "+r.URL.Path]++
	n.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	if h.Handle != nil && h.Handle(w, r) {
		return
	}
	lemmy := h.Software == "lemmy" || h.Software == "piefed"
	base := "https://" + h.Domain
	path := r.URL.Path
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case path == "/.well-known/nodeinfo" && h.Software != "":
		reply(w, map[string]any{"links": []any{
			map[string]string{"rel": "http://nodeinfo.diaspora.software/ns/schema/2.1", "href": base + "/nodeinfo/2.1"},
			map[string]string{"rel": "http://nodeinfo.diaspora.software/ns/schema/2.0", "href": base + "/nodeinfo/2.0"}}})
	case path == "/nodeinfo/2.1" && h.Software != "":
		staff := []string{}
		for _, a := range h.Admins {
			staff = append(staff, base+"/users/"+a)
		}
		reply(w, map[string]any{"version": "2.1", "software": map[string]string{"name": h.Software, "version": h.Version},
			"openRegistrations": h.Open, "metadata": map[string]any{"staffAccounts": staff}})
	case path == "/api/v3/site" && lemmy:
		admins := []any{}
		for _, a := range h.Admins {
			admins = append(admins, map[string]any{"person": map[string]string{"name": a}})
		}
		reply(w, map[string]any{"admins": admins, "version": h.Version, "site_view": map[string]any{"local_site": map[string]any{
			"registration_mode": h.Mode, "require_email_verification": true, "captcha_enabled": h.Captcha}}})
	case path == "/api/v1/instance" && !lemmy && h.Software != "misskey" && h.Software != "mbin" && h.Software != "":
		doc := map[string]any{"uri": h.Domain}
		if h.Approval != nil {
			doc["approval_required"] = *h.Approval
		}
		if len(h.Admins) > 0 {
			doc["contact_account"] = map[string]string{"username": h.Admins[0]}
		}
		reply(w, doc)
	case path == "/api/users" && h.Software == "misskey" && r.Method == http.MethodPost:
		n.misskeyUsers(w, r, h)
	case path == "/.well-known/webfinger" && !h.NoWebfinger:
		user, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Query().Get("resource"), "acct:"), "@")
		reply(w, map[string]any{"links": []any{map[string]string{"rel": "self", "type": message.ActivityType, "href": h.actor(user)}}})
	case r.Method == http.MethodGet && h.actor(name) == base+path:
		reply(w, map[string]any{"id": base + path, "type": "Person", "inbox": base + path + "/inbox"})
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/inbox"):
		n.take(w, r, h)
	default:
		http.NotFound(w, r)
	}
}

// actor is the address of a user's actor document.
func (h *Host) actor(user string) string {
	if h.Software == "lemmy" || h.Software == "piefed" {
		return "https://" + h.Domain + "/u/" + user
	}
	return "https://" + h.Domain + "/users/" + user
}

func reply(w http.ResponseWriter, doc any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc) // the client may have gone
}

// misskeyUsers pages through twelve plain users and then the admins.
func (n *Network) misskeyUsers(w http.ResponseWriter, r *http.Request, h *Host) {
	var q struct{ Limit, Offset int }
	if json.NewDecoder(r.Body).Decode(&q) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	users := []any{}
	const plain = 12
	for i := q.Offset; i < min(q.Offset+q.Limit, plain+len(h.Admins)); i++ {
		if i < plain {
			users = append(users, map[string]any{"username": fmt.Sprint("user", i), "isAdmin": false})
		} else {
			users = append(users, map[string]any{"username": h.Admins[i-plain], "roles": []any{map[string]bool{"isAdministrator": true}}})
		}
	}
	reply(w, users)
}

// take checks and keeps a message.
func (n *Network) take(w http.ResponseWriter, r *http.Request, h *Host) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if h.InboxStatus != 0 && h.InboxStatus/100 != 2 {
		w.WriteHeader(h.InboxStatus)
		return
	}
	if err := n.verify(r, body); err != nil {
		n.mu.Lock()
		n.bad = append(n.bad, err.Error())
		n.mu.Unlock()
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var doc map[string]any
	if json.Unmarshal(body, &doc) != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	object, _ := doc["object"].(map[string]any)
	kind, _ := object["type"].(string)
	content, _ := object["content"].(string)
	var to string
	switch x := object["to"].(type) {
	case string:
		to = x
	case []any:
		if len(x) > 0 {
			to, _ = x[0].(string)
		}
	}
	if (h.Software == "lemmy" || h.Software == "piefed") && kind != "ChatMessage" {
		http.Error(w, "only ChatMessage is understood", http.StatusBadRequest)
		return
	}
	user := to[strings.LastIndexByte(to, '/')+1:]
	n.mu.Lock()
	n.inbox[user+"@"+h.Domain] = append(n.inbox[user+"@"+h.Domain], Received{To: to, Path: r.URL.Path, Type: kind, Content: content, Raw: doc})
	n.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

func (n *Network) verify(r *http.Request, body []byte) error {
	if t := r.Header.Get("Content-Type"); t != message.ActivityType {
		return fmt.Errorf("content type %q", t)
	}
	sig, err := message.ParseSignature(r, body, time.Now())
	if err != nil {
		return err
	}
	resp, err := n.keys.Get(sig.KeyID)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var actor struct {
		PublicKey struct {
			ID  string `json:"id"`
			PEM string `json:"publicKeyPem"`
		} `json:"publicKey"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&actor); err != nil || actor.PublicKey.ID != sig.KeyID {
		return fmt.Errorf("the key of %s cannot be read: %v", sig.KeyID, err)
	}
	var key *rsa.PublicKey
	if key, err = message.ParsePublicPEM(actor.PublicKey.PEM); err != nil {
		return err
	}
	r2 := r.Clone(r.Context())
	r2.Body = io.NopCloser(bytes.NewReader(body))
	return sig.Verify(r2, key)
}
