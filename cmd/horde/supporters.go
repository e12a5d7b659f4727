// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"log/slog"

	"horde/internal/supporters"
)

// supporterFlags are about people who support the horde with money, and get kudos for it.
type supporterFlags struct {
	PatreonToken    string   `env:"HORDE_PATREON_TOKEN,PATREON_CREATOR_ACCESS_TOKEN" placeholder:"TOKEN" help:"Creator's access token at Patreon: active members of the campaign whose note says which account is theirs get kudos each month. HORDE_PATREON_TOKEN_FILE names a file that holds it."`
	PatreonCampaign string   `env:"HORDE_PATREON_CAMPAIGN" placeholder:"ID" help:"The campaign at Patreon."`
	PatreonURL      string   `name:"patreon-url" env:"HORDE_PATREON_URL" default:"${patreon}" placeholder:"URL" help:"Where Patreon is."`
	PatreonKudos    []string `env:"HORDE_PATREON_KUDOS" default:"${amounts}" placeholder:"UNITS=KUDOS" help:"What patrons get a month, by what they give, in whole units of currency: 10=150000, 102..108=150000 or, for each unit, 0..9=10000x. The first that fits counts, and who fits none gets nothing."`
	StripeKey       string   `env:"HORDE_STRIPE_KEY,STRIPE_API_KEY" placeholder:"KEY" help:"Key at Stripe that may read subscriptions and products: active subscriptions whose metadata (horde_id or horde) says for which account they are bring kudos each month. HORDE_STRIPE_KEY_FILE names a file that holds it."`
	StripeURL       string   `name:"stripe-url" env:"HORDE_STRIPE_URL" default:"${stripe}" placeholder:"URL" help:"Where Stripe is."`
	StripeKudos     []string `env:"HORDE_STRIPE_KUDOS" default:"${products}" sep:"|" placeholder:"PRODUCT=KUDOS" help:"What subscribers get a month, by the name of the product, with | between them."`
}

// services are those that are asked who supports the horde.
func (f *supporterFlags) services(log *slog.Logger) (list []supporters.Service, err error) {
	amounts, err := supporters.ParseAmounts(f.PatreonKudos)
	if err != nil {
		return nil, fmt.Errorf("--patreon-kudos: %w", err)
	}
	products, err := supporters.ParseProducts(f.StripeKudos)
	if err != nil {
		return nil, fmt.Errorf("--stripe-kudos: %w", err)
	}
	token, err := secret(f.PatreonToken, "HORDE_PATREON_TOKEN")
	if err != nil {
		return nil, err
	}
	key, err := secret(f.StripeKey, "HORDE_STRIPE_KEY")
	if err != nil {
		return nil, err
	}
	if token != "" {
		if f.PatreonCampaign == "" {
			return nil, errors.New("--patreon-token needs --patreon-campaign")
		}
		p, err := supporters.NewPatreon(f.PatreonURL, token, f.PatreonCampaign, amounts, log)
		if err != nil {
			return nil, fmt.Errorf("--patreon-url: %w", err)
		}
		list = append(list, p)
	}
	if key != "" {
		s, err := supporters.NewStripe(f.StripeURL, key, products, log)
		if err != nil {
			return nil, fmt.Errorf("--stripe-url: %w", err)
		}
		list = append(list, s)
	}
	return list, nil
}
