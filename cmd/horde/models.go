// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"

	"horde/internal/modelref"
)

type modelsCommand struct {
	Table string `arg:"" type:"existingfile" placeholder:"FILE" help:"The table: columns name, parameters_bn and, if you like, display_name, url, baseline, description, style, tags, instruct_format and settings."`
}

// Run prints the list that the table makes.
func (c *modelsCommand) Run() error {
	table, err := os.ReadFile(c.Table)
	if err != nil {
		return err
	}
	list, err := modelref.TextList(table)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Table, err)
	}
	fmt.Println(string(list))
	return nil
}
