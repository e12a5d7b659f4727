// SPDX-License-Identifier: AGPL-3.0-or-later

// Package web holds the pages that people look at.
package web

import (
	"horde/internal/fediseer/api"
	"horde/internal/fediseer/observer"
	"horde/internal/fediseer/trust"
)

// Config says how the pages present the service.
type Config struct {
	Version, BaseURL string
	// ProxyAccount is the page of the account that messages through Mastodon come from; empty for none.
	ProxyAccount string
}

// Register adds the pages.
func Register(a *api.API, cfg Config, svc *trust.Service, nodes *observer.Source) {}
