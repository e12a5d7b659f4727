// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"horde/client"
	"horde/internal/picture"
	"horde/internal/worker"
)

// generateCommand makes a terminal a client.
type generateCommand struct {
	Image generateImage `cmd:"" help:"Make an image."`
	Text  generateText  `cmd:"" help:"Continue a text."`
}

type hordeFlags struct {
	URL string `name:"url" env:"HORDE_API_URL,AI_HORDE_URL" default:"http://127.0.0.1:7001" help:"Address of the horde; any server of the AI Horde's API will do."`
	Key string `env:"HORDE_API_KEY" default:"0000000000" help:"Your API key; the default is anonymous."`
	Out string `placeholder:"FILE" type:"path" help:"Where to write the result."`
}

func (f *hordeFlags) client() (*client.Client, error) {
	return client.New(f.URL, f.Key, client.WithAgent("horde:"+worker.Version()+":cli"))
}

// writable finds out before anything is asked for, and paid, that the result could not be written.
func (f *hordeFlags) writable() error {
	if f.Out == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(f.Out)); err != nil || !info.IsDir() {
		return fmt.Errorf("there is no directory %s to write to", filepath.Dir(f.Out))
	}
	return nil
}

type generateImage struct {
	hordeFlags `embed:""`
	Prompt     string   `arg:"" help:"What to show. A negative prompt may follow after ###."`
	Model      []string `help:"Acceptable models; any by default."`
	Width      int      `default:"512" help:"Pixels, a multiple of 64."`
	Height     int      `default:"512" help:"Pixels, a multiple of 64."`
	Steps      int      `default:"30" help:"Sampler steps."`
	Seed       string   `help:"Seed; random by default."`
	N          int      `name:"n" default:"1" help:"How many images."`
}

// Run asks for images and writes them to files.
func (c *generateImage) Run(ctx context.Context) error {
	horde, err := c.client()
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	models := c.Model
	if models == nil {
		models = []string{}
	}
	line := newProgressLine()
	result, err := horde.GenerateImage(ctx, client.ImageRequest{
		Prompt: c.Prompt, Models: models,
		Params: client.ImageParams{Width: c.Width, Height: c.Height, Steps: c.Steps, Seed: c.Seed, N: c.N},
	}, line.show)
	line.clear()
	if err != nil {
		return explain(err, c.URL)
	}
	if len(result.Images) == 0 {
		return errors.New("the horde gave the request up: no worker could do it")
	}
	for i, image := range result.Images {
		name := c.Out
		switch {
		case name == "":
			name = "horde-" + image.ID + ".webp"
		case len(result.Images) > 1:
			ext := filepath.Ext(name)
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, ext), i+1, ext)
		}
		if err := writeImage(ctx, name, image.Data); err != nil {
			return err
		}
		fmt.Printf("%s (model %s, worker %s, seed %s, %.0f kudos in all)\n", name, image.Model, image.WorkerName, image.Seed, result.Status.Kudos)
	}
	return nil
}

// writeImage writes an image in the format that the file's name asks for.
func writeImage(ctx context.Context, name string, data []byte) error {
	var buf bytes.Buffer
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".png", ".jpg", ".jpeg":
		p, err := picture.NewCodec(1).Decode(ctx, data, picture.MaxResultPixels)
		if err != nil {
			return err
		}
		if ext == ".png" {
			err = png.Encode(&buf, p.NRGBA)
		} else {
			err = jpeg.Encode(&buf, p.NRGBA, &jpeg.Options{Quality: 95})
		}
		if err != nil {
			return err
		}
		data = buf.Bytes()
	}
	return os.WriteFile(name, data, 0o644)
}

type generateText struct {
	hordeFlags `embed:""`
	Prompt     string   `arg:"" help:"The text to continue, as the model sees it."`
	Model      []string `help:"Acceptable models; any by default."`
	MaxLength  int      `default:"80" help:"Tokens to make, 16 to 4096."`
	Stop       []string `sep:"none" help:"Text at which to stop; may be given several times."`
}

// Run asks for a text and prints it.
func (c *generateText) Run(ctx context.Context) error {
	horde, err := c.client()
	if err != nil {
		return err
	}
	if err := c.writable(); err != nil {
		return err
	}
	line := newProgressLine()
	result, err := horde.GenerateText(ctx, client.TextRequest{
		Prompt: c.Prompt, Models: c.Model, Params: client.TextParams{MaxLength: c.MaxLength, StopSequence: c.Stop},
	}, line.show)
	line.clear()
	if err != nil {
		return explain(err, c.URL)
	}
	if len(result.Texts) == 0 {
		return errors.New("the horde gave the request up: no worker could do it")
	}
	text := result.Texts[0].Text
	if c.Out != "" {
		return os.WriteFile(c.Out, []byte(text), 0o644)
	}
	fmt.Println(text)
	fmt.Fprintf(os.Stderr, "(model %s, worker %s, %.0f kudos)\n", result.Texts[0].Model, result.Texts[0].WorkerName, result.Status.Kudos)
	return nil
}

// explain adds to an error what to do about it.
func explain(err error, url string) error {
	var refusal *client.Error
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("given up")
	case errors.As(err, &refusal):
		for field, reason := range refusal.Fields {
			return fmt.Errorf("%s: %s: %s", refusal.Message, field, reason)
		}
		return errors.New(refusal.Message)
	}
	return fmt.Errorf("%w (is there a horde at %s? start one with: horde up)", err, url)
}

// progressLine shows on a terminal how a request stands, in one line that is written over. Elsewhere it says once that no
// worker is there, since that may take long.
type progressLine struct{ terminal, said bool }

func newProgressLine() *progressLine {
	return &progressLine{terminal: term.IsTerminal(int(os.Stderr.Fd()))}
}

func (p *progressLine) show(s client.Status) {
	if !p.terminal {
		if !p.said && !s.IsPossible && !s.Done {
			p.said = true
			fmt.Fprintln(os.Stderr, "no worker that can do this is online; waiting for one")
		}
		return
	}
	if s.Done {
		fmt.Fprint(os.Stderr, "\r\033[Kdone")
		return
	}
	text := fmt.Sprintf("position %d, about %d s", s.QueuePosition, s.WaitTime)
	switch {
	case s.Processing > 0:
		text = fmt.Sprintf("a worker is on it, about %d s", s.WaitTime)
	case !s.IsPossible:
		text = "no worker that can do this is online; waiting for one"
	}
	if total := s.Finished + s.Processing + s.Waiting; total > 1 {
		text = fmt.Sprintf("%d of %d done, %s", s.Finished, total, text)
	}
	fmt.Fprintf(os.Stderr, "\r\033[K%s", text)
}

func (p *progressLine) clear() {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}
