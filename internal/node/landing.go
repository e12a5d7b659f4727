// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"fmt"
	"html"

	"horde/internal/bulletin"
	"horde/internal/engine"
	"horde/internal/horde"
)

// Landing is the operator's front page as a fragment of HTML, for somebody who reaches the horde at base and sees the picture at
// logo. Only the node that runs the engine can make it.
func (n *Node) Landing(ctx context.Context, base, logo string) (string, error) {
	figures, err := n.Engine.Figures(ctx)
	if err != nil {
		return "", err
	}
	modes, err := n.Engine.Modes(ctx, "")
	if err != nil {
		return "", err
	}
	v := bulletin.Values{
		"horde_img_url": logo, "maintenance_mode": "off",
		"horde_image": fmt.Sprintf(`<img src="%s" alt="%s">`, html.EscapeString(logo), html.EscapeString(n.Title)),
	}
	if modes.Maintenance {
		v["maintenance_mode"] = "on"
	}
	now := map[horde.Kind]engine.Performance{}
	for _, k := range horde.Generated {
		if now[k], err = n.Engine.Performance(ctx, k); err != nil {
			return "", err
		}
	}
	if now[horde.Alchemy], err = n.Engine.AlchemyPerformance(ctx); err != nil {
		return "", err
	}
	const pixelsteps, tokens = "pixelsteps", "tokens"
	image, text, forms := figures[horde.Image], figures[horde.Text], figures[horde.Alchemy]
	v.Things("avg_performance", "avg_thing_name", image.Performance, pixelsteps)
	v.Things("avg_text_performance", "avg_text_thing_name", text.Performance, tokens)
	v.Things("total_image_things", "total_total_image_things_name", image.Things, pixelsteps)
	v.Things("total_text_things", "total_text_things_name", text.Things, tokens)
	v.Things("queued_image_things", "queued_image_things_name", now[horde.Image].QueuedThings*horde.Image.ThingsDivisor(), pixelsteps)
	v.Things("queued_text_things", "queued_text_things_name", now[horde.Text].QueuedThings*horde.Text.ThingsDivisor(), tokens)
	v.Count("total_image_fulfillments", float64(image.Fulfilments))
	v.Count("total_text_fulfillments", float64(text.Fulfilments))
	v.Count("total_forms", float64(forms.Fulfilments))
	for k, name := range map[horde.Kind]string{horde.Image: "image", horde.Text: "text", horde.Alchemy: "interrogation"} {
		v[name+"_workers"], v[name+"_worker_threads"] = fmt.Sprint(now[k].Workers), fmt.Sprint(now[k].Threads)
	}
	for k, name := range map[horde.Kind]string{horde.Image: "image", horde.Text: "text", horde.Alchemy: "forms"} {
		v["total_"+name+"_queue"] = fmt.Sprint(now[k].Queued)
	}
	return n.Board.Landing(base, v)
}
