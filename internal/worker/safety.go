// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"horde/client"
	"horde/internal/worker/backend"
)

// Safety is what the safety service found in a picture.
type Safety struct {
	NSFW bool `json:"is_nsfw"`
	CSAM bool `json:"is_csam"`
}

// checker judges pictures before they leave this machine. The zero value has no service.
type checker struct {
	at *backend.Endpoint
	// trusted: the image server can make nothing that needs a check.
	trusted bool
	// unchecked: pictures go out without a verdict because the operator said so on a horde of their own.
	unchecked bool
	// private: the horde has a private address, so that nobody but the operator's people sees what goes out.
	private bool
}

const safetyTimeout = 60 * time.Second

// newChecker applies the rule: pictures for strangers are checked. On a horde with a public address a worker needs a
// safety service, or an image server that is safe by construction; "off" is the operator's word that the horde is their
// own. On a private address it may do without.
func newChecker(cfg *Config, info backend.ImageInfo) (*checker, string, error) {
	c := &checker{trusted: info.Safe, private: !cfg.public()}
	switch {
	case cfg.SafetyURL != "" && cfg.SafetyURL != "off":
		at, err := backend.NewEndpoint(cfg.SafetyURL, "")
		if err != nil {
			return nil, "", exitf(ExitConfig, "safety_url: %w", err)
		}
		c.at = at
		return c, "", nil
	case info.Safe:
		return c, "", nil
	case cfg.SafetyURL == "off" && wellKnown(cfg.HordeURL):
		return nil, "", exitf(ExitConfig, "safety_url: off is for hordes of your own, which %s is not", cfg.HordeURL)
	case cfg.SafetyURL != "off" && !c.private:
		return nil, "", exitf(ExitConfig, "pictures for %s must be checked before they leave: set safety_url to a safety service (docs/worker.md), "+
			"or to off if this horde is your own", cfg.HordeURL)
	case !cfg.NSFW:
		return nil, "", exitf(ExitConfig, "nsfw: false needs a safety service, set by safety_url, to find what must not go out")
	}
	c.unchecked = true
	return c, "NO SAFETY CHECK: pictures leave this worker without being looked at, whatever they show", nil
}

// wellKnown reports whether a horde is the public AI Horde.
func wellKnown(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return host == "aihorde.net" || strings.HasSuffix(host, ".aihorde.net") || host == "stablehorde.net" || strings.HasSuffix(host, ".stablehorde.net")
}

// check judges a picture. An error means that there is no verdict, and the picture must stay here.
func (c *checker) check(ctx context.Context, data []byte, j *backend.ImageJob) (Safety, error) {
	if c.at == nil {
		if c.trusted || !j.Censor || c.private {
			return Safety{}, nil
		}
		return Safety{}, backend.Errorf(backend.Refused, "this request wants its results checked, and there is no safety service")
	}
	ctx, cancel := context.WithTimeout(ctx, safetyTimeout)
	defer cancel()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("image", "image.webp")
	if err != nil {
		return Safety{}, err
	}
	_, _ = part.Write(data)
	_ = w.WriteField("prompt", j.Positive+"###"+j.Negative)
	_ = w.WriteField("model", j.Model.Name)
	_ = w.WriteField("nsfw_model", strconv.FormatBool(j.Model.NSFW))
	_ = w.Close()
	resp, err := c.at.Open(ctx, http.MethodPost, "/check", w.FormDataContentType(), &body)
	if err != nil {
		return Safety{}, fmt.Errorf("safety service: %w", err)
	}
	defer resp.Body.Close()
	var reply bytes.Buffer
	if _, err := reply.ReadFrom(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return Safety{}, fmt.Errorf("safety service: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return Safety{}, fmt.Errorf("safety service: %w", backend.StatusError(resp.StatusCode, reply.Bytes()))
	}
	var s struct {
		NSFW *bool `json:"is_nsfw"`
		CSAM *bool `json:"is_csam"`
	}
	if err := client.Decode(reply.Bytes(), &s); err != nil {
		return Safety{}, fmt.Errorf("safety service: %w", err)
	}
	if s.NSFW == nil || s.CSAM == nil {
		return Safety{}, fmt.Errorf("safety service: reply without a verdict")
	}
	return Safety{NSFW: *s.NSFW, CSAM: *s.CSAM}, nil
}

// ruling is what happens to a picture after its verdict.
type ruling struct {
	// replace is the text of the picture that goes out instead; empty lets the picture go.
	replace string
	state   string
	meta    []client.Metadata
}

// rule follows the table of the workers chapter, section 11.3, from top to bottom.
func rule(s Safety, cfg *Config, j *backend.ImageJob) ruling {
	censored := func(text string) ruling {
		return ruling{text, "censored", []client.Metadata{{Type: "censorship", Value: "nsfw"}}}
	}
	switch {
	case s.CSAM:
		return ruling{"This result was withheld by the safety check.", "csam", []client.Metadata{{Type: "censorship", Value: "csam"}}}
	case !s.NSFW:
		return ruling{state: "ok"}
	case !cfg.NSFW:
		return censored("This worker delivers results that are safe for work only.")
	case j.Censor:
		return censored("The request asked for results that are safe for work only.")
	case listed(cfg.Censorlist, j.Positive):
		return censored("This worker does not deliver such results for this prompt.")
	}
	return ruling{state: "ok", meta: []client.Metadata{{Type: "information", Value: "nsfw"}}}
}

// listed reports whether one of the words stands in a text as a whole word.
func listed(words []string, text string) bool {
	for _, w := range words {
		if w = strings.TrimSpace(w); w == "" {
			continue
		}
		if ok, err := regexp.MatchString(`(?i)(^|\W)`+regexp.QuoteMeta(w)+`($|\W)`, text); err == nil && ok {
			return true
		}
	}
	return false
}

// notice paints the picture that goes out in place of one that must not.
func notice(text string) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, 512, 512))
	draw.Draw(m, m.Rect, image.NewUniform(color.NRGBA{40, 44, 52, 255}), image.Point{}, draw.Src)
	d := font.Drawer{Dst: m, Src: image.NewUniform(color.NRGBA{220, 223, 228, 255}), Face: basicfont.Face7x13}
	d.Dot = fixed.P((512-d.MeasureString(text).Ceil())/2, 256)
	d.DrawString(text)
	return m
}
