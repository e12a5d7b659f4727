// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"

	"horde/internal/node"
)

type auditCommand struct {
	recordFlags `embed:""`
}

// Run recomputes everything from the ledger's entries. It fails if anything differs.
func (c *auditCommand) Run(ctx context.Context) error {
	cfg, err := c.config(true)
	if err != nil {
		return err
	}
	report, err := node.Audit(ctx, cfg)
	if err != nil {
		return err
	}
	for _, finding := range report.Findings {
		fmt.Println(finding)
	}
	if len(report.Findings) > 0 {
		return errors.New("the ledger and the balances differ")
	}
	fmt.Printf("clean: %d events, %d accounts, %d workers, %d requests\n", report.Events, report.Accounts, report.Workers, report.Requests)
	return nil
}
