// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// transfer is a transfer that its sender has named, so that a repeated call moves nothing more. It is kept for good, as the
// ledger keeps the key of its event.
type transfer struct {
	From   horde.UserID `json:"from"`
	Key    string       `json:"key"`
	To     horde.UserID `json:"to"`
	Amount horde.Kudos  `json:"amount"`
	// Through is the shared key that the target was named by, zero for none.
	Through horde.SharedKeyID `json:"through,omitzero"`
	changed
}

// transferKey names a transfer: every source has keys of its own.
type transferKey struct {
	from horde.UserID
	key  string
}

func (t *transfer) id() string { return fmt.Sprintf("%d:%s", t.From, t.Key) }

func (s *state) addTransfer(t *transfer) { s.transfers[transferKey{t.From, t.Key}] = t }

// The pause before kudos may go back to where they came from.
const returnAfter = time.Minute

// gifts are when one user last gave kudos to another, for as long as that matters. They may be lost in a crash, which lets
// one gift be returned sooner.
type gifts map[[2]horde.UserID]time.Time

func (g gifts) add(from, to horde.UserID, now time.Time) {
	for pair, at := range g {
		if now.Sub(at) > returnAfter {
			delete(g, pair)
		}
	}
	g[[2]horde.UserID{from, to}] = now
}

// maxIdempotencyKey is how many bytes an idempotency key may have.
const maxIdempotencyKey = 255

// Transfer gives kudos of the caller to the account that target names: alias, number, or what stands behind the last "#" of
// anything, or a shared key, whose owner gets them and whose budget grows. With an idempotency key a repeated call answers as the first and moves nothing.
func (e *Engine) Transfer(ctx context.Context, key, target string, amount int64, idempotency string) (int64, error) {
	if len(idempotency) > maxIdempotencyKey {
		return 0, horde.Invalid(map[string]string{"Idempotency-Key": fmt.Sprintf("longer than %d bytes", maxIdempotencyKey)})
	}
	return e.TransferBy(ctx, Authority{Key: key}, target, amount, idempotency)
}

// TransferBy is Transfer for whoever by names.
func (e *Engine) TransferBy(ctx context.Context, by Authority, target string, amount int64, idempotency string) (int64, error) {
	return change(ctx, e, func() (int64, *batch, *horde.Error) {
		from, err := e.callerBy(by)
		if err != nil {
			return 0, nil, err
		}
		var to *user
		now := time.Now().UTC()
		through := e.sharedKeyOf(target)
		if through != nil {
			to = e.users[through.Owner]
		} else if id, ok := horde.ParseAlias(target); ok {
			to = e.users[id]
		}
		before := e.transfers[transferKey{from.ID, idempotency}] // nil without an idempotency key
		if before == nil && through != nil && through.Expired(now) && from.ID != horde.Anonymous {
			return 0, nil, horde.ErrTransferKeyExpired
		}
		if err := e.mayTransfer(from, to, amount, now); err != nil {
			return 0, nil, err
		}
		sum, eventKey := horde.Kudos(amount)*100, idempotency
		if idempotency == "" {
			eventKey = uuid.NewString()
		} else if before != nil {
			e.meters.replays.Inc()
			if before.To != to.ID || before.Amount != sum || before.Through != throughID(through) {
				return 0, nil, horde.ErrIdempotency
			}
			return amount, e.pending(&before.changed), nil
		}
		if !e.mayHold(to, sum) || through != nil && through.Budget > maxBalance-sum {
			return 0, nil, tooLarge("amount")
		}
		if available := e.available(from); available < sum {
			return 0, nil, horde.ErrTransferNotEnough.Withf("Not enough kudos: %s are available.", max(0, available))
		}
		kind := kudos.Gift
		if to.Has(horde.Education) {
			kind = kudos.Donation
		}
		e.event(e.book.Transfer(now, kind, eventKey, from.ID, to.ID, sum))
		e.gifts.add(from.ID, to.ID, now)
		if through != nil && !through.Unlimited {
			through.Budget += sum
			e.keepSharedKey(through)
		}
		if idempotency != "" {
			t := &transfer{From: from.ID, Key: idempotency, To: to.ID, Amount: sum, Through: throughID(through)}
			e.addTransfer(t)
			e.open.document(transferDocument, t.id(), t)
		}
		return amount, e.open, nil
	})
}

func throughID(k *sharedKey) horde.SharedKeyID {
	if k == nil {
		return horde.SharedKeyID{}
	}
	return k.ID
}

// maxTransfer keeps amounts in hundredths far from where integers end.
const maxTransfer = int64(maxBalance / 100)

// mayTransfer checks what does not depend on the balance, in the order of the kudos chapter, 11.
func (e *Engine) mayTransfer(from, to *user, amount int64, now time.Time) *horde.Error {
	if from.ID == horde.Anonymous {
		return horde.ErrTransferFromAnon
	}
	if to == nil || !to.WipedAt.IsZero() {
		return horde.ErrTransferTarget
	}
	for _, check := range []struct {
		fails bool
		err   *horde.Error
	}{
		{to.ID == horde.Anonymous, horde.ErrTransferToAnon},
		{to == from, horde.ErrTransferToSelf},
		{now.Sub(e.gifts[[2]horde.UserID{to.ID, from.ID}]) < returnAfter, horde.ErrTooFastTransfer},
		{from.Suspicious(), horde.ErrFaultySource},
		{from.Has(horde.Flagged), horde.ErrSourceFlagged},
		{from.Has(horde.Education), horde.ErrEducationSends},
		{to.Suspicious(), horde.ErrFaultyTarget},
		{to.Has(horde.Flagged), horde.ErrTargetFlagged},
		{to.Has(horde.Deleted) || from.Has(horde.Deleted), horde.ErrTransferDeleted},
		{amount < 0, horde.ErrTransferNegative},
		{amount == 0, horde.ErrTransferAmount},
		{amount > maxTransfer, horde.ErrTransferNotEnough},
	} {
		if check.fails {
			return check.err
		}
	}
	return nil
}

// firstAwarder may award kudos where no others are configured.
const firstAwarder horde.UserID = 1

// Award gives kudos out of nothing to the account that target names, or takes them with a negative amount. Only the
// configured accounts may.
func (e *Engine) Award(ctx context.Context, key, target string, amount int64) (int64, error) {
	return change(ctx, e, func() (int64, *batch, *horde.Error) {
		by, err := e.userOf(key)
		if err != nil {
			return 0, nil, err
		}
		awarders := e.Awarders
		if len(awarders) == 0 {
			awarders = []horde.UserID{firstAwarder}
		}
		var to *user
		if id, ok := horde.ParseAlias(target); ok {
			to = e.users[id]
		}
		switch {
		case by.Has(horde.Deleted):
			return 0, nil, horde.ErrDeletedUser
		case !slices.Contains(awarders, by.ID):
			return 0, nil, horde.ErrNotAllowedAwards
		case to == nil || !to.WipedAt.IsZero():
			return 0, nil, horde.ErrAwardTarget
		case to.ID == horde.Anonymous:
			return 0, nil, horde.ErrAwardToAnon
		case to.Has(horde.Flagged):
			return 0, nil, horde.ErrTargetFlagged
		case amount > maxTransfer || amount < -maxTransfer || !e.mayHold(to, horde.Kudos(amount)*100):
			return 0, nil, tooLarge("amount")
		}
		e.event(e.book.Grant(time.Now().UTC(), kudos.Award, "award:"+uuid.NewString(), to.ID, horde.Kudos(amount)*100))
		return amount, e.open, nil
	})
}
