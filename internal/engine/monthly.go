// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// monthlyEvery is how often it is looked who has monthly kudos coming. Each time an account gets those of one month at most, so
// that one which was not looked at for some months gets them hour by hour.
const monthlyEvery = time.Hour

// entitlement is what an account gets each month.
func (e *Engine) entitlement(u *user) horde.Kudos {
	sum := u.MonthlyKudos + e.support[u.ID].kudos
	if u.Has(horde.Moderator) {
		sum += horde.ModeratorMonthlyKudos
	}
	return sum
}

// monthlyDue tells whether an account that gets monthly kudos has some coming.
func (u *user) monthlyDue(now time.Time) bool {
	return u.MonthlyReceived.IsZero() || now.After(horde.MonthAfter(u.MonthlyReceived))
}

// payMonthly gives everybody the kudos of a month that has come. What was paid, and that it was, are in one batch.
func (e *Engine) payMonthly(now time.Time) {
	var due []*user
	for _, u := range e.users {
		if e.entitlement(u) > 0 && u.WipedAt.IsZero() && u.ID != horde.Anonymous && u.monthlyDue(now) {
			due = append(due, u)
		}
	}
	// In their order, so that the same happens in the same way each time.
	slices.SortFunc(due, func(a, b *user) int { return cmp.Compare(a.ID, b.ID) })
	for _, u := range due {
		switch amount := e.entitlement(u); {
		case !e.mayHold(u, amount):
			e.Log.Warn("an account has so much that it gets no monthly kudos", "user", u.ID)
		default:
			e.payMonth(u, now, amount)
		}
	}
}

// payMonth gives an account the kudos of its next month, whether that has come or not.
func (e *Engine) payMonth(u *user, now time.Time, amount horde.Kudos) {
	start := now
	if !u.MonthlyReceived.IsZero() {
		start = horde.MonthAfter(u.MonthlyReceived)
	}
	u.MonthlyReceived = start
	e.event(e.book.Grant(now, kudos.Monthly, fmt.Sprintf("user:%d:monthly:%s", u.ID, start.UTC().Format(time.RFC3339)), u.ID, amount))
	e.open.user(u)
}

// resumeMonthly is called before an account gets monthly kudos that got none: the months in between are not paid later.
// paid tells that the first month is paid by the caller.
func (e *Engine) resumeMonthly(u *user, now time.Time, paid bool) {
	switch idle := e.entitlement(u) == 0 && u.monthlyDue(now); {
	case idle && paid:
		u.MonthlyReceived = now
	case idle:
		u.MonthlyReceived = time.Time{}
	}
}

// PayMonthly is for the operator: it gives an account its monthly kudos out of turn. With keepDate they come on top of those
// that come by the clock, else in place of the next.
func (e *Engine) PayMonthly(ctx context.Context, id horde.UserID, keepDate bool) (horde.Kudos, error) {
	return change(ctx, e, func() (horde.Kudos, *batch, *horde.Error) {
		u := e.alive(id)
		if u == nil {
			return 0, nil, horde.ErrUserNotFound
		}
		now, amount := time.Now().UTC(), e.entitlement(u)
		switch {
		case amount <= 0 || u.ID == horde.Anonymous:
			return 0, nil, horde.ErrNoMonthlyKudos
		case !e.mayHold(u, amount):
			return 0, nil, tooLarge("monthly_kudos")
		case keepDate:
			e.event(e.book.Grant(now, kudos.Monthly, fmt.Sprintf("user:%d:monthly:extra:%s", u.ID, uuid.NewString()), u.ID, amount))
			e.open.user(u)
		default:
			e.payMonth(u, now, amount)
		}
		return amount, e.open, nil
	})
}
