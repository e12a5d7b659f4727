// SPDX-License-Identifier: AGPL-3.0-or-later

package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// caller makes calls for one virtual client or worker, one at a time, over a kept connection for each host. It is used by one
// goroutine. net/http's client would do the same at a multiple of the cost, which the server under test would pay for.
type caller struct {
	cfg *Config
	// base is the scheme and host of the node that this caller talks to.
	base  string
	conns map[string]*conn
	// current is the connection of the call being made.
	current atomic.Pointer[conn]
	// node is the index of base among the servers.
	node    int
	request []byte // the request being sent, reused
	answer  []byte // the last answer's body, reused
	reader  answerReader
}

type conn struct {
	net.Conn
	in *bufio.Reader
	// used tells that an answer came on this connection before: then the server may have closed it since.
	used bool
}

func newCaller(cfg *Config, i int) *caller {
	c := &caller{cfg: cfg, conns: map[string]*conn{}}
	c.turn(i)
	return c
}

// turn makes calls of the API go to another node.
func (c *caller) turn(node int) {
	c.node = node % len(c.cfg.Servers)
	if u, err := parseBase(c.cfg.Servers[c.node]); err == nil {
		c.base = u.Scheme + "://" + u.Host
	}
}

func (c *caller) close() {
	for host, k := range c.conns {
		k.Close()
		delete(c.conns, host)
	}
}

// maxAnswer bounds the body of an answer, in bytes.
const maxAnswer = 32 << 20

// api makes a call of the API: path is below /api/v2. The answer is good until the next call.
func (c *caller) api(ctx context.Context, method, path, key string, body []byte) (status int, answer []byte, err error) {
	status, answer, err = c.do(ctx, method, c.base, apiPrefix+path, key, body)
	if err != nil {
		c.turn(c.node + 1) // the next call asks another node, where there is one
	}
	return status, answer, err
}

// link follows a link that the server gave, without the key.
func (c *caller) link(ctx context.Context, method, link string, body []byte) (status int, answer []byte, err error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return 0, nil, fmt.Errorf("bad link %.80q", link)
	}
	return c.do(ctx, method, u.Scheme+"://"+u.Host, u.RequestURI(), "", body)
}

func (c *caller) do(ctx context.Context, method, base, path, key string, body []byte) (int, []byte, error) {
	k := c.conns[base]
	again := k != nil && k.used && (method == "GET" || method == "PUT") // may be sent twice without harm
	status, answer, err := c.try(ctx, method, base, path, key, body)
	if err != nil && again && ctx.Err() == nil && !errors.Is(err, ErrNotLoopback) {
		status, answer, err = c.try(ctx, method, base, path, key, body)
	}
	return status, answer, err
}

func (c *caller) try(ctx context.Context, method, base, path, key string, body []byte) (status int, answer []byte, err error) {
	k := c.conns[base]
	if k == nil {
		if k, err = c.open(ctx, base); err != nil {
			return 0, nil, err
		}
		c.conns[base] = k
	}
	keep := false
	defer func() {
		if !keep {
			k.Close()
			delete(c.conns, base)
		}
	}()
	_, host, _ := strings.Cut(base, "://")
	b := append(c.request[:0], method...)
	b = append(append(b, ' '), path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\nUser-Agent: horde-bench\r\nClient-Agent: horde-bench:1:https://horde.example\r\n"...)
	if key != "" {
		b = append(append(append(b, "apikey: "...), key...), "\r\n"...)
	}
	if body != nil {
		kind := "application/json"
		if !strings.HasPrefix(path, apiPrefix) {
			kind = "image/webp" // an upload
		}
		b = append(append(b, "Content-Type: "...), kind...)
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(append(b, "\r\n"...), body...)
	c.request = b
	if err := k.SetDeadline(time.Now().Add(c.cfg.Timeout)); err != nil {
		return 0, nil, err
	}
	c.current.Store(k)
	defer c.current.Store(nil)
	if _, err := k.Write(b); err != nil {
		return 0, nil, err
	}
	status, c.answer, keep, err = readAnswer(k.in, c.answer[:0])
	k.used = true
	return status, c.answer, err
}

func (c *caller) open(ctx context.Context, base string) (*conn, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	nc, err := c.cfg.dial(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		nc = tls.Client(nc, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	}
	return &conn{Conn: nc, in: bufio.NewReaderSize(nc, 4096)}, nil
}

// apiPrefix is where the API is.
const apiPrefix = "/api/v2"

var errAnswer = errors.New("the answer is no HTTP/1.1")

// readAnswer reads one answer of HTTP/1.1 and appends its body to buf. keep tells whether the connection can be used again.
func readAnswer(in *bufio.Reader, buf []byte) (status int, body []byte, keep bool, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, buf, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, buf, false, errAnswer
	}
	keep = line[7] == '1'
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, buf, false, errAnswer
	}
	length, chunked := -1, false
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, buf, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, buf, false, errAnswer
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return 0, buf, false, errAnswer
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			keep = keep && !bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case status == 204 || status == 304 || status < 200:
		return status, buf, keep, nil
	case chunked:
		body, err = readChunks(in, buf)
	case length >= 0:
		body, err = readN(in, buf, length)
	default:
		keep = false
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(in, maxAnswer))
		body = append(buf, rest...)
	}
	return status, body, keep && err == nil, err
}

func readN(in *bufio.Reader, buf []byte, n int) ([]byte, error) {
	at := len(buf)
	if cap(buf)-at < n {
		buf = append(make([]byte, 0, at+n), buf...)
	}
	buf = buf[:at+n]
	_, err := io.ReadFull(in, buf[at:])
	return buf, err
}

func readChunks(in *bufio.Reader, buf []byte) ([]byte, error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return buf, err
		}
		digits, _, _ := bytes.Cut(bytes.TrimSpace(line), []byte(";"))
		n, err := strconv.ParseUint(string(digits), 16, 31)
		if err != nil || len(buf)+int(n) > maxAnswer {
			return buf, errAnswer
		}
		if n == 0 { // trailers, then an empty line
			for {
				line, err := in.ReadSlice('\n')
				if err != nil || len(bytes.TrimSpace(line)) == 0 {
					return buf, err
				}
			}
		}
		if buf, err = readN(in, buf, int(n)); err != nil {
			return buf, err
		}
		if line, err := in.ReadSlice('\n'); err != nil || len(bytes.TrimSpace(line)) != 0 {
			return buf, errAnswer
		}
	}
}

// abort ends the call that is being made, if any. Unlike all else it may be called from anywhere.
func (c *caller) abort() {
	if k := c.current.Load(); k != nil {
		_ = k.SetDeadline(time.Unix(1, 0))
	}
}
