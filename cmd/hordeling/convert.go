// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"horde/internal/hordeling"
	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/safetensors"
	"horde/internal/hordeling/torchfile"
)

// convertCommand converts files.
type convertCommand struct {
	Files   []string `arg:"" name:"file" help:"Files to convert (.pt, .bin, .pth, .ckpt, .safetensors)."`
	Out     string   `help:"Directory for the results, made where it is missing; without it each lies beside its source." placeholder:"DIR"`
	Force   bool     `help:"Replace results that are there."`
	Tensors bool     `help:"Write every tensor under its own name, whatever the file is, instead of a textual inversion."`
	MaxFile size     `help:"Largest source file." default:"64MiB" placeholder:"SIZE"`
}

// Help is the longer text of 'hordeling convert --help'.
func (convertCommand) Help() string {
	return "Each source becomes <name>.safetensors. Nothing in a source is executed; what is not plainly data is refused with the reason and the place. " +
		"The exit status is 1 if a file was refused or could not be read or written."
}

// Run converts one file after the other, and goes on after a refusal.
func (c *convertCommand) Run(p *program) error {
	if c.Out != "" {
		if err := os.MkdirAll(c.Out, 0o755); err != nil {
			return err
		}
	}
	failed := 0
	written := make(map[string]string) // result to source
	for i, file := range c.Files {
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		label := fmt.Sprintf("[%d/%d] %s", i+1, len(c.Files), file)
		line, err := c.convert(p.ctx, file, written)
		if err != nil {
			failed++
			fmt.Fprintf(p.stderr, "%s: %s\n", label, err)
			continue
		}
		fmt.Fprintf(p.stdout, "%s %s\n", label, line)
	}
	if len(c.Files) > 1 {
		fmt.Fprintf(p.stdout, "%d converted, %d refused or failed\n", len(c.Files)-failed, failed)
	}
	if failed > 0 {
		return exitStatus(1)
	}
	return nil
}

func (c *convertCommand) convert(ctx context.Context, file string, written map[string]string) (string, error) {
	start := time.Now()
	source, err := readFile(file, int64(c.MaxFile))
	if err != nil {
		return "", err
	}
	limits := embedding.DefaultLimits()
	limits.OutputBytes = max(limits.OutputBytes, int64(c.MaxFile))
	limits.File.ZipBytes = max(limits.File.ZipBytes, 2*int64(c.MaxFile))
	run := embedding.Convert
	if c.Tensors {
		run = embedding.ConvertTensors
	}
	result, err := run(ctx, source, limits)
	if err != nil {
		return "", refused(reasonByName(file, source, err))
	}
	target := c.target(file)
	if other, ok := written[target]; ok {
		return "", fmt.Errorf("%s was made of %s already", target, other)
	}
	if err := writeFile(target, result.Bytes, c.Force); err != nil {
		return "", err
	}
	written[target] = file
	return fmt.Sprintf("-> %s (%s, %s) %s %d bytes sha256 %s %v",
		target, result.Container, result.Shape, tensorList(result.Tensors), len(result.Bytes), result.SHA256, time.Since(start).Round(time.Microsecond)), nil
}

// refused is a refusal as a person reads it: rc and reason without the service's phrase.
func refused(err error) error {
	e := hordeling.RefusalOf(err)
	reason := strings.TrimPrefix(err.Error(), e.RC+": ")
	return fmt.Errorf("refused: %s: %s", e.RC, reason)
}

// reasonByName is err, or what is wrong with source as safetensors where the file has that suffix and does not begin
// like anything else: the first bytes alone do not tell a safetensors file with a false header length.
func reasonByName(file string, source []byte, err error) error {
	if strings.EqualFold(filepath.Ext(file), ".safetensors") && torchfile.Detect(source) == torchfile.Unknown {
		if _, bad := safetensors.Parse(source, safetensors.Limits{}); bad != nil {
			return bad
		}
	}
	return err
}

func (c *convertCommand) target(file string) string {
	dir, name := filepath.Split(file)
	if c.Out != "" {
		dir = c.Out
	}
	return filepath.Join(dir, strings.TrimSuffix(name, filepath.Ext(name))+".safetensors")
}

func tensorList(tensors []embedding.Tensor) string {
	var parts []string
	for _, t := range tensors {
		parts = append(parts, fmt.Sprintf("%q %s %v", t.Name, t.DType, t.Shape))
		if len(parts) == 4 && len(tensors) > 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(tensors)-4))
			break
		}
	}
	return strings.Join(parts, ", ")
}

// readFile reads a plain file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	// Looked at before it is opened: opening a pipe waits for a writer, and opening a device may do anything.
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", name)
	}
	// It may have become a pipe since; without waiting that is seen below.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("refused: FileTooLarge: %d bytes, at most %d are read (--max-file)", info.Size(), limit)
	}
	data := make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return data[:n], nil
}

// writeFile writes a whole file or none: under a temporary name beside the target first. Without force a target that is
// there is an error, unless it has the same content already.
func writeFile(target string, data []byte, force bool) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(target), ".hordeling-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if force {
		return os.Rename(temp.Name(), target)
	}
	// A link, unlike a rename, fails where the target is there.
	err = os.Link(temp.Name(), target)
	if errors.Is(err, fs.ErrExist) {
		if old, readErr := readFile(target, int64(len(data))); readErr == nil && bytes.Equal(old, data) {
			return nil
		}
		return fmt.Errorf("%s is there already (--force replaces it)", target)
	}
	return err
}
