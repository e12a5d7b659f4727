// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"horde/internal/horde"
)

var asyncPath = [3]string{horde.Image: "/generate/async", horde.Text: "/generate/text/async"}

// checkPath asks how a request stands, statusPath for its results. Texts have one call for both.
var (
	checkPath  = [3]string{horde.Image: "/generate/check/", horde.Text: "/generate/text/status/"}
	statusPath = [3]string{horde.Image: "/generate/status/", horde.Text: "/generate/text/status/"}
)

// againPause is before a client asks again for a result that should be there and is not.
const againPause = 20 * time.Millisecond

// virtualClient submits requests and fetches results, one at a time. It is used by one goroutine at a time.
type virtualClient struct {
	*caller
	run   *run
	key   string
	out   []byte // body of a submission, reused
	timer *time.Timer
}

func (r *run) newClient(i int, key string) *virtualClient {
	return &virtualClient{caller: newCaller(&r.Config, i), run: r, key: key}
}

// lifecycle takes a request through all of its life and counts what became of it. intended is when it was to be sent: what the
// generator itself is late counts as the server's latency, since a client would have waited for that too.
func (c *virtualClient) lifecycle(ctx context.Context, k horde.Kind, intended time.Time) {
	r := c.run
	l := r.lives.begin(k)
	c.out = r.material.submission(c.out[:0], k, r.material.usual(k), func(b []byte) []byte { return r.lives.mark(b, l.id) }, l.id)
	status, answer, err := c.api(ctx, http.MethodPost, asyncPath[k], c.key, c.out)
	now := time.Now()
	r.rec.observe(callSubmit, now.Sub(intended))
	id := ""
	if err == nil && status == http.StatusAccepted {
		id, err = c.reader.id(answer)
	}
	if id == "" {
		// It stays known: where the answer was lost, a worker may get it all the same.
		r.rec.failCall(callSubmit, status, c.reader.refusalCode(answer), err)
		c.pause(ctx, errorPause)
		return
	}
	defer r.lives.end(l)
	r.accepted.Add(1)
	r.lives.accept(l, now)
	r.wake(k)

	deadline := now.Add(c.cfg.Timeout)
	if c.cfg.CheckEvery == 0 {
		if !c.await(ctx, l, deadline) {
			r.lose("lost: nothing was delivered in time")
			return
		}
	} else {
		c.pause(ctx, c.cfg.CheckEvery)
	}
	if !c.check(ctx, k, id, deadline) {
		return
	}
	c.fetch(ctx, l, id, deadline, intended)
}

// await waits until a delivery was acknowledged.
func (c *virtualClient) await(ctx context.Context, l *life, deadline time.Time) bool {
	d := time.Until(deadline)
	if c.timer == nil {
		c.timer = time.NewTimer(d)
	} else {
		c.timer.Reset(d)
	}
	defer c.timer.Stop()
	select {
	case <-l.delivered:
		return true
	case <-c.timer.C:
	case <-ctx.Done():
	}
	return false
}

// check asks until the request is done.
func (c *virtualClient) check(ctx context.Context, k horde.Kind, id string, deadline time.Time) bool {
	for {
		s, ok := c.ask(ctx, callCheck, checkPath[k]+id)
		switch {
		case ok && s.faulted:
			c.run.lose("lost: the server calls it faulted")
			return false
		case ok && s.done:
			return true
		case time.Now().After(deadline) || ctx.Err() != nil:
			c.run.lose("lost: not done in time")
			return false
		case ok && c.cfg.CheckEvery == 0:
			c.run.rec.fail("check: not done although the delivery was acknowledged")
		}
		c.pause(ctx, max(c.cfg.CheckEvery, againPause))
	}
}

// fetch gets the result and compares it with what the worker sent.
func (c *virtualClient) fetch(ctx context.Context, l *life, id string, deadline, intended time.Time) {
	r := c.run
	for {
		s, ok := c.ask(ctx, callFetch, statusPath[l.kind]+id)
		late := time.Now().After(deadline) || ctx.Err() != nil
		switch {
		case ok && s.results > 1:
			r.lives.doubled.Add(1)
			r.rec.fail("doubled: more results than were asked for")
			return
		case ok && s.results == 0:
			r.lose("lost: done without a result")
			return
		case ok:
			result, there := c.result(ctx, l.kind, s.result)
			switch {
			case there && l.is(result):
				r.complete(l.kind, time.Since(intended))
				return
			case there:
				r.mismatched.Add(1)
				r.rec.fail("mismatched: the result is not what the worker sent")
				return
			case late:
				r.lose("lost: its image could not be downloaded")
				return
			}
		case late:
			r.lose("lost: its result could not be fetched")
			return
		}
		c.pause(ctx, errorPause)
	}
}

// result is the bytes of a result as the client gets it. It may be part of the last answer.
func (c *virtualClient) result(ctx context.Context, k horde.Kind, given []byte) (result []byte, ok bool) {
	if k == horde.Text {
		return given, true
	}
	if !bytes.HasPrefix(given, []byte("http://")) && !bytes.HasPrefix(given, []byte("https://")) {
		data, err := base64.StdEncoding.AppendDecode(nil, given)
		if err != nil {
			return given, true // which is not what the worker sent
		}
		return data, true
	}
	start := time.Now()
	status, data, err := c.link(ctx, http.MethodGet, string(given), nil)
	c.run.rec.observe(callDownload, time.Since(start))
	if err != nil || status != http.StatusOK {
		c.run.rec.failCall(callDownload, status, "", err)
		return nil, false
	}
	return data, true
}

func (c *virtualClient) ask(ctx context.Context, m measure, path string) (s standing, ok bool) {
	start := time.Now()
	status, answer, err := c.api(ctx, http.MethodGet, path, "", nil)
	c.run.rec.observe(m, time.Since(start))
	if err == nil && status == http.StatusOK {
		if s, err = c.reader.status(answer); err == nil {
			return s, true
		}
	}
	c.run.rec.failCall(m, status, c.reader.refusalCode(answer), err)
	return s, false
}

func (c *virtualClient) pause(ctx context.Context, d time.Duration) { sleep(ctx, &c.timer, d) }
