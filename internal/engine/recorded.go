// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"

	"horde/internal/horde"
)

// Recorded is the order of a request for who has made it, to be read back: what was sent is in [horde.Order.RecordedImage] or
// [horde.Order.RecordedText]. Only the very key that it was made with opens it: one shared key reads what it has sent, and
// neither the account's own nor another one does. What everybody may use opens nothing.
func (e *Engine) Recorded(ctx context.Context, key string, kind horde.Kind, text string) (*horde.Order, error) {
	id, _ := horde.ParseRequestID(text)
	var packed horde.PackedOrder
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		if key == horde.AnonymousKey {
			return struct{}{}, nil, horde.ErrAnonForbidden
		}
		// A key that was replaced opens nothing any more, not even what it has sent.
		if _, err := e.accountOf(key); err != nil {
			return struct{}{}, nil, err
		}
		mark := e.markOf(key)
		r := e.requests[id]
		switch {
		case r == nil || r.Order.Kind() != kind:
			return struct{}{}, nil, horde.ErrRequestNotFound
		case r.order().KeyMark != mark:
			return struct{}{}, nil, horde.ErrNotOwner.Withf("Only the key that made a request reads it back.")
		}
		packed = r.Order
		return struct{}{}, e.pending(&r.changed), nil
	})
	if err != nil {
		return nil, err
	}
	return packed.Unpack()
}
