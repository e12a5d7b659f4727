// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
	"horde/internal/store/sqlite"
)

// AuditReport is what an audit of the ledger found.
type AuditReport struct {
	// Findings are differences in words; none is a clean audit.
	Findings []string
	// What was looked at.
	Events, Accounts, Workers, Requests int
}

// Audit recomputes every balance from the ledger and compares it with the record, whether a node runs or not: a node that
// runs audits itself, between two batches.
func Audit(ctx context.Context, cfg Config) (AuditReport, error) {
	var report AuditReport
	answer, err := ask(ctx, filepath.Join(cfg.Data, adminSocket), "audit", nil)
	if err == nil {
		return report, json.Unmarshal(answer, &report)
	}
	if !errors.Is(err, errNoNode) {
		return report, err
	}
	if cfg.Database != "" {
		if answer, err = administerShared(ctx, cfg, "audit", nil); err != nil {
			return report, err
		}
		return report, json.Unmarshal(answer, &report)
	}
	db, err := sqlite.Open(ctx, filepath.Join(cfg.Data, RecordFile))
	if err != nil {
		return report, err
	}
	report, err = audit(ctx, db)
	return report, errors.Join(err, db.Close())
}

// auditRunning audits the record of a running engine while nothing is being written to it, and then asks the engine whether its
// memory agrees with itself and with the record.
func auditRunning(ctx context.Context, e *engine.Engine) (report AuditReport, err error) {
	e.Quiesce(func() { report, err = audit(ctx, e.Store) })
	if err != nil {
		return report, err
	}
	found, err := e.Verify(ctx)
	report.Findings = append(report.Findings, found...)
	return report, err
}

// auditAnswer audits a record and encodes what was found.
func auditAnswer(ctx context.Context, db store.Store) ([]byte, error) {
	report, err := audit(ctx, db)
	if err != nil {
		return nil, err
	}
	return json.Marshal(report)
}

func audit(ctx context.Context, db store.Store) (AuditReport, error) {
	state, err := db.Load(ctx)
	if err != nil {
		return AuditReport{}, err
	}
	a := kudos.NewAudit()
	for event, err := range db.Events(ctx, 1) {
		if err != nil {
			return AuditReport{}, err
		}
		a.Event(event)
	}
	users := make(map[horde.UserID]*horde.User, len(state.Users))
	for _, u := range state.Users {
		users[u.ID] = u
	}
	forms, err := engine.StoredForms(state.Documents)
	if err != nil {
		return AuditReport{}, err
	}
	return AuditReport{
		Findings: a.Findings(kudos.Stored{
			Users: users, Balances: state.Balances, Earnings: state.Earnings, System: state.System, Requests: state.Requests,
			Jobs: state.Jobs, Forms: forms, Last: state.LastEvent,
		}),
		Events: int(state.LastEvent), Accounts: len(state.Users), Workers: len(state.Workers), Requests: len(state.Requests),
	}, nil
}
