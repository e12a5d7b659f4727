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
	Quiet   bool   `short:"q" help:"Print only the opcodes that would have imported, called or changed something that is not known to be harmless, and the one at which the file was refused as unsafe."`
	MaxFile size   `help:"Largest file." default:"64MiB" placeholder:"SIZE"`
}

// Help is the longer text of 'hordeling inspect --help'.
func (inspectCommand) Help() string {
	return "One line for each opcode: byte offset, name, operand, and what Python's pickle would have done. Lines with ! would have imported, called or changed something that is not on the list of harmless symbols, or are where the file was refused as unsafe. " +
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
	result, verdict := embedding.Convert(p.ctx, data, embedding.DefaultLimits())
	if errors.Is(verdict, context.Canceled) {
		return verdict
	}
	dangerous := 0
	var misused bool
	for _, s := range streams {
		fmt.Fprintf(out, "\n%s, %d bytes from byte %d of %s\n", s.Name, len(s.Data), s.Offset, s.Where)
		t := streamTrace{out: out, quiet: c.Quiet, refusedAt: refusedAt(verdict, s)}
		err := t.run(p.ctx, s)
		dangerous += t.marked
		misused = misused || t.misused
		if err != nil {
			fmt.Fprintf(out, "not followed further: %v\n", err)
		}
	}
	if len(streams) > 0 {
		orMisused := ""
		if misused {
			orMisused = ", or are not accepted where they are"
		}
		fmt.Fprintf(out, "\n%d opcodes would have imported, called or changed something that is not on the list%s\n", dangerous, orMisused)
	}
	if verdict != nil {
		fmt.Fprintf(out, "verdict: %v\n", refused(reasonByName(c.File, data, verdict)))
		return nil
	}
	fmt.Fprintf(out, "verdict: converted (%s, %s): %s, sha256 %s\n", result.Container, result.Shape, tensorList(result.Tensors), result.SHA256)
	return nil
}

// refusedAt is the offset in the stream s of the opcode for which the verdict is UnsafePickle; -1 where there is none.
func refusedAt(verdict error, s torchfile.Stream) int64 {
	var r *pickle.Refusal
	if !errors.As(verdict, &r) || r.Code != pickle.Unsafe || r.Op == "" {
		return -1
	}
	// Refusals name an entry of a zip without the folder.
	_, inner, _ := strings.Cut(s.Name, "/")
	if r.Where != s.Name && r.Where != inner {
		return -1
	}
	return r.Offset - s.Offset
}

// streamTrace prints the opcodes of one stream.
type streamTrace struct {
	out   io.Writer
	quiet bool
	// refusedAt is the offset of the opcode at which the converter refused the stream as unsafe, or -1.
	refusedAt int64
	// marked counts the opcodes with !. Misused: one of them would have done nothing by itself, and is refused for how it
	// is used.
	marked  int
	misused bool
}

func (t *streamTrace) run(ctx context.Context, s torchfile.Stream) error {
	_, err := pickle.Trace(ctx, s.Data, func(step pickle.Step) error {
		mark := " "
		switch {
		case step.Dangerous:
			mark = "!"
			t.marked++
		case step.Offset == t.refusedAt:
			mark = "!"
			t.marked++
			t.misused = true
		case t.quiet:
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
		_, err := fmt.Fprintln(t.out, strings.TrimRight(line, " "))
		return err
	})
	return err
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
