// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/node"
)

// userCommand administers accounts, whether a server runs on the data directory or not.
type userCommand struct {
	Create userCreate `cmd:"" help:"Create an account and print its key."`
	List   userList   `cmd:"" help:"List all accounts."`
	Show   userShow   `cmd:"" help:"Show one account."`
	Set    userSet    `cmd:"" help:"Change an account."`
	Pay    userPay    `cmd:"" help:"Give an account its monthly kudos out of turn."`
}

type userFlags struct {
	recordFlags `embed:""`
	JSON        bool `name:"json" help:"Print everything as JSON."`
}

func (f *userFlags) do(ctx context.Context, command string, in, out any) error {
	cfg, err := f.config(command != "create") // which may come before the first start of a server
	if err != nil {
		return err
	}
	return node.Administer(ctx, cfg, command, in, out)
}

type userCreate struct {
	userFlags   `embed:""`
	Name        string   `required:"" help:"Name, 1 to 30 characters. It need not be unique: accounts are known as name#number."`
	Kudos       float64  `placeholder:"N" help:"Kudos to start with. An account never has less than its floor of 25 once it has any."`
	Concurrency int      `placeholder:"N" help:"Results that may wait at a time; 30 by default."`
	Role        []string `help:"Roles: moderator, trusted, flagged, customizer, vpn, special, service, education."`
}

// Run creates the account. The key goes to standard output alone, so that a script can take it.
func (c *userCreate) Run(ctx context.Context) error {
	roles, err := parseRoles(c.Role)
	if err != nil {
		return err
	}
	if c.Concurrency < 0 {
		return errors.New("--concurrency must not be negative")
	}
	var a node.Account
	// An account that the operator makes counts as registered: it has no login, but somebody vouches for it.
	if err := c.do(ctx, "create", engine.NewUser{
		Name: c.Name, OAuthID: engine.OperatorLogin(), Kudos: horde.NewKudos(c.Kudos), Concurrency: c.Concurrency, Roles: roles,
	}, &a); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(accountOf(a))
	}
	fmt.Fprintf(os.Stderr, "%s; the key is shown once:\n", a.User.Alias())
	fmt.Println(a.Key)
	return nil
}

func parseRoles(names []string) (roles horde.Roles, err error) {
	for _, name := range names {
		r, ok := horde.ParseRole(strings.TrimSpace(name))
		if !ok {
			return 0, fmt.Errorf("there is no role %q", name)
		}
		roles |= r
	}
	return roles, nil
}

type userList struct {
	userFlags `embed:""`
}

