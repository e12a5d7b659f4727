// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/safetensors"
	"horde/internal/hordeling/torchfile"
)

// inspectCommand shows what is in a file.
type inspectCommand struct {
	File    string `arg:"" help:"The file: a container of PyTorch, a bare pickle, or safetensors."`
	Quiet   bool   `short:"q" help:"Print only the opcodes that would have imported, called or changed something that is not known to be harmless."`
	MaxFile size   `help:"Largest file." default:"64MiB" placeholder:"SIZE"`
}

// Help is the longer text of 'hordeling inspect --help'.
func (inspectCommand) Help() string {
	return "One line for each opcode: byte offset, name, operand, and what Python's pickle would have done. Lines with ! would have imported, called or changed something that is not on the list of harmless symbols. " +
		"The last lines say what 'hordeling convert' makes of the file. Nothing is executed. The exit status is 0 if the file could be read."
}

// Run prints the file's parts.
func (c *inspectCommand) Run(p *program) error {
	data, err := readFile(c.File, int64(c.MaxFile))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(p.stdout)
	defer out.Flush()
	container := torchfile.Detect(data)
	fmt.Fprintf(out, "%s: %d bytes, %s\n", c.File, len(data), container)
	if container == torchfile.Safetensors {
		c.header(out, data)
	}
	streams, entries, err := torchfile.Streams(data, torchfile.DefaultLimits())
	for _, e := range entries {
		fmt.Fprintf(out, "entry %q, %d bytes\n", e.Name, e.Bytes)
	}
	if err != nil {
		fmt.Fprintf(out, "not followed further: %v\n", err)
	}
	dangerous := 0
	for _, s := range streams {
		fmt.Fprintf(out, "\n%s, %d bytes from byte %d of %s\n", s.Name, len(s.Data), s.Offset, s.Where)
		n, err := c.trace(p.ctx, out, s)
		dangerous += n
		if err != nil {
			fmt.Fprintf(out, "not followed further: %v\n", err)
		}
	}
	if len(streams) > 0 {
		fmt.Fprintf(out, "\n%d opcodes would have imported, called or changed something that is not on the list\n", dangerous)
	}
	return c.verdict(p.ctx, out, data)
}

func (c *inspectCommand) trace(ctx context.Context, out io.Writer, s torchfile.Stream) (dangerous int, err error) {
	_, err = pickle.Trace(ctx, s.Data, func(step pickle.Step) error {
		mark := " "
		if step.Dangerous {
			mark = "!"
			dangerous++
		} else if c.Quiet {
			return nil
		}
		name := step.Op.Name
		if !step.Op.Accepted {
			name += "*"
		}
		line := fmt.Sprintf("%8d %s %-17s %s", s.Offset+step.Offset, mark, name, step.Operand)
		if step.Effect != "" {
			line = fmt.Sprintf("%-52s ; %s", line, step.Effect)
		}
		_, err := fmt.Fprintln(out, strings.TrimRight(line, " "))
		return err
	})
	return dangerous, err
}

// header prints the tensors of a safetensors file.
func (c *inspectCommand) header(out io.Writer, data []byte) {
	f, err := safetensors.Parse(data, safetensors.Limits{})
	if err != nil {
		return // the verdict tells
	}
	for k, v := range f.Metadata {
		fmt.Fprintf(out, "metadata %.80q = %.200q\n", k, v)
	}
	for _, t := range f.Tensors {
		fmt.Fprintf(out, "tensor %.80q %s %v, %d bytes\n", t.Name, t.DType, t.Shape, len(t.Data))
	}
}

func (c *inspectCommand) verdict(ctx context.Context, out io.Writer, data []byte) error {
	result, err := embedding.Convert(ctx, data, embedding.DefaultLimits())
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case err != nil:
		fmt.Fprintf(out, "verdict: %v\n", refused(reasonByName(c.File, data, err)))
	default:
		fmt.Fprintf(out, "verdict: converted (%s, %s): %s, sha256 %s\n", result.Container, result.Shape, tensorList(result.Tensors), result.SHA256)
	}
	return nil
}
