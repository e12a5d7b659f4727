// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"horde/client"
	"horde/internal/fetch"
	"horde/internal/picture"
	"horde/internal/worker/backend"
)

const (
	sourceTries     = 5
	sourceTimeout   = 15 * time.Second
	maxSource       = 20 << 20 // bytes
	sourceRedirects = 3
	sourcePause     = time.Second
)

// newSourceClient returns the client for source pictures. Their addresses come from strangers by way of the horde, so
// private addresses are refused, but for the horde's own, and networks that the operator names.
func newSourceClient(ctx context.Context, cfg *Config) *fetch.Client {
	c := fetch.Config{Timeout: sourceTimeout, MaxBytes: maxSource, MaxRedirects: sourceRedirects, UserAgent: product + "/" + Version()}
	for _, p := range cfg.SourcePrefixes {
		if prefix, err := netip.ParsePrefix(p); err == nil {
			c.AllowPrefixes = append(c.AllowPrefixes, prefix)
		}
	}
	if u, err := url.Parse(cfg.HordeURL); err == nil {
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			c.Ports = []uint16{80, 443, uint16(port)}
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		if err == nil {
			for _, a := range addrs {
				if a = a.Unmap(); a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() {
					c.AllowPrefixes = append(c.AllowPrefixes, netip.PrefixFrom(a, a.BitLen()))
				}
			}
		}
	}
	return fetch.New(c)
}

// errFetch marks a picture that could not be had, as against one that is none.
var errFetch = errors.New("not to be had")

// getPicture fetches and decodes one picture, given as an address or as base64.
func getPicture(ctx context.Context, c *fetch.Client, where string) (data []byte, err error) {
	if !strings.HasPrefix(where, "http://") && !strings.HasPrefix(where, "https://") {
		if data, err = client.DecodeImage(where); err != nil {
			return nil, err
		}
		return data, nil
	}
	for try := 1; ; try++ {
		if data, err = download(ctx, c, where); err == nil {
			return data, nil
		}
		if try == sourceTries || !wait(ctx, sourcePause, nil) {
			return nil, fmt.Errorf("%w: %w", errFetch, err)
		}
	}
}

func download(ctx context.Context, c *fetch.Client, where string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	resp, err := c.Get(ctx, where)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return io.ReadAll(resp.Body)
}

// getSources fetches all pictures of a job at the same time. What cannot be had is left out and told in the metadata.
func getSources(ctx context.Context, c *fetch.Client, j *client.ImageJob) (backend.Sources, []client.Metadata) {
	var src backend.Sources
	var meta []client.Metadata
	var mu sync.Mutex
	var wg sync.WaitGroup
	get := func(kind, ref, where string, put func(data []byte) error) {
		wg.Go(func() {
			data, err := getPicture(ctx, c, where)
			value := "parse_failed"
			if errors.Is(err, errFetch) {
				value = "download_failed"
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				err = put(data)
			}
			if err != nil {
				meta = append(meta, client.Metadata{Type: kind, Value: value, Ref: ref})
			}
		})
	}
	if j.SourceImage != "" {
		get("source_image", "source_image", j.SourceImage, func(data []byte) (err error) {
			src.Image, err = backend.Decode(data, picture.MaxSourcePixels)
			return err
		})
	}
	if j.SourceMask != "" && j.SourceImage != "" {
		get("source_mask", "source_mask", j.SourceMask, func(data []byte) (err error) {
			src.Mask, err = backend.Decode(data, picture.MaxSourcePixels)
			return err
		})
	}
	extra := make([]*backend.ExtraImage, min(len(j.ExtraSourceImages), maxExtra))
	for i := range extra {
		e := j.ExtraSourceImages[i]
		get("extra_source_images", strconv.Itoa(i), e.Image, func(data []byte) error {
			m, err := backend.Decode(data, picture.MaxSourcePixels)
			if err == nil {
				strength := 1.0
				if e.Strength != nil {
					strength = *e.Strength
				}
				extra[i] = &backend.ExtraImage{Image: m, Strength: strength}
			}
			return err
		})
	}
	wg.Wait()
	for _, e := range extra {
		if e != nil {
			src.Extra = append(src.Extra, *e)
		}
	}
	return src, meta
}

// maxExtra bounds the further pictures of a remix.
const maxExtra = 5
