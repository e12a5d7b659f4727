// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
)

type blocksInput struct {
	api.Key
	Callers *bool `query:"callers" published:"-" doc:"Also list single addresses that are in timeout."`
}

type addressInput struct {
	api.Key
	Address string `path:"ipaddr"`
}

type blockInput struct {
	api.Key
	Body blockBody
}

type blockBody struct {
	Address *string `json:"ipaddr" required:"true" minLength:"2" maxLength:"43" published:"minLength=7,maxLength=40" doc:"An address or a network, IPv4 or IPv6."`
	Hours   *int    `json:"hours" required:"true" minimum:"1" maximum:"720"`
}

type unblockInput struct {
	api.Key
	Body unblockBody
}

type unblockBody struct {
	Address *string `json:"ipaddr" required:"true" minLength:"2" maxLength:"43" published:"minLength=7,maxLength=40" doc:"An address or a network, IPv4 or IPv6."`
}

type blockWorkerInput struct {
	api.Key
	ID   string `path:"worker_id"`
	Body blockWorkerBody
}

type blockWorkerBody struct {
	Days *int `json:"days" required:"true" minimum:"1" maximum:"30"`
}

type unblockWorkerInput struct {
	api.Key
	ID string `path:"worker_id"`
}

func (a *API) operations(r *api.Router) {
	refuses := []int{400, 401, 403}
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/operations/ipaddr", Limits: api.DefaultLimits, ID: "get_operations_ip",
		Summary: "Networks that are blocked, for moderators.", Refuses: refuses,
	}, a.listBlocks)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/operations/ipaddr", Limits: api.DefaultLimits, ID: "post_operations_ip",
		Summary: "Block an address or a network, for moderators.", Example: `{"ipaddr":"203.0.113.0/24","hours":24}`, Refuses: refuses,
	}, a.block)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/operations/ipaddr", Limits: api.DefaultLimits, ID: "delete_operations_ip",
		Summary: "Unblock an address or a network, for moderators.", Example: `{"ipaddr":"203.0.113.0/24"}`, Refuses: refuses,
	}, a.unblock)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/operations/ipaddr/{ipaddr}", Limits: api.DefaultLimits, ID: "get_operations_ip_single",
		Summary: "What holds for an address or a network, for moderators.", Refuses: refuses,
	}, a.addressTimeouts)
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/operations/block_worker_ipaddr/{worker_id}", Limits: api.DefaultLimits,
		ID: "put_operations_block_worker_ip", Summary: "Block the address of a worker, for moderators.", Example: `{"days":7}`,
		Refuses: refuses, Also: []int{404},
	}, a.blockWorker)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/operations/block_worker_ipaddr/{worker_id}", Limits: api.DefaultLimits,
		ID: "delete_operations_block_worker_ip", Summary: "Unblock the address of a worker, for moderators.", Refuses: refuses, Also: []int{404},
	}, a.unblockWorker)
}

type ipTimeout struct {
	Address string `json:"ipaddr" required:"true" minLength:"2" maxLength:"43" published:"minLength=7,maxLength=40"`
	Seconds int    `json:"seconds" required:"true"`
}

func ipTimeouts(list []engine.AddressTimeout, err error) (int, []ipTimeout, error) {
	if err != nil {
		return 0, nil, err
	}
	out := make([]ipTimeout, len(list))
	for i, t := range list {
		out[i] = ipTimeout{t.Name, t.Seconds}
	}
	return http.StatusOK, out, nil
}

func (a *API) listBlocks(ctx context.Context, c *api.Call[blocksInput]) (int, []ipTimeout, error) {
	return ipTimeouts(a.engine.BlockedNetworks(ctx, c.In.APIKey, c.In.Callers != nil && *c.In.Callers))
}

func (a *API) addressTimeouts(ctx context.Context, c *api.Call[addressInput]) (int, []ipTimeout, error) {
	return ipTimeouts(a.engine.AddressTimeouts(ctx, c.In.APIKey, c.In.Address))
}

func (a *API) block(ctx context.Context, c *api.Call[blockInput]) (int, *done, error) {
	err := a.engine.BlockAddress(ctx, c.In.APIKey, *c.In.Body.Address, time.Duration(*c.In.Body.Hours)*time.Hour)
	return http.StatusOK, &done{"OK"}, err
}

func (a *API) unblock(ctx context.Context, c *api.Call[unblockInput]) (int, *done, error) {
	return http.StatusOK, &done{"OK"}, a.engine.UnblockAddress(ctx, c.In.APIKey, *c.In.Body.Address)
}

func (a *API) blockWorker(ctx context.Context, c *api.Call[blockWorkerInput]) (int, *done, error) {
	err := a.engine.BlockWorkerAddress(ctx, c.In.APIKey, c.In.ID, time.Duration(*c.In.Body.Days)*24*time.Hour)
	return http.StatusOK, &done{"OK"}, err
}

func (a *API) unblockWorker(ctx context.Context, c *api.Call[unblockWorkerInput]) (int, *done, error) {
	return http.StatusOK, &done{"OK"}, a.engine.UnblockWorkerAddress(ctx, c.In.APIKey, c.In.ID)
}
