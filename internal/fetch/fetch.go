// SPDX-License-Identifier: AGPL-3.0-or-later

// Package fetch is the HTTP client for addresses that strangers give us: source images, webhooks, instances of the
// fediverse, files that a remote catalogue points to.
//
// Whoever may name a URL can try to reach what only this machine can reach: its own loopback services, the private
// network behind it, the metadata service of its cloud. The client therefore looks up a name once, judges the
// addresses it got, and dials one of those it judged; a second answer of the name server is never asked for. That holds
// for each redirect too. Time, bytes and redirects are bounded, no proxy of the environment is used, nothing is
// decompressed, and no error repeats what the other side said, so that an error message cannot serve to read banners of
// internal services.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"horde/internal/trace"
)

// What can go wrong, for errors.Is. The errors of a Client wrap exactly one of these, or context.Canceled, or
// context.DeadlineExceeded when the exchange took longer than it may. Their text names the host and the reason, nothing
// else.
var (
	// ErrURL refuses a URL before anything is sent: not http or https, credentials inside, no host, a host that is an
	// oddly spelled number or has an IPv6 zone, a port that is not permitted.
	ErrURL = errors.New("this URL may not be fetched")
	// ErrPrivateAddress means that the host has no address on the public internet.
	ErrPrivateAddress = errors.New("the host has no public address")
	// ErrUnresolved means that the host's name has no address at all, or the name server did not answer.
	ErrUnresolved = errors.New("the host was not found")
	// ErrConnect means that no connection could be made, TLS included.
	ErrConnect = errors.New("no connection to the host")
	// ErrAnswer means that the other side did not speak proper HTTP or broke off.
	ErrAnswer = errors.New("the host gave no usable answer")
	// ErrTooLarge means that the body is, or announces to be, larger than Config.MaxBytes.
	ErrTooLarge = errors.New("the answer is too large")
	// ErrRedirects means that there were more redirects than Config.MaxRedirects.
	ErrRedirects = errors.New("too many redirects")
)

// What a zero Config means.
const (
	DefaultTimeout   = 5 * time.Second
	DefaultMaxBytes  = 5 << 20
	DefaultUserAgent = "horde"
)

const (
	// maxHostName is the longest name that the domain name system has.
	maxHostName = 253
	// maxDials bounds how many addresses of one host are tried.
	maxDials = 4
	// maxHeaderBytes bounds the header of an answer; real ones stay below a tenth of it.
	maxHeaderBytes = 64 << 10
	// idleConns and idleTimeout keep a few connections for hosts that are called repeatedly (webhooks).
	idleConns   = 32
	idleTimeout = 15 * time.Second
)

// Resolver looks up the addresses of a name. net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config says what a Client may do. The zero value is a strict client: public addresses on ports 80 and 443, no
// redirects, and the bounds above.
type Config struct {
	// AllowPrefixes are addresses that may be reached although they are private, on any port: the trusted network of
	// an operator, the loopback of a test.
	AllowPrefixes []netip.Prefix
	// Ports are the ports that may be reached on public addresses. Nil means 80 and 443, empty means none at all.
	Ports []uint16
	// Timeout bounds a whole exchange: name look-up, redirects, and reading the body to its end. Zero means
	// DefaultTimeout.
	Timeout time.Duration
	// MaxRedirects is how many redirects are followed; one more is ErrRedirects. With 0 none is followed and the
	// answer that redirects is returned as it is.
	MaxRedirects int
	// MaxBytes bounds the body of the answer as it comes over the wire. Zero means DefaultMaxBytes.
	MaxBytes int64
	// UserAgent is sent where the request has none. Empty means DefaultUserAgent.
	UserAgent string
	// Resolver looks up names. Nil means the system's.
	Resolver Resolver
	// RootCAs are the certificate authorities that https trusts. Nil means the system's.
	RootCAs *x509.CertPool
}

// Client fetches. It is safe for concurrent use and should be kept: it holds a few idle connections.
type Client struct {
	cfg       Config
	http      *http.Client
	transport *http.Transport
}

// New returns a client for cfg.
func New(cfg Config) *Client {
	if cfg.Ports == nil {
		cfg.Ports = []uint16{80, 443}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = DefaultUserAgent
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	cfg.AllowPrefixes = slices.Clone(cfg.AllowPrefixes)
	c := &Client{cfg: cfg}
	c.transport = &http.Transport{
		// HTTP/1.1 only, which is what a transport with its own dialer and no ForceAttemptHTTP2 speaks: one exchange
		// per connection is easier to bound, and every host that we meet speaks it.
		DialContext:            c.dial,
		Proxy:                  nil,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    cfg.Timeout,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
	}
	c.http = &http.Client{Transport: trace.Transport("fetch", c.transport), CheckRedirect: c.checkRedirect}
	return c
}

// CloseIdleConnections closes the connections that no exchange uses at the moment.
func (c *Client) CloseIdleConnections() { c.transport.CloseIdleConnections() }

// Get fetches rawURL with GET. The status is not judged. The caller closes the body. Errors are those of Do.
func (c *Client) Get(ctx context.Context, rawURL string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		// The parser's message repeats the URL, which may hold a password.
		return nil, fmt.Errorf("fetch: %w", ErrURL)
	}
	return c.Do(req)
}

