// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"horde/internal/hordeling/hordelingtest"
)

// runProgram runs the program in this process and returns its exit status and output.
func runProgram(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(&program{ctx: context.Background(), stdout: &out, stderr: &errs}, args)
	return status, out.String(), errs.String()
}

// built is the folder of the program that binary compiles; set once.
var built string

// compile compiles the program once for all tests that need a process of its own.
var compile = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "hordeling-test-*")
	if err != nil {
		return err
	}
	built = dir
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "hordeling"), ".").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

// binary is the path of the compiled program.
func binary(t *testing.T) string {
	t.Helper()
	if err := compile(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(built, "hordeling")
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(status)
}

func TestCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		"help":               {[]string{"--help"}, 0, "convert", ""},
		"help of serve":      {[]string{"serve", "--help"}, 0, "--civitai-url", ""},
		"help of convert":    {[]string{"convert", "--help"}, 0, "exit status is 1", ""},
		"help of inspect":    {[]string{"inspect", "--help"}, 0, "opcode", ""},
		"version":            {[]string{"--version"}, 0, "hordeling ", ""},
		"nothing":            {nil, 2, "", "expected one of"},
		"unknown flag":       {[]string{"serve", "--no-such-flag"}, 2, "", "unknown flag"},
		"no size":            {[]string{"serve", "--disk-budget", "much"}, 2, "", "is no size"},
		"no file":            {[]string{"convert"}, 2, "", "expected"},
		"file that is gone":  {[]string{"convert", "no-such-file.pt"}, 1, "", "no-such-file.pt"},
		"a folder":           {[]string{"convert", "."}, 1, "", "not a plain file"},
		"inspect of nothing": {[]string{"inspect", "no-such-file.pt"}, 1, "", "no-such-file.pt"},
	} {
		t.Run(name, func(t *testing.T) {
			status, stdout, stderr := runProgram(t, c.args...)
			if status != c.status || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("status %d\n%s\n%s", status, stdout, stderr)
			}
		})
	}
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConvert(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	good := write(t, dir, "good.pt", hordelingtest.WebUI)
	evil := write(t, dir, "evil.pt", hordelingtest.Model("\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."))
	status, stdout, stderr := runProgram(t, "convert", "--out", out, good, evil)
	if status != 1 || !strings.Contains(stdout, "[1/2] "+good+" -> "+filepath.Join(out, "good.safetensors")) || !strings.Contains(stdout, hordelingtest.WebUISHA256) ||
		!strings.Contains(stdout, "1 converted, 1 refused or failed") {
		t.Errorf("status %d\n%s", status, stdout)
	}
	if want := "[2/2] " + evil + `: refused: UnsafePickle: GLOBAL: the symbol "posix" "system" is not on the list at byte 2 of data.pkl` + "\n"; stderr != want {
		t.Errorf("got %s", stderr)
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 1 || entries[0].Name() != "good.safetensors" {
		t.Errorf("%v, %v", entries, err)
	}

	t.Run("beside its source", func(t *testing.T) {
		if status, _, stderr := runProgram(t, "convert", good); status != 0 {
			t.Error(stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, "good.safetensors")); err != nil {
			t.Error(err)
		}
	})
	t.Run("again", func(t *testing.T) {
		if status, _, stderr := runProgram(t, "convert", "--out", out, good); status != 0 {
			t.Errorf("the same result is no conflict: %s", stderr)
		}
		target := write(t, out, "good.safetensors", []byte("something else"))
		if status, _, stderr := runProgram(t, "convert", "--out", out, good); status != 1 || !strings.Contains(stderr, "--force") {
			t.Errorf("status %d: %s", status, stderr)
		}
		if data, _ := os.ReadFile(target); string(data) != "something else" {
			t.Error("it was replaced")
		}
		if status, _, stderr := runProgram(t, "convert", "--force", "--out", out, good); status != 0 {
			t.Error(stderr)
		}
		if data, _ := os.ReadFile(target); len(data) != 136 {
			t.Error("it was not replaced")
		}
	})
	t.Run("a link is not followed", func(t *testing.T) {
		victim := write(t, dir, "victim", []byte("victim"))
		links := t.TempDir()
		if err := os.Symlink(victim, filepath.Join(links, "good.safetensors")); err != nil {
			t.Fatal(err)
		}
		runProgram(t, "convert", "--out", links, good)
		runProgram(t, "convert", "--force", "--out", links, good)
		if data, _ := os.ReadFile(victim); string(data) != "victim" {
			t.Error("it was written through the link")
		}
	})
	t.Run("two of one name", func(t *testing.T) {
		other := write(t, t.TempDir(), "good.bin", hordelingtest.SDXL)
		if status, _, stderr := runProgram(t, "convert", "--out", t.TempDir(), good, other); status != 1 || !strings.Contains(stderr, "was made of") {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
	t.Run("too large", func(t *testing.T) {
		if status, _, stderr := runProgram(t, "convert", "--max-file", "500B", "--out", out, good); status != 1 || !strings.Contains(stderr, "FileTooLarge") {
			t.Errorf("status %d: %s", status, stderr)
		}
	})
}

func TestInspect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shell := "\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."
	for name, c := range map[string]struct {
		data     []byte
		contains []string
	}{
		"zip": {hordelingtest.WebUI, []string{"PyTorch zip", `data.pkl"`, "import torch._utils._rebuild_tensor_v2", "0 opcodes would have", "verdict: converted (PyTorch zip, webui)", hordelingtest.WebUISHA256}},
		"hostile zip": {hordelingtest.Model(shell), []string{
			`2 ! GLOBAL            "posix" "system"        ; import posix.system`, `! REDUCE`, `call posix.system("id",)`,
			"2 opcodes would have", "verdict: refused: UnsafePickle",
		}},
		"legacy":        {hordelingtest.Legacy, []string{"legacy stream", "the system information", "the object", "verdict: converted"}},
		"bare":          {[]byte(shell), []string{"a bare pickle", "import posix.system", "verdict: refused: CorruptFile"}},
		"not accepted":  {hordelingtest.Model("\x80\x02(ios\nsystem\n."), []string{"INST*", "call os.system()"}},
		"safetensors":   {[]byte("\x50\x00\x00\x00\x00\x00\x00\x00" + `{"__metadata__":{"a":"b"},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}` + "  z"), []string{`metadata "a" = "b"`, `tensor "x" U8 [1], 1 bytes`}},
		"web page":      {[]byte("<!doctype html>"), []string{"HTML", "verdict: refused: DownloadDenied"}},
		"nothing":       {nil, []string{"0 bytes", "verdict: refused: CorruptFile"}},
		"truncated zip": {hordelingtest.WebUI[:400], []string{"not followed further", "verdict: refused: CorruptFile"}},
		"cut program":   {hordelingtest.Model("\x80\x02X\xff\xff\xff\x7fa"), []string{"not followed further", "verdict: refused: CorruptFile"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, t.TempDir(), "file.pt", c.data)
			status, stdout, stderr := runProgram(t, "inspect", path)
			if status != 0 {
				t.Errorf("status %d %s", status, stderr)
			}
			for _, want := range c.contains {
				if !strings.Contains(stdout, want) {
					t.Errorf("%q is not in\n%s", want, stdout)
				}
			}
			if strings.ContainsAny(stdout, "\x1b\x07") {
				t.Error("a control character reaches the terminal")
			}
		})
	}
	path := write(t, dir, "evil.pt", hordelingtest.Model("\x80\x02c\x1b]0;x\x07\nsystem\n)R."))
	if _, stdout, _ := runProgram(t, "inspect", "-q", path); strings.ContainsAny(stdout, "\x1b\x07") || strings.Contains(stdout, "EMPTY_TUPLE") || !strings.Contains(stdout, "! GLOBAL") {
		t.Errorf("got %q", stdout)
	}
}

// TestOnlyPlainFilesAreOpened names a pipe that nobody writes to, a socket, a device and a folder: none may be waited for.
func TestOnlyPlainFilesAreOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, socket, link := filepath.Join(dir, "pipe.pt"), filepath.Join(dir, "s.pt"), filepath.Join(dir, "link.pt")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Symlink(pipe, link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{pipe, socket, link, dir, "/dev/zero"} {
		for _, command := range []string{"convert", "inspect"} {
			if status, _, stderr := runProgram(t, command, file); status != 1 || !strings.Contains(stderr, file+" is not a plain file") {
				t.Errorf("%s %s: status %d %s", command, file, status, stderr)
			}
		}
	}
	t.Run("a pipe where the result should be", func(t *testing.T) {
		if err := syscall.Mkfifo(filepath.Join(dir, "good.safetensors"), 0o600); err != nil {
			t.Fatal(err)
		}
		good := write(t, dir, "good.pt", hordelingtest.WebUI)
		if status, _, stderr := runProgram(t, "convert", good); status != 1 || !strings.Contains(stderr, "is there already") {
			t.Errorf("status %d %s", status, stderr)
		}
	})
}

// TestInspectMarksWhereTheVerdictFell has streams whose symbols are all on the list and are used for something else. Each
// must have exactly one mark, at the place that the verdict names.
func TestInspectMarksWhereTheVerdictFell(t *testing.T) {
	t.Parallel()
	const ordered, parameters = "ccollections\nOrderedDict\n", "ctorch.nn.modules.container\nParameterDict\n)\x81"
	legacy := hordelingtest.Legacy[:bytes.Index(hordelingtest.Legacy, []byte("}q\x00(X\x0f\x00\x00\x00string_to"))]
	for name, c := range map[string]struct{ program, op string }{
		"state of an OrderedDict":     {ordered + ")R}b", "BUILD"},
		"call of a storage type":      {"ctorch\nFloatStorage\n)R", "REDUCE"},
		"OrderedDict of a text":       {ordered + hordelingtest.Text("ab") + "\x85R", "REDUCE"},
		"class of a ParameterDict":    {parameters + hordelingtest.Dict(hordelingtest.Text("__class__"), hordelingtest.Text("x")) + "b", "BUILD"},
		"storage type left over":      {"ctorch\nFloatStorage\n", "STOP"},
		"opcode of an older protocol": {"I1\n", "INT*"},
	} {
		for container, data := range map[string][]byte{
			"zip":    hordelingtest.Model(hordelingtest.Program(c.program)),
			"legacy": append(bytes.Clone(legacy), c.program+"."...),
		} {
			path := write(t, t.TempDir(), "file.pt", data)
			_, stdout, _ := runProgram(t, "inspect", "-q", path)
			var marked []string
			for line := range strings.Lines(stdout) {
				if f := strings.Fields(line); len(f) > 2 && f[1] == "!" {
					marked = append(marked, f[0], f[2])
				}
			}
			if len(marked) != 2 || marked[1] != c.op || !strings.Contains(stdout, "\n1 opcodes would have") ||
				!strings.Contains(stdout, "verdict: refused: UnsafePickle: "+strings.TrimSuffix(c.op, "*")+": ") || !strings.Contains(stdout, " at byte "+marked[0]+" of ") {
				t.Errorf("%s in a %s: %v\n%s", name, container, marked, stdout)
			}
		}
	}
}

func TestFalseHeaderLengthsOfSafetensorsAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct{ data, want string }{
		"2g.safetensors":    {"\x00\x00\x00\x80\x00\x00\x00\x00" + `{"a":`, "CorruptFile: safetensors: a header length of 2147483648 bytes"},
		"all.SafeTensors":   {strings.Repeat("\xff", 8) + "{", "CorruptFile: safetensors: a header length of 18446744073709551615 bytes"},
		"cut.safetensors":   {strings.Repeat("\xff", 8), "CorruptFile: safetensors: a header length of 18446744073709551615 bytes"},
		"short.safetensors": {"\x01\x02", "CorruptFile: safetensors: 2 bytes are too few for a length"},
		"other.pt":          {strings.Repeat("\xff", 8) + "{", "perhaps safetensors with a header length of 18446744073709551615 bytes"},
		"page.safetensors":  {"<!doctype html>", "DownloadDenied"},
	} {
		path := write(t, dir, name, []byte(c.data))
		if status, _, stderr := runProgram(t, "convert", "--out", filepath.Join(dir, "out"), path); status != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d %s", name, status, stderr)
		}
		if _, stdout, _ := runProgram(t, "inspect", path); !strings.Contains(stdout, c.want) {
			t.Errorf("%s: %s", name, stdout)
		}
	}
}

