// SPDX-License-Identifier: AGPL-3.0-or-later

package message

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/fediseer"
)

// The public key and the signature of worked example 19.
const (
	publicPEM = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC9BsebqCohaJv4vw3qbCAzi6+l
UevhUd3K4SDxcRTT7wMtL4l2u25uBf0wkW0I6hqay1voy2m6B/GENY4qvLbrkKX2
Xq3Je1jVRg/8UqPIgEggdvEEIFAfh18+NwnKAaPOyZ77QlJKSptW+kpobdLm0fhX
e73Kkk8/VbKSPMj/dwIDAQAB
-----END PUBLIC KEY-----`
	signature = "anH1Z0DD1hzeFW35j3r77ln+iD2p5348qpDU9YJaCZIm8y6VvPnlw68nKLeCQPfY64s8vBVDG2alnWyTrgtN43jvPWSNIdQz" +
		"eSc+SNPBG1DAGbVNHgzR1DivE4GbilW6qH5lGtydRgLgc3cLxZIT2tXofaCsZ433FD/4y70gbsc="
)

func request(t *testing.T, body []byte) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "https://a.test/inbox", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// Worked example 19: the published signature fits our signing string.
func TestSignatureVector(t *testing.T) {
	t.Parallel()
	body := []byte(`{"a":1}`)
	if got := Digest(body); got != "SHA-256=AVq9f1zFei3ZS3WQ8ErYCEJzkF7jPsXOvq5iJ2qX+GI=" {
		t.Error(got)
	}
	key, err := ParsePublicPEM(publicPEM)
	if err != nil {
		t.Fatal(err)
	}
	req := request(t, body)
	req.Header.Set("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
	req.Header.Set("Digest", Digest(body))
	req.Header.Set("Signature", `keyId="https://x/actor",headers="(request-target) host date digest",signature="`+signature+`"`)
	sig, err := ParseSignature(req, body, time.Date(1994, 11, 6, 9, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := sig.Verify(req, key); err != nil || sig.KeyID != "https://x/actor" {
		t.Error(err, sig.KeyID)
	}
	req.Header.Set("Date", "Sun, 06 Nov 1994 08:49:38 GMT")
	if sig.Verify(req, key) == nil {
		t.Error("another date is accepted")
	}
	if _, err := ParseSignature(req, body, time.Now()); err == nil {
		t.Error("a date of 1994 is near")
	}
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{}`)
	req := request(t, body)
	if err := Sign(req, body, "https://x/actor#main-key", key, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`algorithm="rsa-sha256"`, `headers="(request-target) host date digest"`, `keyId="https://x/actor#main-key"`} {
		if !strings.Contains(req.Header.Get("Signature"), want) {
			t.Error(req.Header.Get("Signature"))
		}
	}
	sig, err := ParseSignature(req, body, time.Now())
	if err != nil || sig.Verify(req, &key.PublicKey) != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(h http.Header){
		"no signature":    func(h http.Header) { h.Del("Signature") },
		"half a header":   func(h http.Header) { h.Set("Signature", `keyId="x`) },
		"fewer parts":     func(h http.Header) { h.Set("Signature", strings.Replace(h.Get("Signature"), " digest", "", 1)) },
		"other algorithm": func(h http.Header) { h.Set("Signature", strings.Replace(h.Get("Signature"), "rsa-sha256", "md5", 1)) },
		"no base64": func(h http.Header) {
			h.Set("Signature", strings.Replace(h.Get("Signature"), `signature="`, `signature="!`, 1))
		},
		"no date":      func(h http.Header) { h.Del("Date") },
		"other digest": func(h http.Header) { h.Set("Digest", Digest([]byte("x"))) },
	} {
		r := request(t, body)
		r.Header = req.Header.Clone()
		change(r.Header)
		if _, err := ParseSignature(r, body, time.Now()); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzParseSignature(f *testing.F) {
	f.Add(`keyId="a",headers="(request-target) host date digest",signature="`+signature+`"`, []byte("{}"))
	f.Add(`created=1,keyId="`, []byte{})
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		req := request(t, body)
		req.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		req.Header.Set("Digest", Digest(body))
		req.Header["Signature"] = []string{header}
		if sig, err := ParseSignature(req, body, time.Now()); err == nil && (sig.KeyID == "" || len(sig.parts) < 4) {
			t.Fatalf("%q: %+v", header, sig)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	pem, err := NewPrivatePEM()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivatePEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	text, err := PublicPEM(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParsePublicPEM(text); err != nil || !back.Equal(&key.PublicKey) {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"} {
		if _, err := ParsePublicPEM(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
		if _, err := ParsePrivatePEM([]byte(bad)); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

// Which form a message takes, by software.
func TestDocuments(t *testing.T) {
	t.Parallel()
	m := &Messenger{cfg: Config{BaseURL: "https://fediseer.test", Actor: "https://fediseer.test/api/v1/user/fediseer"}}
	for _, c := range []struct{ software, version, kind string }{
		{"lemmy", "0.19.5", "ChatMessage"}, {"lemmy", "0.18.0-rc.1", "ChatMessage"}, {"lemmy", "unknown", "ChatMessage"}, {"lemmy", "0.20.1", "Note"}, {"lemmy", "1.0.0-alpha", "Note"},
		{"piefed", "1.2", "ChatMessage"}, {"mastodon", "4.3", "Note"}, {"gotosocial", "0.20", "Note"}, {"unknown", "unknown", "Note"},
	} {
		to := Recipient{User: "boss", Domain: "a.test", Software: c.software, Version: c.version}
		doc := m.document(to, "https://a.test/users/boss", "Hello\n\n**key**", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Type   string
			Actor  string
			To, CC []string
			Object struct {
				Type, Published, Content, MediaType string
				To, CC                              []string
				Tag                                 []struct{ Type, Name, Href string }
				Source                              struct{ Content, MediaType string }
			}
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		o := got.Object
		if got.Type != "Create" || o.Type != c.kind || o.Published != "2026-01-02T03:04:05Z" || len(got.To) != 1 || len(o.To) != 1 || !strings.Contains(o.Content, "<strong>key</strong>") {
			t.Errorf("%+v: %s", c, b)
		}
		if c.kind == "Note" && (len(o.Tag) != 1 || o.Tag[0].Name != "@boss@a.test" || !strings.Contains(o.Content, "@boss@a.test") || got.CC == nil || o.CC == nil) {
			t.Errorf("%+v: %s", c, b)
		}
		if c.kind == "ChatMessage" && (o.MediaType != "text/html" || o.Source.Content != "Hello\n\n**key**" || o.Source.MediaType != "text/markdown") {
			t.Errorf("%+v: %s", c, b)
		}
	}
	if got := renderHTML("a <script>x</script> b"); strings.Contains(got, "<script") {
		t.Error(got)
	}
	if a := fallback(Recipient{User: "x y", Domain: fediseer.Domain("a.test"), Software: "lemmy"}); a.id != "https://a.test/u/x%20y" || a.inbox != "https://a.test/inbox" {
		t.Error(a)
	}
	if _, err := base64.StdEncoding.DecodeString(signature); err != nil {
		t.Error(err)
	}
}
