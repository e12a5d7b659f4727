// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"fmt"
	"net/url"

	"horde/internal/fetch"
	"horde/internal/ipcheck"
	"horde/internal/moderation"
	"horde/internal/webhook"
)

// alerts tell moderators of things through the webhooks of a chat service. They wait in a queue of their own: neither jobs nor
// the webhooks of clients wait for them.
type alerts struct {
	sender          *webhook.Sender
	paused, problem string
}

// maxAlert is how many characters a chat service takes.
const maxAlert = 2000

func newAlerts(paused, problem string) (*alerts, error) {
	var bases []*url.URL
	for _, text := range []string{paused, problem} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("the URL of a chat webhook begins with https://") // it is a secret, so it is not repeated
		}
		bases = append(bases, u)
	}
	allow, ports := fetch.Exempt(bases...)
	cfg := webhook.FetchConfig(allow)
	cfg.Ports = ports
	return &alerts{webhook.New(fetch.New(cfg)), paused, problem}, nil
}

// alert is a message of a chat service. It mentions nobody, whatever is in the text.
type alert struct {
	Content  string        `json:"content"`
	Mentions alertMentions `json:"allowed_mentions"`
}

type alertMentions struct {
	Parse []string `json:"parse"`
}

// send queues an alert. One that cannot be is dropped, and counted by the sender.
func (a *alerts) send(what moderation.Alert) {
	to := a.paused
	if what.Problem {
		to = a.problem
	}
	if to == "" {
		return
	}
	text := []rune(what.Text)
	a.sender.Send(to, alert{string(text[:min(len(text), maxAlert)]), alertMentions{[]string{}}})
}

// safety makes the checker of addresses; nil where none is configured.
func (n *Node) safety() (moderation.Checker, error) {
	c := n.IPCheck
	if c.URL == "" && len(c.Deny) == 0 {
		return nil, nil
	}
	c.Log = n.logger()
	return ipcheck.New(c)
}
