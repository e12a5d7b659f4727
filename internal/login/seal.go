// SPDX-License-Identifier: AGPL-3.0-or-later

package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Sealer makes cookies that nobody else can read or make. Each purpose has a key of its own: a cookie made for one is
// nothing to another.
type Sealer struct{ secret []byte }

// NewSealer makes a Sealer from a secret. All nodes of a horde have the same.
func NewSealer(secret string) *Sealer { return &Sealer{[]byte(secret)} }

// maxSealed is the longest cookie that is looked at, in bytes.
const maxSealed = 4096

var errSealed = errors.New("not sealed here")

// keySize is that of AES-256.
const keySize = 32

func (s *Sealer) key(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, s.secret, nil, "horde cookie: "+purpose, keySize)
	if err != nil {
		panic(err) // the size is a constant that fits
	}
	return key
}

func (s *Sealer) aead(purpose string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.key(purpose))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Seal writes a value as text that is good in a cookie.
func (s *Sealer) Seal(purpose string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	aead, err := s.aead(purpose)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, text, []byte(purpose))), nil
}

// Open reads what Seal wrote into v.
func (s *Sealer) Open(purpose, sealed string, v any) error {
	if len(sealed) > maxSealed {
		return errSealed
	}
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return errSealed
	}
	aead, err := s.aead(purpose)
	if err != nil {
		return err
	}
	text, err := aead.Open(nil, nil, data, []byte(purpose))
	if err != nil || json.Unmarshal(text, v) != nil {
		return errSealed
	}
	return nil
}

// equal compares secrets in constant time.
func equal(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// SessionFor is how long a session lasts at most.
const SessionFor = 12 * time.Hour

// Session is somebody who is logged in, in one browser.
type Session struct {
	// OAuthID is that of the account, which need not exist yet.
	OAuthID string `json:"o"`
	// Provider is the name of the login service; empty for those who came with their API key.
	Provider string `json:"p,omitempty"`
	// ID tells sessions apart.
	ID string `json:"i"`
	// Began is when the person logged in.
	Began time.Time `json:"t"`
	// Back is the page that the person wanted to see.
	Back string `json:"b,omitempty"`
}

const sessionPurpose = "session"

// NewSession is a session that begins now.
func NewSession(oauthID, provider, back string) Session {
	return Session{OAuthID: oauthID, Provider: provider, ID: rand.Text(), Began: time.Now().UTC(), Back: back}
}

// SealSession writes a session for a cookie.
func (s *Sealer) SealSession(v Session) (string, error) { return s.Seal(sessionPurpose, v) }

// OpenSession reads a session from a cookie. It says no to one that is over.
func (s *Sealer) OpenSession(sealed string) (Session, bool) {
	var v Session
	if err := s.Open(sessionPurpose, sealed, &v); err != nil || v.OAuthID == "" || v.ID == "" {
		return Session{}, false
	}
	if age := time.Since(v.Began); age < -time.Minute || age > SessionFor {
		return Session{}, false
	}
	return v, true
}

// FormToken is what the forms of a session carry, so that no other site can send one.
func (s *Sealer) FormToken(v Session) string {
	mac := hmac.New(sha256.New, s.key("form"))
	mac.Write([]byte(v.ID))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// FormTokenIs tells whether a form was made for a session.
func (s *Sealer) FormTokenIs(v Session, token string) bool { return equal(s.FormToken(v), token) }
