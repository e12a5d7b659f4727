// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PathPrefix is the path below which a Disk serves its objects. The letters "https" are in it because some workers and
// clients take a string for a URL only if it contains them, and a horde may well be served over plain HTTP.
const PathPrefix = "/blobs/https/"

// Parameters of a signed URL.
const (
	paramExpires   = "expires"   // Unix time, seconds
	paramSignature = "signature" // see signer.sum
)

// minSecret is the shortest secret that New accepts, in bytes.
const minSecret = 16

type baseKey struct{}

// WithBase returns a context in which a Disk signs URLs on base ("http://192.168.1.5:7001", without the path) instead
// of its configured one. A server that has no public name answers each caller with URLs on the address that the caller
// reached it by.
func WithBase(ctx context.Context, base string) context.Context {
	return context.WithValue(ctx, baseKey{}, strings.TrimSuffix(base, "/"))
}

// signer makes and checks URLs. A signature covers the method, the key and the expiry, and nothing that a program on the
// way may choose: no header, no host.
type signer struct {
	secret []byte
	base   string // without trailing slash
}

func newSigner(secret []byte, base string) (signer, error) {
	if len(secret) < minSecret {
		return signer{}, errors.New("blob: the secret for signatures is too short")
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return signer{}, errors.New("blob: the public base is not a plain http or https URL")
	}
	return signer{secret: append([]byte(nil), secret...), base: strings.TrimSuffix(base, "/")}, nil
}

// url signs method on key until expires.
func (s signer) url(ctx context.Context, method string, key Key, ttl time.Duration) (string, error) {
	if !key.Valid() {
		return "", ErrKey
	}
	base := s.base
	if b, ok := ctx.Value(baseKey{}).(string); ok {
		base = b
	}
	expires := strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)
	return base + PathPrefix + string(key) + "?" + paramExpires + "=" + expires +
		"&" + paramSignature + "=" + s.sum(method, key, expires), nil
}

// check tells whether query permits method on key now.
func (s signer) check(method string, key Key, query url.Values) bool {
	expires := query.Get(paramExpires)
	if !hmac.Equal([]byte(s.sum(method, key, expires)), []byte(query.Get(paramSignature))) {
		return false
	}
	at, err := strconv.ParseInt(expires, 10, 64)
	return err == nil && time.Now().Unix() < at
}

// sum is the signature: HMAC-SHA256, base64 for URLs.
func (s signer) sum(method string, key Key, expires string) string {
	mac := hmac.New(sha256.New, s.secret)
	// None of the parts can contain a newline: keys and methods are ours, and an expiry with one fits no signature that
	// was ever given out.
	mac.Write([]byte("horde object\n" + method + "\n" + string(key) + "\n" + expires))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// permitted tells whether r carries the signature it needs. HEAD is permitted to those who may GET, and to those who
// may PUT, who use it to see whether an upload arrived.
func (s signer) permitted(r *http.Request, key Key) bool {
	query := r.URL.Query()
	switch r.Method {
	case http.MethodGet, http.MethodPut:
		return s.check(r.Method, key, query)
	case http.MethodHead:
		return s.check(http.MethodGet, key, query) || s.check(http.MethodPut, key, query)
	}
	return false
}
