// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"horde/internal/proofofwork"
)

// registerCommand makes an account at any horde of this program, as its page does.
type registerCommand struct {
	Name string `arg:"" help:"Name of the account, 1 to 30 characters. Everybody can see it."`
	URL  string `name:"url" env:"HORDE_API_URL,AI_HORDE_URL" default:"http://127.0.0.1:7001" placeholder:"URL" help:"Address of the horde; ${default} by default."`
	JSON bool   `help:"Print the answer as JSON."`
}

const (
	// registerWithin bounds each call.
	registerWithin = 30 * time.Second
	// maxRegisterAnswer bounds an answer in bytes.
	maxRegisterAnswer = 64 << 10
)

// Run registers, and prints the key.
func (c *registerCommand) Run(ctx context.Context) error {
	var riddle struct {
		Challenge string `json:"challenge"`
		Bits      int    `json:"bits"`
	}
	if err := c.call(ctx, http.MethodGet, nil, &riddle); err != nil {
		return err
	}
	form := url.Values{"username": {c.Name}}
	if riddle.Bits > 0 {
		fmt.Fprintln(os.Stderr, "solving a riddle, which keeps robots away")
		began := time.Now()
		answer, ok := proofofwork.Solve(riddle.Challenge, riddle.Bits, func() bool {
			return ctx.Err() != nil || time.Since(began) > proofofwork.GoodFor
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok:
			return errors.New("the riddle is too hard for this machine")
		}
		form.Set("challenge", riddle.Challenge)
		form.Set("work", answer)
	}
	var made struct {
		Username string `json:"username"`
		APIKey   string `json:"api_key"`
	}
	if err := c.call(ctx, http.MethodPost, form, &made); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(made)
	}
	fmt.Printf("%s\n%s\n", made.Username, made.APIKey)
	fmt.Fprintln(os.Stderr, "This is the key of the account. It is shown this once, and cannot be recovered.")
	return nil
}

func (c *registerCommand) call(ctx context.Context, method string, form url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, registerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+"/register", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return explain(err, c.URL)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxRegisterAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		var refusal struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(text, &refusal) != nil || refusal.Message == "" {
			return fmt.Errorf("%s answers %s", c.URL, res.Status)
		}
		return errors.New(refusal.Message)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s is no horde that this program could register at", c.URL)
	}
	return nil
}
