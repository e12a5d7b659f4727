// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/safetensors"
)

// torchManifest is what testdata/torch_files.py says of the files that it wrote.
type torchManifest struct {
	Torch string
	Files []struct {
		File    string
		Mode    string // "ti" or "tensors"
		Tensors map[string]struct {
			DType string
			Shape []int64
			Hex   string
		}
	}
}

// python runs a script of testdata with the PyTorch of the parts.
func python(t testing.TB, args ...string) string {
	t.Helper()
	interpreter := hordelingtest.Part(t, "hordeling-python/bin/python")
	args[0] = filepath.Join("testdata", args[0])
	cmd := exec.Command(interpreter, args...)
	cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore", "OMP_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// convertAll converts the files of a manifest with the program and compares the results with it.
func convertAll(t *testing.T, sources, converted string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(sources, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest torchManifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Files) < 100 {
		t.Fatalf("only %d files", len(manifest.Files))
	}
	args := map[string][]string{"ti": {"convert", "--out", converted}, "tensors": {"convert", "--tensors", "--out", converted}}
	for _, f := range manifest.Files {
		args[f.Mode] = append(args[f.Mode], filepath.Join(sources, f.File))
	}
	for _, a := range args {
		if status, _, stderr := runProgram(t, a...); status != 0 {
			t.Fatalf("status %d\n%s", status, stderr)
		}
	}
	for _, f := range manifest.Files {
		out, err := os.ReadFile(filepath.Join(converted, strings.TrimSuffix(f.File, ".pt")+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := safetensors.Parse(out, safetensors.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", f.File, err)
		}
		if len(parsed.Tensors) != len(f.Tensors) {
			t.Errorf("%s: %d tensors, want %d", f.File, len(parsed.Tensors), len(f.Tensors))
		}
		for _, got := range parsed.Tensors {
			want := f.Tensors[got.Name]
			if string(got.DType) != want.DType || !slices.Equal(got.Shape, want.Shape) || hex.EncodeToString(got.Data) != want.Hex {
				t.Errorf("%s: %q is %s %v, want %s %v", f.File, got.Name, got.DType, got.Shape, want.DType, want.Shape)
			}
		}
	}
}

// TestFilesOfTheInstalledPyTorch has the real PyTorch write files of old and new formats, all dtypes and layouts,
// converts them, and has the real safetensors and PyTorch load the results and compare them bit for bit.
func TestFilesOfTheInstalledPyTorch(t *testing.T) {
	t.Parallel()
	sources, converted := t.TempDir(), t.TempDir()
	python(t, "torch_files.py", sources)
	convertAll(t, sources, converted)
	t.Log(python(t, "torch_check.py", sources, converted))
}

// TestFilesOfANewerPyTorch does the same with files that PyTorch 2.9.1 wrote by the same script.
func TestFilesOfANewerPyTorch(t *testing.T) {
	t.Parallel()
	sources, converted := t.TempDir(), t.TempDir()
	r, err := zip.OpenReader("testdata/torch-2.9.1.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, e := range r.File {
		f, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		write(t, sources, filepath.Base(e.Name), data)
	}
	convertAll(t, sources, converted)
	t.Log(python(t, "torch_check.py", sources, converted))
}

// TestThroughputAgainstPyTorch converts the same files with PyTorch and safetensors in Python and with this converter,
// one after the other, each from and to files of the same disk.
func TestThroughputAgainstPyTorch(t *testing.T) {
	const files = 200
	dir := t.TempDir()
	for i := range files {
		write(t, dir, fmt.Sprintf("%03d.pt", i), hordelingtest.WebUIModel(8, 768, float64(i+1)/1000))
	}
	seconds, err := strconv.ParseFloat(python(t, "torch_speed.py", dir), 64)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	start := time.Now()
	for i := range files {
		name := fmt.Sprintf("%03d", i)
		src, err := os.ReadFile(filepath.Join(dir, name+".pt"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := embedding.Convert(context.Background(), src, embedding.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, name+".safetensors"), r.Bytes, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ours := time.Since(start).Seconds()
	for i := range files {
		name := fmt.Sprintf("%03d.safetensors", i)
		a, errA := os.ReadFile(filepath.Join(out, name))
		b, errB := os.ReadFile(filepath.Join(dir, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("%s differs from what PyTorch wrote (%v, %v)", name, errA, errB)
		}
	}
	t.Logf("%d embeddings of F32 [8, 768]: hordeling %.0f files/s (checked, hashed and read back), PyTorch and safetensors %.0f files/s", files, files/ours, files/seconds)
}
