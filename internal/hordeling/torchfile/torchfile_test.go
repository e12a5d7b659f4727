// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/hordeling/hordelingtest"
	"horde/internal/hordeling/pickle"
)

func open(data []byte) (*File, error) {
	return Open(context.Background(), data, DefaultLimits())
}

// refused reports whether err is a refusal with code.
func refused(err error, code pickle.Code) bool {
	var r *pickle.Refusal
	return errors.As(err, &r) && r.Code == code
}

func TestDetect(t *testing.T) {
	t.Parallel()
	tar := make([]byte, 512)
	copy(tar[257:], "ustar")
	for name, c := range map[string]struct {
		data []byte
		want Container
	}{
		"zip":         {hordelingtest.WebUI, Zip},
		"legacy":      {hordelingtest.Legacy, Legacy},
		"legacy 3":    {[]byte("\x80\x03" + legacyMagic), Legacy},
		"legacy 5":    {[]byte("\x80\x05" + legacyFrame + legacyMagic), Legacy},
		"legacy 0":    {[]byte(legacyText), LegacyText},
		"legacy 6":    {[]byte("\x80\x06" + legacyFrame + legacyMagic), Unknown},
		"tar":         {tar, Tar},
		"safetensors": {[]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), Safetensors},
		"web page":    {[]byte("\n <!DOCTYPE html><html>"), HTML},
		"old page":    {[]byte("<HTML><body>"), HTML},
		"JSON":        {[]byte(`{"error":"login required"}`), Unknown},
		"bare pickle": {[]byte("\x80\x04N."), Unknown},
		"caffe2":      {[]byte("PYTORCH1"), Unknown},
		"7z":          {[]byte("7z\xbc\xaf\x27\x1c"), Unknown},
		"gzip":        {[]byte("\x1f\x8b\x08"), Unknown},
		"nothing":     {nil, Unknown},
	} {
		if got := Detect(c.data); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if _, err := open(c.data); (c.want == Unknown || c.want == Legacy && len(c.data) < 32) && !refused(err, pickle.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open([]byte("<html>")); !errors.Is(err, ErrHTML) {
		t.Errorf("web page: %v", err)
	}
	if _, err := open(tar); !refused(err, pickle.Unsupported) {
		t.Errorf("tar: %v", err)
	}
}

func TestFalseHeaderLengthsOfSafetensorsAreNamed(t *testing.T) {
	t.Parallel()
	for want, data := range map[string]string{
		"a header length of 2147483648 bytes, where 5 are left":           "\x00\x00\x00\x80\x00\x00\x00\x00" + `{"a":`,
		"a header length of 18446744073709551615 bytes, where 1 are left": strings.Repeat("\xff", 8) + "{",
		"a header length of 0 bytes, where 2 are left":                    strings.Repeat("\x00", 8) + "{}",
	} {
		if _, err := open([]byte(data)); !refused(err, pickle.Corrupt) || !strings.Contains(err.Error(), "safetensors with "+want) {
			t.Errorf("%q: %v", data, err)
		}
	}
	if _, err := open([]byte(`{"data":{"id":1}}`)); err == nil || !strings.Contains(err.Error(), "JSON") {
		t.Errorf("JSON: %v", err)
	}
}

func TestRealFiles(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"webui": hordelingtest.WebUI, "parameter dict": hordelingtest.ParameterDict, "legacy": hordelingtest.Legacy,
	} {
		f, err := open(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v, _ := f.Root.(*pickle.Dict).Get("string_to_param")
		if p, ok := v.(*pickle.ParameterDict); ok {
			v = p.Params
		}
		star, _ := v.(*pickle.Dict).Get("*")
		got, err := f.Data(star.(*pickle.Tensor), 1<<20)
		if err != nil || !bytes.Equal(got, hordelingtest.Floats(6, 1)) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestTruncatedAtEachByte(t *testing.T) {
	t.Parallel()
	legacy5, err := os.ReadFile("../embedding/testdata/protocols/legacy-5.pt")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"zip": hordelingtest.WebUI, "legacy": hordelingtest.Legacy, "sdxl": hordelingtest.SDXL, "legacy 5": legacy5} {
		for n := range len(data) {
			if _, err := open(data[:n]); !refused(err, pickle.Corrupt) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if _, err := open(append(bytes.Clone(data), 0)); !refused(err, pickle.Corrupt) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

var (
	program  = hordelingtest.Program(hordelingtest.Tensor("FloatStorage", "0", 2, 3))
	storage  = hordelingtest.Floats(6, 1)
	dataPkl  = hordelingtest.Entry{Name: "x/data.pkl", Data: []byte(program)}
	storage0 = hordelingtest.Entry{Name: "x/data/0", Data: storage}
)

// rewrite builds a zip with headers that the usual writer would not let pass.
func rewrite(t *testing.T, change func(*zip.FileHeader), entries ...hordelingtest.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.Name, Method: zip.Store}
		change(h)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(e.Data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// patch replaces the bytes at offset off after the last occurrence of mark.
func patch(data []byte, mark string, off int, with ...byte) []byte {
	out := bytes.Clone(data)
	copy(out[bytes.LastIndex(out, []byte(mark))+off:], with)
	return out
}

func TestZipRules(t *testing.T) {
	t.Parallel()
	entry := func(name string, data ...byte) hordelingtest.Entry {
		return hordelingtest.Entry{Name: name, Data: data}
	}
	good := hordelingtest.Zip(dataPkl, storage0)
	directory := "PK\x01\x02"
	end := "PK\x05\x06"
	many := []hordelingtest.Entry{dataPkl, storage0}
	for i := range 63 {
		many = append(many, entry(fmt.Sprintf("x/extra/%d", i)))
	}
	symlink := rewrite(t, func(h *zip.FileHeader) {
		if h.Name == "x/link" {
			h.SetMode(fs.ModeSymlink | 0o777)
		}
	}, dataPkl, storage0, entry("x/link", []byte("/etc/passwd")...))
	for name, c := range map[string]struct {
		data []byte
		code pickle.Code // "" = accepted
	}{
		"plain":                             {good, ""},
		"deflated":                          {hordelingtest.Deflated(dataPkl, storage0), ""},
		"other names are ignored":           {hordelingtest.Zip(dataPkl, storage0, entry("x/version", '3', '\n'), entry("x/.data/serialization_id", '1'), entry("x/.format_version", '1'), entry("readme.txt", 'a')), ""},
		"little-endian":                     {hordelingtest.Zip(dataPkl, storage0, entry("x/byteorder", []byte("little")...)), ""},
		"big-endian":                        {hordelingtest.Zip(dataPkl, storage0, entry("x/byteorder", []byte("big")...)), pickle.Unsupported},
		"middle-endian":                     {hordelingtest.Zip(dataPkl, storage0, entry("x/byteorder", []byte("middle")...)), pickle.Corrupt},
		"byte order of a kilobyte":          {hordelingtest.Zip(dataPkl, storage0, entry("x/byteorder", make([]byte, 1024)...)), pickle.Corrupt},
		"TorchScript constants":             {hordelingtest.Zip(dataPkl, storage0, entry("x/constants.pkl", '.')), pickle.Unsupported},
		"TorchScript code":                  {hordelingtest.Zip(dataPkl, storage0, entry("x/code/__torch__.py", 'a')), pickle.Unsupported},
		"no data.pkl":                       {hordelingtest.Zip(storage0), pickle.Corrupt},
		"data.pkl without folder":           {hordelingtest.Zip(entry("data.pkl", []byte(program)...), storage0), pickle.Corrupt},
		"two data.pkl in one folder":        {hordelingtest.Zip(dataPkl, dataPkl, storage0), pickle.Corrupt},
		"two data.pkl in two folders":       {hordelingtest.Zip(dataPkl, entry("y/data.pkl", []byte(program)...), storage0), pickle.Corrupt},
		"storage in another folder":         {hordelingtest.Zip(dataPkl, entry("y/data/0", storage...)), pickle.Corrupt},
		"storage is missing":                {hordelingtest.Zip(dataPkl), pickle.Corrupt},
		"storage of 24 for 28 bytes":        {hordelingtest.Model(hordelingtest.Program(hordelingtest.Tensor("FloatStorage", "0", 7)), storage), pickle.Corrupt},
		"storage of 24 for 20 bytes":        {hordelingtest.Model(hordelingtest.Program(hordelingtest.Tensor("FloatStorage", "0", 5)), storage), pickle.Corrupt},
		"bytes after the pickle":            {hordelingtest.Model(program+"N.", storage), pickle.Corrupt},
		"posix system":                      {hordelingtest.Model("\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."), pickle.Unsafe},
		"path that leads up":                {hordelingtest.Zip(dataPkl, storage0, entry("x/../../etc/cron.d/a", 'a')), pickle.Corrupt},
		"path that leads up at once":        {hordelingtest.Zip(dataPkl, storage0, entry("../a", 'a')), pickle.Corrupt},
		"absolute path":                     {hordelingtest.Zip(dataPkl, storage0, entry("/etc/passwd", 'a')), pickle.Corrupt},
		"drive":                             {hordelingtest.Zip(dataPkl, storage0, entry(`C:\a`, 'a')), pickle.Corrupt},
		"backslash":                         {hordelingtest.Zip(dataPkl, storage0, entry(`x\a`, 'a')), pickle.Corrupt},
		"no name":                           {hordelingtest.Zip(dataPkl, storage0, entry("")), pickle.Corrupt},
		"colon":                             {hordelingtest.Zip(dataPkl, storage0, entry(":")), ""},
		"symlink":                           {symlink, pickle.Corrupt},
		"encrypted":                         {patch(good, directory, 8, 1), pickle.Corrupt},
		"unknown method":                    {patch(good, directory, 10, 12), pickle.Corrupt},
		"wrong checksum":                    {patch(good, directory, 16, 1, 2, 3, 4), pickle.Corrupt},
		"stored with two sizes":             {patch(good, directory, 24, 25), pickle.Corrupt},
		"sizes of 4 GiB":                    {patch(good, directory, 20, 0xfe, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff), pickle.Corrupt},
		"same bytes twice":                  {patch(good, directory, 42, 0), pickle.Corrupt},
		"local header beyond the end":       {patch(good, directory, 42, 0xff, 0xff), pickle.Corrupt},
		"65 entries":                        {hordelingtest.Zip(many...), pickle.TooComplex},
		"64 entries":                        {hordelingtest.Zip(many[:64]...), ""},
		"end record says fewer":             {patch(good, end, 8, 1, 0, 1, 0), pickle.Corrupt},
		"end record says more":              {patch(good, end, 8, 3, 0, 3, 0), pickle.Corrupt},
		"directory elsewhere":               {patch(good, end, 16, 1), pickle.Corrupt},
		"something before the zip":          {append([]byte("PK\x03\x04garbage"), good...), pickle.Corrupt},
		"bytes after the end record":        {append(bytes.Clone(good), 1), pickle.Corrupt},
		"comment that is longer than it is": {patch(good, end, 20, 9), pickle.Corrupt},
		"bomb of zeros":                     {hordelingtest.Deflated(hordelingtest.Entry{Name: "x/data.pkl", Data: make([]byte, 3<<20)}), pickle.TooComplex},
		"bomb in an ignored entry":          {hordelingtest.Deflated(dataPkl, storage0, hordelingtest.Entry{Name: "x/notes", Data: make([]byte, 12<<20)}), pickle.TooComplex},
		"data.pkl of 5 MiB":                 {hordelingtest.Model("\x80\x02" + strings.Repeat("N0", 5<<19)), pickle.TooComplex},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(c.data)
			switch {
			case c.code == "" && err != nil:
				t.Error(err)
			case c.code != "" && !refused(err, c.code):
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestStoragesThatAreNotAsThePickleSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"shorter": {hordelingtest.Model(program, storage[:20]), "CorruptFile: storage 0 has 20 bytes where the pickle claims 24"},
		"longer":  {hordelingtest.Model(program, append(bytes.Clone(storage), 0)), "CorruptFile: storage 0 has 25 bytes where the pickle claims 24"},
		"empty":   {hordelingtest.Model(program, []byte{}), "CorruptFile: storage 0 has 0 bytes where the pickle claims 24"},
		"missing": {hordelingtest.Model(program), "CorruptFile: the pickle names a storage that the file does not hold in storage 0"},
	} {
		if _, err := open(c.data); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLyingSizesAllocateNothing has an entry say that few bytes inflate to many, and a directory of a million records.
func TestLyingSizesAllocateNothing(t *testing.T) {
	deflated := hordelingtest.Deflated(dataPkl, storage0)
	records := bytes.Repeat(append([]byte("PK\x01\x02"), make([]byte, 42)...), 1<<20)
	endRecord := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	binary.LittleEndian.PutUint16(endRecord[10:], 2)
	binary.LittleEndian.PutUint32(endRecord[12:], uint32(len(records)))
	binary.LittleEndian.PutUint32(endRecord[16:], 4)
	for name, data := range map[string][]byte{
		"inflates to 100 MiB":  patch(deflated, "PK\x01\x02", 24, 0, 0, 0, 6),
		"100 MiB in 1 MiB":     patch(deflated, "PK\x01\x02", 20, 0, 0, 16, 0, 0, 0, 0, 6),
		"million records":      append(append([]byte("PK\x03\x04"), records...), endRecord...),
		"million records, 64k": patch(append(append([]byte("PK\x03\x04"), records...), endRecord...), "PK\x05\x06", 8, 0, 0, 0, 0),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := open(data)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		used := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-20s %8d bytes in, %7d allocated, %v, %v", name, len(data), used, took.Round(time.Microsecond), err)
		if err == nil || used > 1<<20 {
			t.Errorf("%s: %d bytes allocated, %v", name, used, err)
		}
	}
}

// legacy builds a legacy stream from its parts.
func legacy(version, info, object, keys string, storages ...string) []byte {
	return []byte("\x80\x02" + legacyMagic + "\x80\x02" + version + ".\x80\x02" + info + ".\x80\x02" + object + ".\x80\x02" + keys + "." + strings.Join(storages, ""))
}

func TestLegacyRules(t *testing.T) {
	t.Parallel()
	const version = "M\xe9\x03"
	info := func(little string) string {
		return hordelingtest.Dict(hordelingtest.Text("protocol_version"), version, hordelingtest.Text("little_endian"), little, hordelingtest.Text("type_sizes"), "}")
	}
	id := func(key string, n int) string {
		return hordelingtest.Tuple(hordelingtest.Text("storage"), "ctorch\nShortStorage\n", hordelingtest.Text(key), hordelingtest.Text("cpu"), hordelingtest.Int(n), "N") + "Q"
	}
	list := func(keys ...string) string {
		out := "]("
		for _, k := range keys {
			out += hordelingtest.Text(k)
		}
		return out + "e"
	}
	two := "\x02\x00\x00\x00\x00\x00\x00\x00abcd"
	for name, c := range map[string]struct {
		data []byte
		code pickle.Code
	}{
		"plain":                       {legacy(version, info("\x88"), id("7", 2), list("7"), two), ""},
		"two storages":                {legacy(version, info("\x88"), id("8", 2)+id("7", 2)+"\x86", list("7", "8"), two, two), ""},
		"no storages":                 {legacy(version, info("\x88"), "N", list()), ""},
		"other version":               {legacy("K\x01", info("\x88"), id("7", 2), list("7"), two), pickle.Corrupt},
		"version is True":             {legacy("\x88", info("\x88"), id("7", 2), list("7"), two), pickle.Corrupt},
		"big-endian":                  {legacy(version, info("\x89"), id("7", 2), list("7"), two), pickle.Unsupported},
		"no byte order":               {legacy(version, info("N"), id("7", 2), list("7"), two), pickle.Corrupt},
		"information is a list":       {legacy(version, "]", id("7", 2), list("7"), two), pickle.Corrupt},
		"information of version 5":    {legacy(version, hordelingtest.Dict(hordelingtest.Text("protocol_version"), "K\x05"), id("7", 2), list("7"), two), pickle.Corrupt},
		"count differs":               {legacy(version, info("\x88"), id("7", 3), list("7"), two), pickle.Corrupt},
		"count of 2^63":               {legacy(version, info("\x88"), id("7", 2), list("7"), "\x00\x00\x00\x00\x00\x00\x00\x80abcd"), pickle.Corrupt},
		"storage ends early":          {legacy(version, info("\x88"), id("7", 2), list("7"), two[:11]), pickle.Corrupt},
		"bytes after the last":        {legacy(version, info("\x88"), id("7", 2), list("7"), two, "x"), pickle.Corrupt},
		"storage is not listed":       {legacy(version, info("\x88"), id("7", 2), list()), pickle.Corrupt},
		"storage is listed twice":     {legacy(version, info("\x88"), id("7", 2), list("7", "7"), two, two), pickle.Corrupt},
		"listed and not used":         {legacy(version, info("\x88"), id("7", 2), list("7", "8"), two, two), pickle.Corrupt},
		"keys are numbers":            {legacy(version, info("\x88"), id("7", 2), "](K\x07e", two), pickle.Corrupt},
		"keys are no list":            {legacy(version, info("\x88"), id("7", 2), "}", two), pickle.Corrupt},
		"posix system in the object":  {legacy(version, info("\x88"), "cposix\nsystem\n)R", list()), pickle.Unsafe},
		"posix system in the version": {legacy("cposix\nsystem\n)R", info("\x88"), "N", list()), pickle.Unsafe},
		"posix system in the keys":    {legacy(version, info("\x88"), "N", "cposix\nsystem\n)R"), pickle.Unsafe},
		"storage in the information":  {legacy(version, id("7", 2), "N", list()), pickle.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(c.data)
			switch {
			case c.code == "" && err != nil:
				t.Error(err)
			case c.code != "" && !refused(err, c.code):
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

// TestLegacyStreamsOfOlderProtocols has hostile and broken pickles in each part of a stream that is not read anyway.
func TestLegacyStreamsOfOlderProtocols(t *testing.T) {
	t.Parallel()
	const evil = "cos\nsystem\n(Vid\ntR."
	for name, c := range map[string]struct {
		parts string
		code  pickle.Code
		want  string
	}{
		"harmless":               {"I1001\n.(dp0\n.N.(lp0\n.", pickle.Unsupported, "protocols 0 and 1"},
		"call in the version":    {evil, pickle.Unsafe, "GLOBAL: it would import os.system at byte 28 of the version"},
		"call in the object":     {"I1001\n.(dp0\n." + evil + "(lp0\n.", pickle.Unsafe, "of the object"},
		"call in the last":       {"I1001\n.(dp0\n.N." + evil, pickle.Unsafe, "of the list of storages"},
		"instance":               {"I1001\n.(dp0\n.(ios\nsystem\n.(lp0\n.", pickle.Unsafe, "INST: it would call os.system()"},
		"ends after two parts":   {"I1001\n.(dp0\n.", pickle.Corrupt, "of the object"},
		"ends in the middle":     {"I1001\n.(dp0\n.Vab", pickle.Corrupt, "of the object"},
		"storages do not matter": {"I1001\n.(dp0\n.N.(lp0\n." + evil, pickle.Unsupported, "protocols 0 and 1"},
	} {
		data := []byte(legacyText + c.parts)
		if _, err := open(data); !refused(err, c.code) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if streams, _, err := Streams(data, DefaultLimits()); err != nil || len(streams) < 2 {
			t.Errorf("%s: %d streams, %v", name, len(streams), err)
		}
	}
}

func TestOffsetsOfALegacyStreamCountFromItsStart(t *testing.T) {
	t.Parallel()
	data := legacy("M\xe9\x03", "cos\nsystem\n)R", "N", "]")
	_, err := open(data)
	var r *pickle.Refusal
	if !errors.As(err, &r) || r.Offset != int64(bytes.Index(data, []byte("cos\n"))) {
		t.Errorf("got %v", err)
	}
}

func TestExpandedTensorsAreBounded(t *testing.T) {
	t.Parallel()
	model := hordelingtest.Model(hordelingtest.Program(hordelingtest.StridedTensor("FloatStorage", "0", 1, 0, []int{4096, 16384}, []int{0, 0})), storage[:4])
	f, err := open(model)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Data(f.Root.(*pickle.Tensor), 64<<20); !refused(err, pickle.TooComplex) {
		t.Errorf("256 MiB out of 4 bytes: %v", err)
	}
}

// TestDataGathersByStrides compares Data with the plain definition of a strided view.
func TestDataGathersByStrides(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape")
		strides := rapid.SliceOfN(rapid.IntRange(0, 5), len(shape), len(shape)).Draw(t, "strides")
		if rapid.Bool().Draw(t, "contiguous") {
			n := 1
			for k := len(shape) - 1; k >= 0; k-- {
				strides[k] = n
				n *= max(shape[k], 1)
			}
		}
		offset := rapid.IntRange(0, 3).Draw(t, "offset")
		last := offset
		for k := range shape {
			last += max(shape[k]-1, 0) * strides[k]
		}
		bytesIn := hordelingtest.Floats(last+1, 1)
		f, err := open(hordelingtest.Model(hordelingtest.Program(hordelingtest.StridedTensor("FloatStorage", "0", last+1, offset, shape, strides)), bytesIn))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		var walk func(k, at int)
		walk = func(k, at int) {
			if k == len(shape) {
				want = append(want, bytesIn[4*at:4*at+4]...)
				return
			}
			for i := range shape[k] {
				walk(k+1, at+i*strides[k])
			}
		}
		walk(0, offset)
		got, err := f.Data(f.Root.(*pickle.Tensor), 1<<20)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x, %v", got, want, err)
		}
	})
}

// fuzzOpen is the property of both containers: a file whose tensors can be gathered, or a refusal; and streams to look at
// whatever the data are.
func fuzzOpen(t *testing.T, data []byte) {
	streams, _, err := Streams(data, DefaultLimits())
	var refusal *pickle.Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("an error that is no refusal: %v", err)
	}
	for _, s := range streams {
		if int64(len(s.Data)) > max(int64(len(data)), DefaultLimits().Pickle.StreamBytes) {
			t.Fatalf("a stream of %d bytes", len(s.Data))
		}
	}
	f, err := open(data)
	if err != nil {
		var r *pickle.Refusal
		if !errors.As(err, &r) && !errors.Is(err, ErrHTML) {
			t.Fatalf("an error that is no refusal: %v", err)
		}
		return
	}
	if tensor, ok := f.Root.(*pickle.Tensor); ok {
		got, err := f.Data(tensor, 1<<20)
		if n, fits := tensor.Elements(); err == nil && (!fits || int64(len(got)) != n*tensor.Storage.Type.Size) {
			t.Fatalf("%d bytes for %+v", len(got), tensor)
		}
	}
}

func FuzzOpenZip(f *testing.F) {
	f.Add(hordelingtest.WebUI)
	f.Add(hordelingtest.ParameterDict)
	f.Add(hordelingtest.SDXL)
	f.Add(hordelingtest.Deflated(dataPkl, storage0))
	f.Add(hordelingtest.Zip(dataPkl, storage0))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzOpen(t, data)
		fuzzOpen(t, append([]byte(zipMagic), data...))
	})
}

func FuzzOpenLegacy(f *testing.F) {
	const magic = "\x80\x02" + legacyMagic
	f.Add(hordelingtest.Legacy[len(magic):])
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzOpen(t, append([]byte(magic), data...))
		fuzzOpen(t, append([]byte(legacyText), data...))
	})
}
