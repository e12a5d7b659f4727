// SPDX-License-Identifier: AGPL-3.0-or-later

package message

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Digest is the value of the Digest header for a body.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
}

// signedHeaders are the parts of a request that a signature covers, in this order; a request without body has no digest.
func signedHeaders(withDigest bool) []string {
	h := []string{"(request-target)", "host", "date"}
	if withDigest {
		h = append(h, "digest")
	}
	return h
}

// signingString is what is signed: a line for each part.
func signingString(req *http.Request, parts []string) string {
	lines := make([]string, len(parts))
	for i, name := range parts {
		var value string
		switch name {
		case "(request-target)":
			value = strings.ToLower(req.Method) + " " + req.URL.RequestURI()
		case "host":
			value = req.Host
			if value == "" {
				value = req.URL.Host
			}
		default:
			value = strings.Join(req.Header.Values(name), ", ")
		}
		lines[i] = name + ": " + value
	}
	return strings.Join(lines, "\n")
}

// Sign adds Date, Digest (with a body) and Signature to a request.
func Sign(req *http.Request, body []byte, keyID string, key *rsa.PrivateKey, now time.Time) error {
	req.Header.Set("Date", now.UTC().Format(http.TimeFormat))
	if body != nil {
		req.Header.Set("Digest", Digest(body))
	}
	parts := signedHeaders(body != nil)
	sum := sha256.Sum256([]byte(signingString(req, parts)))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return fmt.Errorf("sign a request: %w", err)
	}
	req.Header.Set("Signature", fmt.Sprintf(`keyId="%s",algorithm="rsa-sha256",headers="%s",signature="%s"`,
		keyID, strings.Join(parts, " "), base64.StdEncoding.EncodeToString(sig)))
	return nil
}

// maxClockSkew is how far the date of a signed request may be away.
const maxClockSkew = 12 * time.Hour

// Signature is a parsed Signature header.
type Signature struct {
	KeyID string
	parts []string
	value []byte
}

// ParseSignature reads the Signature header of a request with a body and checks what can be checked without the key:
// that the signature covers target, host, date and digest, that the date is near and that the digest fits the body.
func ParseSignature(req *http.Request, body []byte, now time.Time) (*Signature, error) {
	fields := map[string]string{}
	for rest := req.Header.Get("Signature"); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || !strings.HasPrefix(after, `"`) {
			// created, expires are numbers without quotes; nothing else is
			_, rest, _ = strings.Cut(after, ",")
			continue
		}
		value, tail, ok := strings.Cut(after[1:], `"`)
		if !ok {
			return nil, errors.New("the Signature header is broken")
		}
		fields[strings.TrimSpace(name)] = value
		rest = strings.TrimPrefix(strings.TrimSpace(tail), ",")
	}
	s := &Signature{KeyID: fields["keyId"], parts: strings.Fields(strings.ToLower(fields["headers"]))}
	for _, must := range signedHeaders(true) {
		if !slices.Contains(s.parts, must) {
			return nil, fmt.Errorf("the signature does not cover %s", must)
		}
	}
	if a := fields["algorithm"]; a != "" && a != "rsa-sha256" && a != "hs2019" {
		return nil, errors.New("the signature's algorithm is not rsa-sha256")
	}
	var err error
	if s.value, err = base64.StdEncoding.DecodeString(fields["signature"]); err != nil || s.KeyID == "" {
		return nil, errors.New("the Signature header is broken")
	}
	date, err := http.ParseTime(req.Header.Get("Date"))
	if err != nil || date.Sub(now).Abs() > maxClockSkew {
		return nil, errors.New("the Date is missing or too far away")
	}
	if subtle.ConstantTimeCompare([]byte(req.Header.Get("Digest")), []byte(Digest(body))) != 1 {
		return nil, errors.New("the Digest does not fit the body")
	}
	return s, nil
}

// Verify checks the signature itself.
func (s *Signature) Verify(req *http.Request, key *rsa.PublicKey) error {
	sum := sha256.Sum256([]byte(signingString(req, s.parts)))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], s.value) != nil {
		return errors.New("the signature does not fit the request")
	}
	return nil
}

// PublicPEM writes a public key as an actor document shows it.
func PublicPEM(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("write a public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// maxKeyBits bounds the work of a verification.
const maxKeyBits = 8192

// ParsePublicPEM reads the public key of an actor document.
func ParsePublicPEM(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(bytes.TrimSpace([]byte(text)))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("no public key")
	}
	key, ok := k.(*rsa.PublicKey)
	if !ok || key.N.BitLen() > maxKeyBits {
		return nil, errors.New("no RSA key of a usual size")
	}
	return key, nil
}

// ParsePrivatePEM reads an RSA key in PKCS #1 or #8.
func ParsePrivatePEM(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("no private key in PKCS #1 or #8")
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("no RSA key")
	}
	return key, nil
}

// NewPrivatePEM makes a key of 2048 bits, which all fediverse software accepts, and writes it in PKCS #8.
func NewPrivatePEM() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
