// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"horde/internal/horde"
)

// Payments are an outbox. What a rater is to get becomes a row of payments in the same transaction in which it stops being due, and
// rows are handed to the horde one after the other, in the order of their numbers. The horde keeps, together with the kudos that it
// moves, the number of the last one it made for this service, so a row that is handed over again, after a crash or an answer that
// was lost, moves nothing. Nothing is lost either: a row stays until the horde has taken it.

// reversedFor is for how long rewards can be taken back (ratings chapter, 9).
const reversedFor = 7 * 24 * time.Hour

// payment is a row that was not made yet. The amount is in whole kudos; a negative one takes back.
type payment struct{ no, user, amount int64 }

// service names this database among those that the horde pays for. It is called with the lock.
func (s *Service) service(now time.Time) (string, error) {
	key, err := s.secret("payments", 0, now)
	return seal(key, "service")[:32], err
}

// Settle makes rewards that waited long enough due, and pays what is due: one payment for each rater.
func (s *Service) Settle(ctx context.Context, now time.Time) error {
	s.paying.Lock()
	defer s.paying.Unlock()
	var service string
	err := s.change(func() (err error) {
		service, err = s.service(now)
		return err
	})
	if err != nil {
		return err
	}
	last, err := s.Paid(ctx, service)
	if err != nil {
		return fmt.Errorf("ask for the last payment: %w", err)
	}
	var list []payment
	err = s.change(func() (err error) {
		list, err = s.due(last, now)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := s.Pay(ctx, service, p.no, horde.UserID(p.user), horde.Kudos(p.amount)*100); err != nil {
			return fmt.Errorf("payment %d to user %d: %w", p.no, p.user, err) // those behind wait
		}
		if err := s.change(func() error { return s.do("update payments set done = 1 where id = ?", nil, p.no) }); err != nil {
			return err
		}
	}
	return nil
}

// due makes payments of all that is due, and lists those that are to be made. last is the number of the last that was made: a
// database that was put back from a copy has payments which were made since, and must not use their numbers again.
func (s *Service) due(last int64, now time.Time) (list []payment, err error) {
	if err := s.do("update payments set done = 1 where done = 0 and id <= ?", nil, last); err != nil {
		return nil, err
	}
	if err := s.do(`update ratings set reward_state = 'due' where reward_state = 'pending' and created <= ?`, nil, now.Add(-pendingFor).Unix()); err != nil {
		return nil, err
	}
	var sums []payment
	if err := s.do(`select user_id, sum(amount) from (select user_id, reward amount from ratings where reward_state = 'due'
			union all select user_id, owed from raters where owed > 0) group by user_id`, func(r *sqlite.Stmt) {
		sums = append(sums, payment{user: r.ColumnInt64(0), amount: r.ColumnInt64(1)})
	}); err != nil {
		return nil, err
	}
	for _, p := range sums {
		if err := s.addPayment(last, p.user, p.amount, now); err != nil {
			return nil, err
		}
	}
	for _, query := range []string{`update raters set owed = 0 where owed > 0`, `update ratings set reward_state = 'paid' where reward_state = 'due'`} {
		if err := s.do(query, nil); err != nil {
			return nil, err
		}
	}
	err = s.do("select id, user_id, amount from payments where done = 0 order by id", func(r *sqlite.Stmt) {
		list = append(list, payment{r.ColumnInt64(0), r.ColumnInt64(1), r.ColumnInt64(2)})
	})
	return list, err
}

// addPayment writes down a payment with a number above all that there were, here or at the horde.
func (s *Service) addPayment(last, user, amount int64, now time.Time) error {
	return s.do(`insert into payments (id, user_id, amount, created) values (max(?, coalesce((select seq from sqlite_sequence where name = 'payments'), 0)) + 1, ?, ?, ?)`,
		nil, last, user, amount, now.Unix())
}

// takeBack reverses what a user was paid within a week, for a moderator. It returns the kudos that will be taken.
func (s *Service) takeBack(id horde.UserID, last int64, now time.Time) (int64, error) {
	const paid = "user_id = ? and amount > 0 and reversed = 0 and created > ?"
	since := now.Add(-reversedFor).Unix()
	sum, err := s.number("select coalesce(sum(amount), 0) from payments where "+paid, int(id), since)
	if err != nil || sum == 0 {
		return 0, err
	}
	if err := s.do("update payments set reversed = 1 where "+paid, nil, int(id), since); err != nil {
		return 0, err
	}
	return sum, s.addPayment(last, int64(id), -sum, now)
}