// Run lists all accounts.
func (c *userList) Run(ctx context.Context) error {
	var views []engine.UserView
	if err := c.do(ctx, "list", nil, &views); err != nil {
		return err
	}
	accounts := make([]account, len(views))
	for i, v := range views {
		accounts[i] = accountOf(node.Account{UserView: v})
	}
	if c.JSON {
		return printJSON(accounts)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tKUDOS\tWORKERS\tROLES")
	for _, a := range accounts {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\n", a.ID, a.Name, horde.NewKudos(a.Kudos), a.Workers, strings.Join(a.Roles, ","))
	}
	return w.Flush()
}

type userShow struct {
	userFlags `embed:""`
	User      string `arg:"" help:"Id or alias of the account."`
}

// Run shows one account.
func (c *userShow) Run(ctx context.Context) error {
	id, ok := horde.ParseAlias(c.User)
	if !ok {
		return fmt.Errorf("%q is no id or alias", c.User)
	}
	var a node.Account
	if err := c.do(ctx, "show", id, &a); err != nil {
		return err
	}
	return c.print(a)
}

type userSet struct {
	userFlags   `embed:""`
	User        string   `arg:"" help:"Id or alias of the account."`
	Name        *string  `help:"Another name."`
	Kudos       *float64 `placeholder:"N" help:"Kudos to add; a negative number takes some away. What is behind the point is left out."`
	Monthly     *int64   `placeholder:"N" help:"Kudos a month to add, of which the first are given at once; a negative number takes some away."`
	Concurrency *int     `placeholder:"N" help:"Results that may wait at a time."`
	Role        []string `help:"Roles to give."`
	NoRole      []string `help:"Roles to take away."`
	NewKey      bool     `help:"Make another API key and print it; the old one is dead at once."`
}

// Run changes an account.
func (c *userSet) Run(ctx context.Context) error {
	id, ok := horde.ParseAlias(c.User)
	if !ok {
		return fmt.Errorf("%q is no id or alias", c.User)
	}
	change := horde.UserChange{Username: c.Name, Kudos: c.Kudos, MonthlyKudos: c.Monthly, Concurrency: c.Concurrency}
	for on, names := range map[bool][]string{true: c.Role, false: c.NoRole} {
		roles, err := parseRoles(names)
		if err != nil {
			return err
		}
		for role, field := range map[horde.Roles]**bool{
			horde.Moderator: &change.Moderator, horde.Trusted: &change.Trusted, horde.Flagged: &change.Flagged,
			horde.Customizer: &change.Customizer, horde.VPN: &change.VPN, horde.Special: &change.Special,
			horde.Service: &change.Service, horde.Education: &change.Education,
		} {
			if roles&role != 0 {
				value := on
				*field = &value
			}
		}
	}
	if change == (horde.UserChange{}) && !c.NewKey {
		return errors.New("nothing to change was given")
	}
	var a node.Account
	if err := c.do(ctx, "set", node.Setting{User: id, Change: change, NewKey: c.NewKey}, &a); err != nil {
		return err
	}
	if c.NewKey && !c.JSON {
		fmt.Println(a.Key)
		return nil
	}
	return c.print(a)
}

type userPay struct {
	userFlags `embed:""`
	User      string `arg:"" help:"Id or alias of the account."`
	KeepDate  bool   `help:"Give them on top of those that come by the clock, which come as if nothing had happened; else in place of the next ones."`
}

// Run pays the account.
func (c *userPay) Run(ctx context.Context) error {
	id, ok := horde.ParseAlias(c.User)
	if !ok {
		return fmt.Errorf("%q is no id or alias", c.User)
	}
	var a node.Account
	if err := c.do(ctx, "pay", node.Payment{User: id, KeepDate: c.KeepDate}, &a); err != nil {
		return err
	}
	return c.print(a)
}

// account is a user as it is printed.
type account struct {
	ID          horde.UserID `json:"id"`
	Alias       string       `json:"alias"`
	Name        string       `json:"name"`
	Key         string       `json:"key,omitempty"`
	Kudos       float64      `json:"kudos"`
	Escrow      float64      `json:"escrow"`
	Monthly     float64      `json:"monthly_kudos"`
	Concurrency int          `json:"concurrency"`
	Roles       []string     `json:"roles"`
	Workers     int          `json:"workers"`
	Created     string       `json:"created"`
	LastActive  string       `json:"last_active"`
}

func accountOf(a node.Account) account {
	const layout = "2006-01-02T15:04:05Z"
	return account{
		ID: a.User.ID, Alias: a.User.Alias(), Name: a.User.Name, Key: a.Key, Kudos: a.Balance.Spendable.Float(),
		Escrow: a.Balance.Escrow.Float(), Monthly: a.Monthly.Float(), Concurrency: a.User.Concurrency, Roles: a.User.Roles.Names(), Workers: a.WorkerCount,
		Created: a.User.Created.UTC().Format(layout), LastActive: a.User.LastActive.UTC().Format(layout),
	}
}

func (f *userFlags) print(full node.Account) error {
	a := accountOf(full)
	if f.JSON {
		return printJSON(a)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	for _, row := range [][2]string{
		{"alias", a.Alias}, {"kudos", horde.NewKudos(a.Kudos).String()}, {"escrow", horde.NewKudos(a.Escrow).String()},
		{"monthly", horde.NewKudos(a.Monthly).String()},
		{"concurrency", fmt.Sprint(a.Concurrency)}, {"roles", strings.Join(a.Roles, ", ")}, {"workers", fmt.Sprint(a.Workers)},
		{"created", a.Created}, {"last active", a.LastActive},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	return w.Flush()
}

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
