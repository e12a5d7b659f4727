// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrNoEvents says that the server has no events for requests. The AI Horde has none: ask for the status now and then.
var ErrNoEvents = errors.New("the server has no events for requests")

const (
	// eventSilence is how long a stream of events may say nothing before it counts as dead. Servers say something every 15
	// seconds.
	eventSilence = time.Minute
	// eventRetries is how many streams in a row may break before their first event.
	eventRetries = 3
	// eventPause is the time before a broken stream is opened again.
	eventPause = time.Second
)

// Event is one thing that happened to a request.
type Event struct {
	// Name is "status" for a change, "done" or "fault" for the end, and "gone" when the server has forgotten the request.
	Name string
	// Status is how the request stands; zero with "gone".
	Status Status
	// Data is the JSON that Status was read from. With "done" and "fault" it has the results too: Image and Text read them.
	Data []byte
}

// Image reads the status of an image request with the finished images, which a "done" or "fault" event has.
func (e Event) Image() (ImageStatus, error) {
	var s ImageStatus
	err := Decode(e.Data, &s)
	return s, err
}

// Text is Image for a text request.
func (e Event) Text() (TextStatus, error) {
	var s TextStatus
	err := Decode(e.Data, &s)
	return s, err
}

// Follow calls f with how a request of any kind stands, now and after each change, until it is done, given up or gone, which is
// the last event. A connection that breaks is made anew; the first event on it is how the request stands then. The error
// is ErrNoEvents when the server has none, f's if f returns one, a 404 *Error when there is no such request, or what else keeps
// the stream from coming about several times in a row.
func (c *Client) Follow(ctx context.Context, id string, f func(Event) error) error {
	failures := 0
	for {
		began, ended, err := c.followOnce(ctx, id, f)
		switch {
		case ended:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if failures++; began {
			failures = 1
		}
		if failures >= eventRetries {
			return err
		}
		if err := sleep(ctx, eventPause); err != nil {
			return err
		}
	}
}

// followOnce reads one stream. began tells whether it had an event, ended whether it is of no use to try again.
func (c *Client) followOnce(ctx context.Context, id string, f func(Event) error) (began, ended bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(eventSilence, func() { cancel(errors.New("the stream of events fell silent")) })
	defer watchdog.Stop()

	req, err := c.request(ctx, call{method: http.MethodGet, path: "/events/" + url.PathEscape(id)}, nil)
	if err != nil {
		return false, true, err
	}
	req.Header.Set("Accept", "text/event-stream")
	endless := *c.http
	endless.Timeout = 0 // of a whole answer; the watchdog stands in for it
	resp, err := endless.Do(req)
	if err != nil {
		return false, false, broken(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := readBounded(resp.Body, maxAnswer)
		refusal := errorFrom(resp, data)
		switch {
		case refusal.RC != "":
			return false, refusal.Status < http.StatusInternalServerError && refusal.Status != http.StatusTooManyRequests, refusal
		case refusal.Status == http.StatusTooManyRequests || refusal.Status >= http.StatusInternalServerError:
			return false, false, refusal
		}
		return false, true, ErrNoEvents
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return false, true, ErrNoEvents
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 4<<10), maxAnswer)
	var event Event
	for lines.Scan() {
		watchdog.Reset(eventSilence)
		line := lines.Bytes()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case string(name) == "event":
			event.Name = string(value)
		case string(name) == "data":
			event.Data = append(event.Data, value...)
		case len(line) == 0 && event.Name != "":
			last, err := c.deliver(event, f)
			if last || err != nil {
				return true, true, err
			}
			began, event = true, Event{}
		}
	}
	if err := lines.Err(); err != nil {
		return began, false, broken(ctx, err)
	}
	return began, false, errors.New("the stream of events ended early")
}

// broken says why a stream broke: err, or why it was cut off.
func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// deliver hands an event on and tells whether it is the last one.
func (c *Client) deliver(e Event, f func(Event) error) (last bool, err error) {
	switch e.Name {
	case "gone":
		if err := f(e); err != nil {
			return true, err
		}
		return true, errorFrom(&http.Response{StatusCode: http.StatusNotFound}, e.Data)
	case "status", "done", "fault":
		if err := Decode(e.Data, &e.Status); err != nil {
			return true, fmt.Errorf("an event: %w", err)
		}
		return e.Name != "status", f(e)
	}
	return false, nil // of a later version
}

// await waits until a request is done, by events where the server has them and else by asking. final has the last event, with
// the results; without events it is nil.
func (c *Client) await(ctx context.Context, id string, pause time.Duration, progress func(Status), status func() (Status, error)) (last Status, final *Event, err error) {
	err = c.Follow(ctx, id, func(e Event) error {
		if e.Name == "gone" {
			return nil
		}
		last = e.Status
		if progress != nil {
			progress(e.Status)
		}
		if e.Name != "status" {
			final = &e
		}
		return nil
	})
	var refusal *Error
	if final != nil || ctx.Err() != nil || errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		return last, final, err
	}
	last, err = poll(ctx, pause, progress, status)
	return last, nil, err
}
