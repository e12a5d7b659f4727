// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"horde/internal/api"
)

// Requests that no HTTP library would send, as bytes on a connection.
func TestBytesThatAreNoRequest(t *testing.T) {
	t.Parallel()
	s := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- api.NewServer(s.Handler(), slog.New(slog.DiscardHandler)).Serve(ctx, l, time.Second)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	const (
		get  = "GET /api/v2/status/heartbeat HTTP/1.1\r\nHost: horde.example\r\n"
		post = "POST /api/v2/generate/async HTTP/1.1\r\nHost: horde.example\r\napikey: 0000000000\r\nContent-Type: application/json\r\n"
		body = `{"prompt":"x"}`
		more = "GET /api/v2/find_user HTTP/1.1\r\nHost: horde.example\r\napikey: 0000000000\r\n\r\n"
	)
	for name, c := range map[string]struct {
		sent string
		want string // the statuses of all answers on the connection
	}{
		"a plain request":           {get + "\r\n", "200"},
		"two in a row":              {get + "\r\n" + more, "200 200"},
		"a bad escape in the path":  {"GET /api/v2/users/%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a bad escape in the query": {"GET /api/v2/users?page=%zz HTTP/1.1\r\nHost: a\r\n\r\n", "200"},
		"a raw NUL in the path":     {"GET /api/v2/users/\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"raw bytes in the path":     {"GET /api/v2/users/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", "404"},
		"a blank in the path":       {"GET /api/v2/users/1 2 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a fragment":                {"GET /api/v2/users#x HTTP/1.1\r\nHost: a\r\n\r\n", "200 or 404"},
		"an absolute address":       {"GET http://evil.example/api/v2/status/heartbeat HTTP/1.1\r\nHost: a\r\n\r\n", "200"},
		"an asterisk":               {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "200"},
		"CONNECT":                   {"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "404"},
		"no host":                   {"GET /api/v2/status/heartbeat HTTP/1.1\r\n\r\n", "400"},
		"two hosts":                 {"GET /api/v2/status/heartbeat HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		"a hostile host":            {"GET /api/v2/status/heartbeat HTTP/1.1\r\nHost: a/../\"b\r\n\r\n", "400 or 200"},
		"HTTP/0.9":                  {"GET /\r\n\r\n", "400"},
		"HTTP/1.0":                  {"GET /api/v2/status/heartbeat HTTP/1.0\r\n\r\n", "200"},
		"HTTP/3":                    {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"},
		"TLS":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 100) + "\r\n\r\n", "400"},
		"a NUL in a header":         {get + "apikey: a\x00b\r\n\r\n", "400"},
		"a header without a name":   {get + ": a\r\n\r\n", "400"},
		"a header without a colon":  {get + "apikey\r\n\r\n", "400"},
		"a blank before the colon":  {get + "apikey : 0000000000\r\n\r\n", "400"},
		"headers above their bound": {get + "apikey: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431"},
		"a negative length":         {post + "Content-Length: -5\r\n\r\n" + body, "400"},
		"a length with a plus":      {post + "Content-Length: +14\r\n\r\n" + body, "400"},
		"two lengths that differ":   {post + "Content-Length: 14\r\nContent-Length: 5\r\n\r\n" + body, "400"},
		"a length beyond 64 bits":   {post + "Content-Length: 99999999999999999999\r\n\r\n" + body, "400"},
		"a length of 1 TB":          {post + "Content-Length: 1099511627776\r\n\r\n" + body, "413"},
		"a length and chunks, of which the chunks count": {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + more, "400 200"},
		"an unknown transfer coding":                     {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501 or 400"},
		"chunks with a huge size":                        {post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx", "400"},
		"chunks with a negative size":                    {post + "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n", "400"},
		"chunks":                                         {post + "Transfer-Encoding: chunked\r\n\r\ne\r\n" + body + "\r\n0\r\n\r\n", "202"},
		"trailers":                                       {post + "Transfer-Encoding: chunked\r\nTrailer: apikey\r\n\r\ne\r\n" + body + "\r\n0\r\napikey: stolen\r\n\r\n", "202"},
		"more body than was said, as a request":          {post + "Content-Length: 14\r\n\r\n" + body + more, "202 200"},
		"a body for GET, and what follows":               {get + "Content-Length: 14\r\n\r\n" + body + more, "200 200"},
		"an expectation nobody knows":                    {get + "Expect: nonsense\r\n\r\n", "417"},
		"HTTP/2 without having asked":                    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 or 400 or 404"},
		"an upgrade":                                     {get + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(conn, c.sent); err != nil && len(c.sent) < 10_000 {
				t.Fatal(err)
			}
			alternatives := strings.Split(c.want, " or ")
			expected := len(strings.Fields(alternatives[0]))
			var got []string
			r := bufio.NewReader(conn)
			// Closing this end would be taken for having gone, so whether more comes is seen by waiting a little.
			for patience := 30 * time.Second; ; {
				if len(got) >= expected {
					patience = 100 * time.Millisecond
				}
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				method := http.MethodGet
				if strings.HasPrefix(c.sent, "CONNECT") {
					method = http.MethodPost // the client's reader would take what follows for a tunnel
				}
				answer, err := http.ReadResponse(r, &http.Request{Method: method})
				if err != nil {
					break
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					t.Fatal(err)
				}
				got = append(got, strconv.Itoa(answer.StatusCode))
			}
			if all := strings.Join(got, " "); !slices.Contains(alternatives, all) {
				t.Errorf("answered with %q, want %s", all, c.want)
			}
		})
	}
}
