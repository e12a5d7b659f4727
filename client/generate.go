// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrFaulted is returned when the server gives a request up because workers failed it too often. Results that were
// finished before are returned with it.
var ErrFaulted = errors.New("the horde gave the request up")

const (
	// Polling starts quick, for jobs that are done at once, and slows down to what servers allow for good: sixty text
	// status calls a minute, ten checks a second.
	firstPoll = 500 * time.Millisecond
	maxPoll   = 5 * time.Second
	textPoll  = 1200 * time.Millisecond
	// cancelTimeout bounds the call that withdraws a request whose context has ended.
	cancelTimeout = 5 * time.Second
)

// GeneratedImages is a finished image request.
type GeneratedImages struct {
	ID string
	// Status is the last one seen, with the price.
	Status Status
	Images []GeneratedImage
	// Warnings came with the acceptance of the request.
	Warnings []Warning
}

// GeneratedImage is one image with its bytes.
type GeneratedImage struct {
	ImageGeneration
	// Data is the image file, mostly WebP.
	Data []byte
}

// GeneratedText is a finished text request.
type GeneratedText struct {
	ID     string
	Status Status
	Texts  []TextGeneration
}

// GenerateImage submits a request, waits until it is done and downloads the images. Where the server tells of changes by
// itself (see Follow) it listens, else it asks again and again. progress (nil: none) is called with each status. When ctx ends first, the request is cancelled on the server and the context's error returned, with
// the images that were finished. ErrFaulted is returned with whatever was finished before.
func (c *Client) GenerateImage(ctx context.Context, r ImageRequest, progress func(Status)) (GeneratedImages, error) {
	sub, err := c.SubmitImage(ctx, r)
	if err != nil {
		return GeneratedImages{}, err
	}
	out := GeneratedImages{ID: sub.ID, Warnings: sub.Warnings}
	if r.DryRun {
		out.Status.Kudos = sub.Kudos
		return out, nil
	}
	last, final, err := c.await(ctx, sub.ID, firstPoll, progress, func() (Status, error) { return c.Check(ctx, sub.ID) })
	out.Status = last
	if err != nil {
		if ctx.Err() != nil {
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
			defer cancel()
			if st, cerr := c.CancelImage(bye, sub.ID); cerr == nil {
				out.Status = st.Status
				out.Images, _ = c.fetchAll(bye, st.Generations)
			}
		}
		return out, err
	}
	var st ImageStatus
	if final != nil {
		st, err = final.Image()
	} else {
		st, err = c.ImageStatus(ctx, sub.ID)
	}
	if err != nil {
		return out, err
	}
	out.Status = st.Status
	if out.Images, err = c.fetchAll(ctx, st.Generations); err != nil {
		return out, err
	}
	return out, faulted(st.Status)
}

func (c *Client) fetchAll(ctx context.Context, gens []ImageGeneration) ([]GeneratedImage, error) {
	images := make([]GeneratedImage, 0, len(gens))
	for _, g := range gens {
		data, err := c.FetchImage(ctx, g)
		if err != nil {
			return images, err
		}
		images = append(images, GeneratedImage{ImageGeneration: g, Data: data})
	}
	return images, nil
}

// GenerateText submits a request and waits until it is done, as GenerateImage does.
func (c *Client) GenerateText(ctx context.Context, r TextRequest, progress func(Status)) (GeneratedText, error) {
	sub, err := c.SubmitText(ctx, r)
	if err != nil {
		return GeneratedText{}, err
	}
	out := GeneratedText{ID: sub.ID}
	if r.DryRun {
		out.Status.Kudos = sub.Kudos
		return out, nil
	}
	last, final, err := c.await(ctx, sub.ID, textPoll, progress, func() (Status, error) {
		st, err := c.TextStatus(ctx, sub.ID)
		if err == nil {
			out.Texts = st.Generations
		}
		return st.Status, err
	})
	out.Status = last
	if final != nil {
		var st TextStatus
		st, err = final.Text()
		out.Texts = st.Generations
	}
	if err != nil {
		if ctx.Err() != nil {
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
			defer cancel()
			if st, cerr := c.CancelText(bye, sub.ID); cerr == nil {
				out.Status, out.Texts = st.Status, st.Generations
			}
		}
		return out, err
	}
	return out, faulted(last)
}

func faulted(s Status) error {
	if s.Faulted {
		return fmt.Errorf("%w: %d of %d generations failed", ErrFaulted, s.Restarted, s.Restarted+s.Finished)
	}
	return nil
}

// poll calls status until the request is done or faulted. A failed poll is not the end of the request: only a refusal
// that will not change (4xx) and ten failures in a row are.
func poll(ctx context.Context, pause time.Duration, progress func(Status), status func() (Status, error)) (Status, error) {
	var last Status
	failures := 0
	for {
		if err := sleep(ctx, pause); err != nil {
			return last, err
		}
		pause = min(pause+pause/10, maxPoll)
		s, err := status()
		if err != nil {
			failures++
			var e *Error
			if errors.As(err, &e) && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests {
				return last, err
			}
			if failures >= 10 || ctx.Err() != nil {
				return last, err
			}
			continue
		}
		failures, last = 0, s
		if progress != nil {
			progress(s)
		}
		if s.Done || s.Faulted {
			return last, nil
		}
	}
}
