// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// User is an account. What is filled depends on who asks: the owner and moderators see more.
type User struct {
	ID       int    `json:"id"`
	Username string `json:"username"`
	// Kudos is the balance.
	Kudos          float64            `json:"kudos"`
	KudosDetails   map[string]float64 `json:"kudos_details"`
	EvaluatingHeld float64            `json:"evaluating_kudos"`
	// Concurrency is the number of generations that may wait at once.
	Concurrency  int      `json:"concurrency"`
	Trusted      bool     `json:"trusted"`
	Moderator    bool     `json:"moderator"`
	Flagged      bool     `json:"flagged"`
	VPN          bool     `json:"vpn"`
	Service      bool     `json:"service"`
	Education    bool     `json:"education"`
	Customizer   bool     `json:"customizer"`
	Special      bool     `json:"special"`
	Deleted      bool     `json:"deleted"`
	Pseudonymous bool     `json:"pseudonymous"`
	WorkerCount  int      `json:"worker_count"`
	WorkerIDs    []string `json:"worker_ids"`
	SharedKeyIDs []string `json:"sharedkey_ids"`
	// AccountAge is in seconds.
	AccountAge int    `json:"account_age"`
	Contact    string `json:"contact"`
}

// Worker is a worker as the horde describes it.
type Worker struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Online bool   `json:"online"`
	// Type is "image", "text" or "interrogation".
	Type            string             `json:"type"`
	BridgeAgent     string             `json:"bridge_agent"`
	Owner           string             `json:"owner"`
	Info            string             `json:"info"`
	Contact         string             `json:"contact"`
	MaintenanceMode bool               `json:"maintenance_mode"`
	Paused          bool               `json:"paused"`
	Trusted         bool               `json:"trusted"`
	Flagged         bool               `json:"flagged"`
	NSFW            bool               `json:"nsfw"`
	Models          []string           `json:"models"`
	Forms           []string           `json:"forms"`
	Threads         int                `json:"threads"`
	KudosRewards    float64            `json:"kudos_rewards"`
	KudosDetails    map[string]float64 `json:"kudos_details"`
	// Performance is text for people, for example "0.7 megapixelsteps per second".
	Performance       string  `json:"performance"`
	RequestsFulfilled int     `json:"requests_fulfilled"`
	UncompletedJobs   int     `json:"uncompleted_jobs"`
	Megapixelsteps    float64 `json:"megapixelsteps_generated"`
	Tokens            float64 `json:"tokens_generated"`
	// Uptime is in seconds.
	Uptime           int  `json:"uptime"`
	MaxPixels        int  `json:"max_pixels"`
	MaxLength        int  `json:"max_length"`
	MaxContextLength int  `json:"max_context_length"`
	Img2Img          bool `json:"img2img"`
	Painting         bool `json:"painting"`
	PostProcessing   bool `json:"post-processing"`
	Controlnet       bool `json:"controlnet"`
	Lora             bool `json:"lora"`
	Team             Team `json:"team"`
}

// Team names the team of a worker; both are empty without one.
type Team struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// WorkerChange changes what a worker's owner may change. Nil leaves a member as it is.
type WorkerChange struct {
	Maintenance    *bool   `json:"maintenance,omitempty"`
	MaintenanceMsg *string `json:"maintenance_msg,omitempty"`
	Info           *string `json:"info,omitempty"`
	Name           *string `json:"name,omitempty"`
	// Team is a team id; "None" leaves the team.
	Team *string `json:"team,omitempty"`
	// Paused is for moderators.
	Paused *bool `json:"paused,omitempty"`
}

// FindUser returns the account that the client's key belongs to.
func (c *Client) FindUser(ctx context.Context) (User, error) {
	var out User
	err := c.get(ctx, "/find_user", nil, &out)
	return out, err
}

// Users returns one page of accounts, the first page being 1. sort is "kudos", "age" or empty.
func (c *Client) Users(ctx context.Context, page int, sort string) ([]User, error) {
	q := url.Values{}
	if page > 0 {
		q.Set("page", strconv.Itoa(page))
	}
	if sort != "" {
		q.Set("sort", sort)
	}
	var out []User
	err := c.get(ctx, "/users", q, &out)
	return out, err
}

// User returns the account with a numeric id.
func (c *Client) User(ctx context.Context, id int) (User, error) {
	var out User
	err := c.get(ctx, "/users/"+strconv.Itoa(id), nil, &out)
	return out, err
}

// Workers lists the workers that are online, of one type ("image", "text", "interrogation") or, with "", of all.
func (c *Client) Workers(ctx context.Context, kind string) ([]Worker, error) {
	q := url.Values{}
	if kind != "" {
		q.Set("type", kind)
	}
	var out []Worker
	err := c.get(ctx, "/workers", q, &out)
	return out, err
}

// Worker returns the worker with an id.
func (c *Client) Worker(ctx context.Context, id string) (Worker, error) {
	var out Worker
	err := c.get(ctx, "/workers/"+url.PathEscape(id), nil, &out)
	return out, err
}

// WorkerByName returns the worker with a name.
func (c *Client) WorkerByName(ctx context.Context, name string) (Worker, error) {
	var out Worker
	err := c.get(ctx, "/workers/name/"+url.PathEscape(name), nil, &out)
	return out, err
}

// ChangeWorker changes one of the caller's workers.
func (c *Client) ChangeWorker(ctx context.Context, id string, change WorkerChange) error {
	return c.do(ctx, call{method: http.MethodPut, path: "/workers/" + url.PathEscape(id), body: change, repeatable: true}, nil)
}

// DeleteWorker removes one of the caller's workers.
func (c *Client) DeleteWorker(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/workers/" + url.PathEscape(id), repeatable: true}, nil)
}

func (c *Client) get(ctx context.Context, path string, q url.Values, out any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path, query: q, repeatable: true}, out)
}