// Do sends req and returns the answer, whatever its status. The caller closes the body; reading it gives ErrTooLarge
// past Config.MaxBytes and context.DeadlineExceeded past Config.Timeout, which runs from the call of Do. The body is as
// it was sent: a caller that asks for a Content-Encoding bounds the decompression itself.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := checkURL(req.URL); err != nil {
		return nil, report(req.URL, err)
	}
	ctx, cancel := context.WithTimeout(req.Context(), c.cfg.Timeout)
	req = req.Clone(ctx)
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.cfg.UserAgent)
	}
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cancel()
		return nil, report(req.URL, err)
	}
	if req.Method != http.MethodHead && resp.ContentLength > c.cfg.MaxBytes {
		resp.Body.Close()
		cancel()
		return nil, report(req.URL, ErrTooLarge)
	}
	resp.Body = &body{rc: resp.Body, left: c.cfg.MaxBytes, cancel: cancel, url: req.URL}
	return resp, nil
}

func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if c.cfg.MaxRedirects <= 0 {
		return http.ErrUseLastResponse
	}
	if len(via) > c.cfg.MaxRedirects {
		return ErrRedirects
	}
	// The address that redirected may hold a secret in its query; the next host has no business with it.
	req.Header.Del("Referer")
	return checkURL(req.URL)
}

// checkURL judges what can be judged without a look-up. Addresses and ports are judged when dialling.
func checkURL(u *url.URL) error {
	if u == nil || (u.Scheme != "http" && u.Scheme != "https") || u.Opaque != "" || u.User != nil {
		return ErrURL
	}
	host := u.Hostname()
	if host == "" || len(host) > maxHostName || strings.Contains(host, "%") {
		return ErrURL
	}
	return nil
}

// dial connects to hostport. It is the only way to the network, for first requests and redirects alike.
func (c *Client) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	// The transport may go on dialling after the request is over, to keep the connection for the next one.
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, ErrURL
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, ErrURL
	}
	addrs, err := c.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var permitted []netip.AddrPort
	for _, addr := range addrs {
		if err = c.judge(addr, uint16(port)); err == nil && len(permitted) < maxDials {
			permitted = append(permitted, netip.AddrPortFrom(addr, uint16(port)))
		}
	}
	if len(permitted) == 0 {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	for i, target := range permitted {
		// Each address gets its share of the time left, so that one that swallows packets leaves some for the next.
		dialer := net.Dialer{Timeout: time.Until(deadline) / time.Duration(len(permitted)-i)}
		conn, err := dialer.DialContext(ctx, network, target.String())
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, ErrConnect
}

// resolve returns the addresses of host, IPv4 inside IPv6 unmapped.
func (c *Client) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return nil, ErrURL
		}
		return []netip.Addr{addr.Unmap()}, nil
	}
	// Some resolvers of operating systems read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses. No public name ends in a
	// number, so nothing is lost by refusing them before anybody interprets them.
	if endsInNumber(host) {
		return nil, ErrURL
	}
	addrs, err := c.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, ErrUnresolved
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// judge tells whether addr may be reached on port.
func (c *Client) judge(addr netip.Addr, port uint16) error {
	for _, p := range c.cfg.AllowPrefixes {
		if p.Contains(addr) {
			return nil
		}
	}
	if !Public(addr) {
		return ErrPrivateAddress
	}
	if !slices.Contains(c.cfg.Ports, port) {
		return ErrURL
	}
	return nil
}

// endsInNumber tells whether the last label of host is decimal, octal or hexadecimal.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// report turns an error of the layers below into one of this package's, without their texts: those may repeat the URL
// with its secrets, or bytes that the other side sent.
func report(u *url.URL, err error) error {
	host := ""
	if u != nil {
		host = u.Hostname()
		if len(host) > maxHostName {
			host = host[:maxHostName]
		}
	}
	return fmt.Errorf("fetch from %q: %w", host, reason(err))
}

func reason(err error) error {
	for _, known := range []error{
		ErrURL, ErrPrivateAddress, ErrUnresolved, ErrConnect, ErrAnswer, ErrTooLarge, ErrRedirects,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return context.DeadlineExceeded
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return ErrUnresolved
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ErrConnect
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return ErrConnect
	}
	return ErrAnswer
}

// body is the bounded body of an answer. Like any body it belongs to one reader at a time.
type body struct {
	rc     io.ReadCloser
	left   int64 // bytes that may still be read
	err    error // what every further Read returns
	cancel context.CancelFunc
	url    *url.URL
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than allowed is asked for, to tell a body of the exact size from a larger one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.rc.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), ErrTooLarge
	}
	b.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	default:
		b.err = report(b.url, err)
	}
	b.cancel()
	return n, b.err
}

func (b *body) Close() error {
	b.cancel()
	return b.rc.Close()
}
