// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// DefaultSalt is the published salt of old installations. A service refuses to start with it unless told otherwise.
const DefaultSalt = "s0m3s3cr3t"

// keyBytes makes a key of 22 characters in base64url without padding.
const keyBytes = 16

// NewKey returns a fresh API key from the system's random source. It has at most one underscore: keys are sent in messages
// that are Markdown, where a pair of them may be taken for emphasis and vanish. That costs less than a tenth of a bit.
func NewKey() string {
	b := make([]byte, keyBytes)
	for {
		rand.Read(b) // never fails: it crashes the program instead
		if key := base64.RawURLEncoding.EncodeToString(b); strings.Count(key, "_") < 2 {
			return key
		}
	}
}

// HashKey is the form in which a key is stored and looked up: lower case hex SHA-256 of salt and key.
func HashKey(salt, key string) string {
	sum := sha256.Sum256([]byte(salt + key))
	return hex.EncodeToString(sum[:])
}

// MinProofSecret is the least length of the secret of a claim by proof, in characters.
const MinProofSecret = 20

// ProofValue is what the holder of a secret publishes below a domain to show that the domain is theirs. The secret stays
// with them, so that reading the published value is of no use to anybody else; the admin's name is part of it, so that it
// serves one claim only.
func ProofValue(d Domain, admin, secret string) string {
	sum := sha256.Sum256([]byte("fediseer-proof\x00" + string(d) + "\x00" + admin + "\x00" + secret))
	return "fediseer-proof=" + base64.RawURLEncoding.EncodeToString(sum[:])
}
