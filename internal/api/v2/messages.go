// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type messagesInput struct {
	api.Key
	Author   string `query:"user_id" doc:"Only messages of this account, and those to all workers."`
	Worker   string `query:"worker_id" doc:"Only messages to this worker."`
	Validity string `query:"validity" default:"active" doc:"Which of them: active, expired or all."`
	Page     *int   `query:"page" default:"1" doc:"Pages have 50 messages and are counted from 1."`
}

type messageSendInput struct {
	api.Key
	Body horde.MessageDraft
}

type messageInput struct {
	ID string `path:"message_id"`
}

type messageDeleteInput struct {
	api.Key
	ID string `path:"message_id"`
}

func (a *API) messages(r *api.Router) {
	refuses := []int{401, 403, 404}
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/workers/messages", Limits: LimitsCommunity, ID: "get_worker_messages",
		Summary:     "Messages to workers.",
		Description: "What you have written, and what all workers are told. Moderators see everything.",
		Links:       []api.Link{{To: "get_single_worker_message", Argument: "message_id", Member: "0/id"}},
		Refuses:     refuses, Also: []int{400},
	}, a.listMessages)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/workers/messages", Limits: LimitsCommunity, ID: "post_worker_messages",
		Summary: "Tell a worker of yours something.",
		Description: "Each pop of the worker carries the message until it expires, after expiry hours. Moderators may write to any worker or, without " +
			"worker_id, to all, and say in origin who says so.",
		Example: `{"worker_id":"00000000-0000-4000-8000-000000000000","message":"Please update to the newest release.","expiry":24}`,
		Links: []api.Link{
			{To: "get_single_worker_message", Argument: "message_id", Member: "id"}, {To: "delete_single_worker_message", Argument: "message_id", Member: "id"},
		},
		Refuses: refuses, Also: []int{400},
	}, a.sendMessage)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/workers/messages/{message_id}", Limits: LimitsCommunity, ID: "get_single_worker_message",
		Summary: "One message.", Also: []int{404},
	}, a.message)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/workers/messages/{message_id}", Limits: LimitsCommunity, ID: "delete_single_worker_message",
		Summary: "Take back a message of yours.", Also: []int{401, 403, 404},
	}, a.deleteMessage)
}

// workerMessage is a message as the details of its worker show it.
type workerMessage struct {
	WorkerID string `json:"worker_id,omitempty" minLength:"36" maxLength:"36"`
	UserID   string `json:"user_id" published:"-"`
	Message  string `json:"message" required:"true" minLength:"1" maxLength:"10240"`
	Origin   string `json:"origin,omitempty" minLength:"1" maxLength:"255"`
	Created  string `json:"created" published:"-"`
	Expiry   string `json:"expiry,omitempty" published:"type=integer,minimum=1,maximum=720,default=12"`
}

// fullMessage is a message with its id.
type fullMessage struct {
	ID       string `json:"id" published:"-"`
	WorkerID string `json:"worker_id,omitempty" minLength:"36" maxLength:"36"`
	UserID   string `json:"user_id" published:"-"`
	Message  string `json:"message" required:"true" minLength:"1" maxLength:"10240"`
	Origin   string `json:"origin,omitempty" minLength:"1" maxLength:"255"`
	Created  string `json:"created" published:"-"`
	Expiry   string `json:"expiry,omitempty" published:"type=integer,minimum=1,maximum=720,default=12"`
}

// popMessage is a message as pops carry it.
type popMessage struct {
	ID      string `json:"id" required:"true"`
	Message string `json:"message" required:"true"`
	Origin  string `json:"origin,omitempty"`
	Expiry  string `json:"expiry" required:"true" published:"format=date-time"`
}

func detailedMessage(m *horde.Message) workerMessage {
	out := workerMessage{UserID: m.Author.String(), Message: m.Text, Origin: m.Origin, Created: date(m.Created), Expiry: date(m.Expires)}
	if !m.ToAll() {
		out.WorkerID = m.Worker.String()
	}
	return out
}

func wholeMessage(m *horde.Message) *fullMessage {
	d := detailedMessage(m)
	return &fullMessage{m.ID.String(), d.WorkerID, d.UserID, d.Message, d.Origin, d.Created, d.Expiry}
}

func popMessages(list []*horde.Message) []popMessage {
	out := make([]popMessage, len(list))
	for i, m := range list {
		out[i] = popMessage{ID: m.ID.String(), Message: m.Text, Origin: m.Origin, Expiry: date(m.Expires)}
	}
	return out
}

func (a *API) listMessages(ctx context.Context, c *api.Call[messagesInput]) (int, []fullMessage, error) {
	f := engine.MessageFilter{Author: c.In.Author, Worker: c.In.Worker, Validity: horde.Validity(c.In.Validity), Page: 1}
	if f.Validity == "" {
		f.Validity = horde.ActiveMessages
	}
	if c.In.Page != nil {
		f.Page = *c.In.Page
	}
	list, err := a.engine.Messages(ctx, c.In.APIKey, f)
	if err != nil {
		return 0, nil, err
	}
	out := make([]fullMessage, len(list))
	for i := range list {
		out[i] = *wholeMessage(&list[i])
	}
	return http.StatusOK, out, nil
}

func (a *API) sendMessage(ctx context.Context, c *api.Call[messageSendInput]) (int, *fullMessage, error) {
	if c.In.Body.Text == nil {
		return 0, nil, missing("message")
	}
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	m, err := a.engine.SendMessage(ctx, c.In.APIKey, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, wholeMessage(&m), nil
}

// message needs no key: whoever knows the id has been told.
func (a *API) message(ctx context.Context, c *api.Call[messageInput]) (int, *fullMessage, error) {
	m, err := a.engine.Message(ctx, c.In.ID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, wholeMessage(&m), nil
}

func (a *API) deleteMessage(ctx context.Context, c *api.Call[messageDeleteInput]) (int, *done, error) {
	err := a.engine.DeleteMessage(ctx, c.In.APIKey, c.In.ID)
	return http.StatusOK, &done{"OK"}, err
}
