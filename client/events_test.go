// SPDX-License-Identifier: AGPL-3.0-or-later

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// eventServer answers the streams of a request one after the other, and everything else that a client asks for a text.
type eventServer struct {
	streams []string // bodies; one that starts with a digit is a status, with the rest as the document
	calls   []string
}

func (s *eventServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v2")
	s.calls = append(s.calls, r.Method+" "+path)
	switch {
	case strings.HasPrefix(path, "/events/"):
		stream := s.streams[0]
		s.streams = s.streams[1:]
		if status := 0; stream != "" && stream[0] >= '0' && stream[0] <= '9' {
			fmt.Sscan(stream, &status)
			w.WriteHeader(status)
			fmt.Fprint(w, stream[3:])
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, stream)
	case r.Method == http.MethodPost:
		fmt.Fprint(w, `{"id":"x","kudos":0}`)
	default:
		fmt.Fprint(w, `{"done":true,"finished":1,"generations":[{"text":"polled"}]}`)
	}
}

const (
	aStatus = "event: status\nid: 1\ndata: {\"waiting\":1}\n\n: still here\n\n"
	theEnd  = "event: later\ndata: {}\n\nevent: done\nid: end\ndata: {\"done\":true,\"finished\":1,\"generations\":[{\"text\":\"told\"}]}\n\n"
)

func TestGenerateTextByEventsOrByPolling(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		streams []string
		text    string // empty: an error
		calls   int    // streams and polls
		took    time.Duration
	}{
		"events":                           {[]string{aStatus + theEnd}, "told", 1, 0},
		"a stream that breaks":             {[]string{aStatus, aStatus + theEnd}, "told", 2, eventPause},
		"streams that all break":           {[]string{aStatus, "", ""}, "polled", 4, 2*eventPause + textPoll},
		"a horde without events":           {[]string{`404{"message":"The requested URL was not found on the server."}`}, "polled", 2, textPoll},
		"a page in place of events":        {[]string{`200<html>`}, "polled", 2, textPoll},
		"a method that is not allowed":     {[]string{`405{"message":"no"}`}, "polled", 2, textPoll},
		"too many streams":                 {[]string{`429{"message":"no"}`, `429{"message":"no"}`, `429{"message":"no"}`}, "polled", 4, 2*eventPause + textPoll},
		"a horde that recovers":            {[]string{`503{"message":"no"}`, theEnd}, "told", 2, eventPause},
		"a request that is gone":           {[]string{"event: gone\nid: end\ndata: {\"message\":\"gone\",\"rc\":\"RequestNotFound\"}\n\n"}, "", 1, 0},
		"a request that was never there":   {[]string{`404{"message":"gone","rc":"RequestNotFound"}`}, "", 1, 0},
		"an event that cannot be read":     {[]string{"event: status\ndata: {\n\n"}, "polled", 2, textPoll},
		"line ends and fields of others":   {[]string{"retry: 5\nevent:done\ndata:{\"done\":true,\ndata:\"generations\":[{\"text\":\"told\"}]}\n\n"}, "told", 1, 0},
		"a given-up request, told as such": {[]string{"event: fault\nid: end\ndata: {\"done\":true,\"faulted\":true}\n\n"}, "", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &eventServer{streams: c.streams}
				began := time.Now()
				out, err := testClient(t, s.ServeHTTP).GenerateText(t.Context(), TextRequest{Prompt: "x"}, nil)
				text := ""
				if err == nil && len(out.Texts) == 1 {
					text = out.Texts[0].Text
				}
				if text != c.text || (err == nil) != (c.text != "") {
					t.Errorf("got %q, %v, want %q", text, err, c.text)
				}
				if len(s.calls) != 1+c.calls || time.Since(began) != c.took {
					t.Errorf("it took %v and the calls %q", time.Since(began), s.calls)
				}
			})
		})
	}
}

// silent is a connection on which nothing comes.
type silent struct{ opened int }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.opened++
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestASilentStreamIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &silent{}
		c := testClient(t, nil, WithHTTPClient(&http.Client{Transport: s, Timeout: time.Second}))
		began := time.Now()
		err := c.Follow(t.Context(), "x", func(Event) error { return nil })
		if want := eventRetries*eventSilence + (eventRetries-1)*eventPause; err == nil || s.opened != eventRetries || time.Since(began) != want {
			t.Errorf("after %d streams and %v: %v", s.opened, time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Follow(ctx, "x", func(Event) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: %v", err)
		}
	})
}

func TestAPatientPopOutlastsTheTimeoutOfItsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := WithHTTPClient(&http.Client{Timeout: 10 * time.Second, Transport: inProcess{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(60 * time.Second)
			fmt.Fprint(w, `{"id":"j","ids":["j"]}`)
		})}})
		c := testClient(t, nil, slow)
		if job, err := c.PopText(t.Context(), PopTextRequest{Wait: 60}); err != nil || !job.Found() {
			t.Errorf("a pop that waits: %+v, %v", job, err)
		}
	})
}
