// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"horde/internal/store"
)

// A node that passes a call on says for whom, so that rate limits and the rules about addresses hold for the caller and not
// for the node. The leader believes it because the nodes share a secret, which is in the record and nowhere else. A seal
// holds for one call to the leader of one epoch; a call with a seal is never passed on again.

const (
	// sealHeader is "epoch address MAC".
	sealHeader = "Horde-Passed"
	// notLeading marks the answer of a node to which a call was passed in vain: it did nothing with it.
	notLeading = "Horde-Not-Leading"
)

// recordSettings is what a store must have for the nodes to find their secret.
type recordSettings interface {
	// Settings reads the settings alone. It returns nil in a new database.
	Settings(ctx context.Context) (*store.Settings, error)
}

// voucher makes and checks seals. The zero value has no secret and must be given one.
type voucher struct {
	mu  sync.Mutex // guards key
	key []byte
}

// learn makes the nodes' secret from the horde's.
func (v *voucher) learn(secret string) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("horde nodes"))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = mac.Sum(nil)
}

func (v *voucher) secret() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.key
}

// ask reads the secret from the record, unless it is known already.
func (v *voucher) ask(ctx context.Context, s recordSettings) error {
	if v.secret() != nil {
		return nil
	}
	settings, err := s.Settings(ctx)
	if err != nil {
		return fmt.Errorf("read the nodes' secret: %w", err)
	}
	if settings == nil {
		return fmt.Errorf("the record has no secret for its nodes yet")
	}
	v.learn(settings.SigningSecret)
	return nil
}

// sum is a MAC of parts none of which can hold a newline.
func (v *voucher) sum(parts ...string) (string, bool) {
	key := v.secret()
	if key == nil {
		return "", false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join(parts, "\n")))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), true
}

// seal vouches for a call of addr to the leader of an epoch. It says no when the secret is not known.
func (v *voucher) seal(epoch int64, addr netip.Addr, method, uri string) (string, bool) {
	e, a := strconv.FormatInt(epoch, 10), noAddress
	if addr.IsValid() {
		a = addr.String()
	}
	sum, ok := v.sum("call", e, a, method, uri)
	return e + " " + a + " " + sum, ok
}

// noAddress stands for a caller whose address could not be found out.
const noAddress = "-"

// open reads a seal. It says no to one that no node has made for this call.
func (v *voucher) open(text, method, uri string) (epoch int64, addr netip.Addr, ok bool) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return 0, addr, false
	}
	want, ok := v.sum("call", parts[0], parts[1], method, uri)
	if !ok || !hmac.Equal([]byte(want), []byte(parts[2])) {
		return 0, addr, false
	}
	epoch, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return 0, addr, false
	}
	addr, _ = netip.ParseAddr(parts[1]) // noAddress stays invalid
	return epoch, addr, true
}

// sealCommand vouches for a command of an administrator, its content included.
func (v *voucher) sealCommand(epoch int64, name string, body []byte) (string, bool) {
	e := strconv.FormatInt(epoch, 10)
	sum, ok := v.sum("command", e, name, fmt.Sprintf("%x", sha256.Sum256(body)))
	return e + " " + noAddress + " " + sum, ok
}

// openCommand reads the epoch of a seal of a command.
func (v *voucher) openCommand(text, name string, body []byte) (epoch int64, ok bool) {
	e, _, _ := strings.Cut(text, " ")
	epoch, err := strconv.ParseInt(e, 10, 64)
	if err != nil {
		return 0, false
	}
	want, ok := v.sealCommand(epoch, name, body)
	return epoch, ok && hmac.Equal([]byte(want), []byte(text))
}

// peerAddress is how net/http would write an address that connects.
func peerAddress(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(addr, 0).String()
}

// stripSeal takes the seal off a call, whoever put it there.
func stripSeal(r *http.Request) string {
	seal := r.Header.Get(sealHeader)
	if seal != "" {
		r.Header.Del(sealHeader)
	}
	return seal
}
