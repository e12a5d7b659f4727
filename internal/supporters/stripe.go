// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"horde/internal/horde"
)

// StripeURL is where Stripe is.
const StripeURL = "https://api.stripe.com"

// Stripe asks Stripe for subscriptions. It is safe for concurrent use.
type Stripe struct {
	service
	products Products
	log      *slog.Logger
}

// NewStripe makes the way to Stripe by a key, which need not do more than read subscriptions and products.
func NewStripe(base, key string, products Products, log *slog.Logger) (*Stripe, error) {
	s, err := newService(base, key)
	return &Stripe{s, products, log}, err
}

// Source implements [Service].
func (s *Stripe) Source() horde.SupportSource { return horde.SourceStripe }

// Every implements [Service].
func (s *Stripe) Every() time.Duration { return 30 * time.Minute }

// subscription is who pays for what.
type subscription struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	// Metadata says whose account it is. Customers cannot write it.
	Metadata map[string]string `json:"metadata"`
	Items    struct {
		Data []struct {
			Price *priced `json:"price"`
			Plan  *priced `json:"plan"` // what prices were before
		} `json:"data"`
	} `json:"items"`
}

type priced struct {
	Product product `json:"product"`
}

// product is something that is sold. Where it is only named it has no more than an ID.
type product struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// UnmarshalJSON reads a product, or the id of one.
func (p *product) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &p.ID) == nil {
		return nil
	}
	type whole product
	return json.Unmarshal(text, (*whole)(p))
}

// user is whose subscription it is.
func (s *subscription) user() (horde.UserID, bool) {
	return userID(cmp.Or(s.Metadata["horde_id"], s.Metadata["horde"]))
}

// activeSubscription is the status of what is paid for.
const activeSubscription = "active"

// Fetch asks for all subscriptions that are paid for and whose metadata says which account they are for.
func (s *Stripe) Fetch(ctx context.Context) ([]horde.Supporter, error) {
	paid, err := pages(ctx, &s.service, "/v1/subscriptions", url.Values{"status": {activeSubscription}}, func(v *subscription) string { return v.ID })
	if err != nil {
		return nil, err
	}
	list, names := []horde.Supporter{}, map[string]string{}
	for _, sub := range paid {
		id, ok := sub.user()
		if !ok || sub.Status != activeSubscription {
			continue
		}
		if len(names) == 0 {
			if names, err = s.names(ctx); err != nil {
				return nil, err
			}
		}
		one := horde.Supporter{User: id}
		for _, item := range sub.Items.Data {
			of := cmp.Or(item.Price, item.Plan)
			if of == nil {
				continue
			}
			name := cmp.Or(of.Product.Name, names[of.Product.ID])
			kudos, known := s.products[name]
			if !known {
				s.log.Warn("no line of --stripe-kudos says what a subscriber gets", "user", id, "product", name)
			}
			one.Kudos += kudos
		}
		list = append(list, one)
	}
	return sorted(list), nil
}

// names are those of all products, by their ids.
func (s *Stripe) names(ctx context.Context) (map[string]string, error) {
	all, err := pages(ctx, &s.service, "/v1/products", url.Values{}, func(p *product) string { return p.ID })
	names := make(map[string]string, len(all))
	for _, p := range all {
		names[p.ID] = p.Name
	}
	return names, err
}

// pages asks for all pages of a list. A page begins behind the last of the one before.
func pages[T any](ctx context.Context, s *service, path string, query url.Values, id func(*T) string) ([]T, error) {
	query.Set("limit", strconv.Itoa(pageSize))
	var all []T
	for range maxPages {
		var page struct {
			Data []T  `json:"data"`
			More bool `json:"has_more"`
		}
		if err := s.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if !page.More {
			return all, nil
		}
		if len(page.Data) == 0 {
			return nil, errPages
		}
		query.Set("starting_after", id(&page.Data[len(page.Data)-1]))
	}
	return nil, errPages
}
