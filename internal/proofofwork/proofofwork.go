// SPDX-License-Identifier: AGPL-3.0-or-later

// Package proofofwork makes riddles that cost a computer some seconds to solve and nothing to check. They stand where other
// sites ask a third party whether a visitor is human: a person waits a moment, and somebody who wants ten thousand accounts
// pays for each.
//
// A riddle is a text that the server has signed. Its solution is a number n for which SHA-256 of the riddle, ":" and n in
// decimal begins with as many zero bits as asked. Each riddle is good once, for a while, and for whoever it was made for.
package proofofwork

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/bits"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// GoodFor is how long a riddle can be used: enough for a slow phone and a name to be thought of.
	GoodFor = 15 * time.Minute
	// MaxBits is the hardest riddle: about an hour of a fast computer.
	MaxBits = 32
	// maxUsed bounds the memory of used riddles. Each was solved, which is what bounds them in practice.
	maxUsed = 1 << 18
	// maxRiddle and maxAnswer bound what is looked at, in bytes.
	maxRiddle, maxAnswer = 256, 20
	nonceSize            = 12
	macSize              = 16
)

// Why a solution is not taken.
var (
	// ErrStale means that the riddle is too old, was used before, was made by another process, or for somebody else. A new
	// one helps.
	ErrStale = errors.New("the riddle is no longer good")
	// ErrWrong means that the number does not solve the riddle.
	ErrWrong = errors.New("that does not solve the riddle")
)

// Riddler makes riddles and checks their solutions. Its key is its own and dies with it: after a restart none of the riddles
// from before is good, so none can be used twice. All methods may be called from any goroutine.
type Riddler struct {
	key  []byte
	bits int
	now  func() time.Time

	mu   sync.Mutex
	used map[string]int64 // guarded by mu: used riddles, until when they would be good, in seconds since 1970
}

// New returns a Riddler of a difficulty in bits, each of which doubles the work; 0 to MaxBits.
func New(difficulty int) *Riddler {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &Riddler{key: key, bits: min(max(difficulty, 0), MaxBits), now: time.Now, used: map[string]int64{}}
}

// Bits is how many zero bits a solution has to give.
func (r *Riddler) Bits() int { return r.bits }

// Make makes a riddle for somebody, who is named by a text such as an address.
func (r *Riddler) Make(whom string) string {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	body := strconv.FormatInt(r.now().Add(GoodFor).Unix(), 36) + "." + strconv.Itoa(r.bits) + "." + base64.RawURLEncoding.EncodeToString(nonce[:])
	return body + "." + r.sign(body, whom)
}

func (r *Riddler) sign(body, whom string) string {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(body + "\n" + whom))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:macSize])
}

// Check takes a solution, once. The error is ErrStale or ErrWrong.
func (r *Riddler) Check(riddle, answer, whom string) error {
	if len(riddle) > maxRiddle || len(answer) > maxAnswer {
		return ErrWrong
	}
	cut := strings.LastIndexByte(riddle, '.')
	if cut < 0 || !hmac.Equal([]byte(riddle[cut+1:]), []byte(r.sign(riddle[:cut], whom))) {
		return ErrStale
	}
	until, err := strconv.ParseInt(riddle[:strings.IndexByte(riddle, '.')], 36, 64)
	now := r.now().Unix()
	if err != nil || now >= until {
		return ErrStale
	}
	if !Solves(riddle, answer, r.bits) {
		return ErrWrong
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, used := r.used[riddle]; used {
		return ErrStale
	}
	if len(r.used) >= maxUsed {
		for k, t := range r.used {
			if now >= t {
				delete(r.used, k)
			}
		}
		if len(r.used) >= maxUsed {
			return ErrStale
		}
	}
	r.used[riddle] = until
	return nil
}

// Solves tells whether a number, in decimal, solves a riddle.
func Solves(riddle, answer string, difficulty int) bool {
	if answer == "" {
		return false
	}
	for _, c := range []byte(answer) {
		if c < '0' || c > '9' {
			return false
		}
	}
	sum := sha256.Sum256([]byte(riddle + ":" + answer))
	return zeros(sum[:]) >= difficulty
}

// zeros counts the zero bits at the start.
func zeros(sum []byte) int {
	n := 0
	for _, b := range sum {
		if b != 0 {
			return n + bits.LeadingZeros8(b)
		}
		n += 8
	}
	return n
}

// Solve finds a solution, unless stop says true before: it is asked every few thousand tries, and may be nil.
func Solve(riddle string, difficulty int, stop func() bool) (answer string, ok bool) {
	const look = 1 << 14
	text := []byte(riddle + ":")
	for n := uint64(0); ; n++ {
		sum := sha256.Sum256(strconv.AppendUint(text, n, 10))
		if zeros(sum[:]) >= difficulty {
			return strconv.FormatUint(n, 10), true
		}
		if n%look == look-1 && stop != nil && stop() {
			return "", false
		}
	}
}
