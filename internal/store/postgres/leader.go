// SPDX-License-Identifier: AGPL-3.0-or-later

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"horde/internal/store"
)

// patience is how long a change of the fence waits for a commit that is being written, before it ends that commit's
// connection. Most commits take milliseconds; one that takes longer has lost its lease, or was given up by its own process.
const patience = 500 * time.Millisecond

// The statements on the row of the leader. Each is a transaction of its own, so that a client that stops between two of them
// holds no lock. Leases are in microseconds.
const (
	selectLeader = `SELECT epoch, node, address, coalesce(holder = $1, false),
		(extract(epoch FROM expires - clock_timestamp()) * 1000000)::bigint FROM leader`
	takeLeader = `UPDATE leader SET fence = fence + 1, epoch = epoch + 1, holder = $1, node = $2, address = $3,
		expires = clock_timestamp() + $4::bigint * interval '1 microsecond'
		WHERE holder IS NULL OR holder = $1 OR expires <= clock_timestamp() RETURNING epoch, fence`
	renewLeader = `UPDATE leader SET expires = clock_timestamp() + $3::bigint * interval '1 microsecond'
		WHERE holder = $1 AND epoch = $2`
	resignLeader = `UPDATE leader SET fence = fence + 1, holder = NULL, node = '', address = '', expires = 'epoch'
		WHERE holder = $1 AND epoch = $2 RETURNING epoch, fence`
	refence = `UPDATE leader SET fence = fence + 1 WHERE holder = $1 AND epoch = $2 RETURNING epoch, fence`
	// endBlockers ends the connections that a backend waits for: in any case, or if the lease has lapsed.
	endBlockers = `SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids($1)) AS pid
		WHERE $2 OR (SELECT expires <= clock_timestamp() FROM leader)`
)

// Campaign takes the leadership if it is to be had.
func (s *Store) Campaign(ctx context.Context, node, address string, lease time.Duration) (store.Leader, error) {
	leader, err := s.campaign(ctx, node, address, lease)
	if err != nil {
		return leader, fmt.Errorf("postgres: campaign: %w", err)
	}
	return leader, nil
}

func (s *Store) campaign(ctx context.Context, node, address string, lease time.Duration) (store.Leader, error) {
	if node == "" || lease <= 0 {
		return store.Leader{}, errors.New("a leader has a name and a lease")
	}
	leader, err := s.leader(ctx)
	if err != nil {
		return leader, err
	}
	if leader.Mine {
		if err := s.renew(ctx, lease); err == nil {
			leader.Remaining = lease
			return leader, nil
		} else if !errors.Is(err, store.ErrDeposed) {
			return leader, err
		}
	} else if leader.Remaining > 0 && leader.Node != "" {
		return leader, nil
	}
	won, err := s.move(ctx, false, takeLeader, s.holder, escape(node), escape(address), lease.Microseconds())
	if errors.Is(err, pgx.ErrNoRows) { // somebody was faster
		return s.leader(ctx)
	}
	if err != nil {
		return store.Leader{}, err
	}
	s.mu.Lock()
	s.mine, s.doubt = won, false
	s.mu.Unlock()
	return store.Leader{Epoch: won.epoch, Node: node, Address: address, Remaining: lease, Mine: true}, nil
}

// Renew prolongs the lease.
func (s *Store) Renew(ctx context.Context, lease time.Duration) error {
	if err := s.renew(ctx, lease); err != nil {
		return fmt.Errorf("postgres: renew: %w", err)
	}
	return nil
}

func (s *Store) renew(ctx context.Context, lease time.Duration) error {
	mine, _ := s.leading()
	if mine.epoch == 0 {
		return store.ErrDeposed
	}
	tag, err := s.lead.Exec(ctx, renewLeader, s.holder, mine.epoch, lease.Microseconds())
	if err == nil && tag.RowsAffected() == 0 {
		s.stepDown(mine)
		err = store.ErrDeposed
	}
	return err
}

// Resign waits for the commit that is being written, and gives the leadership up.
func (s *Store) Resign(ctx context.Context) error {
	mine, _ := s.leading()
	if mine.epoch == 0 {
		return nil
	}
	_, err := s.move(ctx, true, resignLeader, s.holder, mine.epoch)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("postgres: resign: %w", err)
	}
	s.stepDown(mine)
	return nil
}

// Leader tells who leads.
func (s *Store) Leader(ctx context.Context) (store.Leader, error) {
	leader, err := s.leader(ctx)
	if err != nil {
		return leader, fmt.Errorf("postgres: leader: %w", err)
	}
	return leader, nil
}

func (s *Store) leader(ctx context.Context) (l store.Leader, err error) {
	var node, address string
	var micros int64
	if err := s.lead.QueryRow(ctx, selectLeader, s.holder).Scan(&l.Epoch, &node, &address, &l.Mine, &micros); err != nil {
		return l, err
	}
	if node == "" {
		return l, nil
	}
	l.Remaining = time.Duration(micros) * time.Microsecond
	if l.Node, err = unescape(node); err == nil {
		l.Address, err = unescape(address)
	}
	return l, err
}

// leading is the term of this store, and whether a commit of it is in doubt.
func (s *Store) leading() (term, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine, s.doubt
}

// stepDown forgets a term, unless it is not the one of now.
func (s *Store) stepDown(t term) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mine.epoch == t.epoch {
		s.mine, s.doubt = term{}, false
	}
}

// settle makes sure that a commit in doubt either has taken effect or never will. The caller has the token of writing.
func (s *Store) settle(ctx context.Context) error {
	mine, doubt := s.leading()
	if !doubt {
		return nil
	}
	now, err := s.move(ctx, true, refence, s.holder, mine.epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		s.stepDown(mine)
		return store.ErrDeposed
	}
	if err != nil {
		return fmt.Errorf("a commit is in doubt: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mine.epoch == now.epoch {
		s.mine, s.doubt = now, false
	}
	return nil
}

// move changes the fence, which waits for the commit that holds it: for a while, if the lease has lapsed or force is true.
func (s *Store) move(ctx context.Context, force bool, query string, args ...any) (t term, err error) {
	conn, err := s.lead.Acquire(ctx)
	if err != nil {
		return t, err
	}
	defer conn.Release()
	var pid int32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return t, err
	}
	clearing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.clearWay(clearing, pid, force)
	}()
	err = conn.QueryRow(ctx, query, args...).Scan(&t.epoch, &t.fence)
	stop()
	<-done
	return t, err
}

// clearWay ends whoever a backend waits for, time and again until the context ends. What goes wrong is tried again.
func (s *Store) clearWay(ctx context.Context, pid int32, force bool) {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_, _ = s.lead.Exec(ctx, endBlockers, pid, force)
		case <-ctx.Done():
			return
		}
	}
}
