// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"horde/internal/horde"
	"horde/internal/modelref"
	"horde/internal/store/postgres"
)

// Where several nodes share a record, a command of an administrator is carried out by the leader's engine, and by the
// program that gives it only when nobody leads: then that program leads for as long as it takes.

const (
	// commandPrefix is below what nodes talk with each other. Nothing is answered there without their seal.
	commandPrefix = "/.node/"
	// commandWithin is how long a command looks for somebody to carry it out.
	commandWithin = 20 * time.Second
	// commandPause is between two tries.
	commandPause = 300 * time.Millisecond
)

// openShared opens the record that nodes share.
func openShared(ctx context.Context, location string) (sharedRecord, error) {
	return postgres.Open(ctx, location)
}

// serveCommand carries out a command that another node, or a program with access to the record, sends to the leader.
func (m *Member) serveCommand(w http.ResponseWriter, r *http.Request, seal string) {
	name := strings.TrimPrefix(r.URL.Path, commandPrefix)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommand))
	if err != nil {
		return
	}
	epoch, ok := m.vouch.openCommand(seal, name, body)
	if !ok || r.Method != http.MethodPost {
		m.router.WriteError(w, r, &horde.Error{Status: http.StatusNotFound, Message: "The requested URL was not found on the server."})
		return
	}
	t := m.view.Load().term
	if t == nil || t.epoch != epoch || !t.answers() {
		w.Header().Set(notLeading, "1")
		m.refuse(w, r, http.StatusMisdirectedRequest)
		return
	}
	answer, err := command(r.Context(), t.node.Engine, name, body)
	answerCommand(w, answer, err)
}

// administer carries out a command that came through the socket.
func (m *Member) administer(ctx context.Context, name string, body []byte) ([]byte, error) {
	for deadline := time.Now().Add(commandWithin); ; {
		v := m.view.Load()
		switch {
		case v.term != nil && v.term.answers():
			return command(ctx, v.term.node.Engine, name, body)
		case v.address != "":
			if answer, err := m.vouch.send(ctx, v.epoch, v.address, name, body); !errors.Is(err, errNotLeading) {
				return answer, err
			}
		}
		if time.Now().After(deadline) {
			return nil, errNobodyLeads
		}
		select {
		case <-v.next:
		case <-time.After(commandPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var errNobodyLeads = errors.New("no node leads that could be reached: is the database there, and did the leader get a --node-address?")

// send lets the leader carry out a command. errNotLeading means that it has not, and that another may.
func (v *voucher) send(ctx context.Context, epoch int64, address, name string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+commandPrefix+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	seal, ok := v.sealCommand(epoch, name, body)
	if !ok {
		return nil, errNotLeading
	}
	req.Header.Set(sealHeader, seal)
	client := &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialWithin}).DialContext, DisableKeepAlives: true,
	}}
	res, err := client.Do(req)
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return nil, errNotLeading
	case err != nil:
		return nil, fmt.Errorf("it is not known whether the leader at %s has carried it out: %w", address, err)
	case res.Header.Get(notLeading) != "":
		res.Body.Close()
		return nil, errNotLeading
	}
	return answered(res)
}

// administerShared carries out a command on a record that nodes may share: on the leader or, if there is none, here.
func administerShared(ctx context.Context, cfg Config, name string, body []byte) ([]byte, error) {
	record, err := openShared(ctx, cfg.Database)
	if err != nil {
		return nil, err
	}
	answer, err := administerOn(ctx, cfg, record, name, body)
	return answer, errors.Join(err, record.Close())
}

func administerOn(ctx context.Context, cfg Config, record sharedRecord, name string, body []byte) ([]byte, error) {
	var vouch voucher
	for deadline := time.Now().Add(commandWithin); time.Now().Before(deadline); {
		leader, err := record.Leader(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case leader.Node == "" || leader.Remaining <= 0:
			began := time.Now()
			if leader, err = record.Campaign(ctx, "administration "+processName(""), "", leaseFor); err != nil {
				return nil, err
			}
			if leader.Mine {
				return leadFor(ctx, cfg, record, leader.Epoch, began, name, body)
			}
			continue
		case leader.Address != "":
			if err := vouch.ask(ctx, record); err != nil {
				break
			}
			if answer, err := vouch.send(ctx, leader.Epoch, leader.Address, name, body); !errors.Is(err, errNotLeading) {
				return answer, err
			}
		}
		select {
		case <-time.After(commandPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, errNobodyLeads
}

// leadFor carries out a command while this process leads.
func leadFor(ctx context.Context, cfg Config, record sharedRecord, epoch int64, began time.Time, name string, body []byte) (answer []byte, err error) {
	t := newTerm(epoch, began)
	var keeping sync.WaitGroup
	keeping.Go(func() { t.keep(record) })
	defer func() {
		t.end(errHandedOver)
		keeping.Wait()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
		defer cancel()
		err = errors.Join(err, record.Resign(last))
	}()
	if name == "audit" { // which needs no engine, and of a record in doubt is better off without
		return auditAnswer(ctx, termStore{record, t})
	}
	n := &Node{Config: cfg}
	n.Log = n.logger()
	err = n.openOn(ctx, termStore{record, t}, modelref.NewHolder(modelref.Sources{}, n.Log), t.holds)
	if err == nil {
		answer, err = command(ctx, n.Engine, name, body)
	}
	return answer, errors.Join(err, n.Close())
}
