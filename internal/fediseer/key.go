// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// DefaultSalt is the published salt of old installations. A service refuses to start with it unless told otherwise.
const DefaultSalt = "s0m3s3cr3t"

// keyBytes makes a key of 22 characters in base64url without padding.
const keyBytes = 16

// NewKey returns a fresh API key from the system's random source.
func NewKey() string {
	b := make([]byte, keyBytes)
	rand.Read(b) // never fails: it crashes the program instead
	return base64.RawURLEncoding.EncodeToString(b)
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