func TestConfigurationFile(t *testing.T) {
	status, printed, _ := runProgram(t, "config")
	if status != 0 {
		t.Fatal(status)
	}
	committed, err := os.ReadFile("../../docs/hordeling.yaml")
	if err != nil || string(committed) != printed {
		t.Errorf("docs/hordeling.yaml is not what 'hordeling config' prints: %v", err)
	}
	// Every line of it, taken in, is the default.
	var active []string
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") {
			line = line[1:]
		}
		active = append(active, line)
	}
	all := write(t, t.TempDir(), "all.yaml", []byte(strings.Join(active, "")))
	if status, _, stderr := runProgram(t, "--config", all, "serve", "--listen", "no-address"); status != 1 || !strings.Contains(stderr, "no-address") {
		t.Errorf("all defaults: status %d %s", status, stderr)
	}
	listen := write(t, t.TempDir(), "listen.yaml", []byte("listen: from-file\n"))
	unknown := write(t, t.TempDir(), "unknown.yaml", []byte("lisen: x\n"))
	for name, c := range map[string]struct {
		args []string
		env  string
		want string
	}{
		"file":          {[]string{"--config", listen, "serve"}, "", "from-file"},
		"variable wins": {[]string{"--config", listen, "serve"}, "from-variable", "from-variable"},
		"flag wins":     {[]string{"--config", listen, "serve", "--listen", "from-flag"}, "from-variable", "from-flag"},
		"unknown key":   {[]string{"--config", unknown, "serve", "--listen", "x"}, "", `unknown option "lisen"`},
		"no such file":  {[]string{"--config", "no-such.yaml", "serve", "--listen", "x"}, "", "no-such.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HORDELING_DATA", t.TempDir())
			if c.env != "" {
				t.Setenv("HORDELING_LISTEN", c.env)
			}
			if status, _, stderr := runProgram(t, c.args...); status == 0 || !strings.Contains(stderr, c.want) {
				t.Errorf("status %d %s", status, stderr)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size{"0": 0, "1048576": 1 << 20, "64MiB": 64 << 20, "1.5 GiB": 3 << 29, "10GB": 1e10, "7B": 7} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "nan", "1e30GiB", "64 MiBs", "inf"} {
		var s size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, s)
		}
	}
}
