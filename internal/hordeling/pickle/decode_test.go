// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// storageID is the tuple that names a float storage of n elements under key, in a zip.
func storageID(typ, key string, n byte) string {
	return "(U\x07storage" + "ctorch\n" + typ + "\n" + "U" + string(rune(len(key))) + key + "U\x03cpuK" + string(rune(n)) + "tQ"
}

// tensorOver is a call of _rebuild_tensor_v2 on what storage pushes.
func tensorOver(storage, offset, size, stride string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + "\x89}tR"
}

func decodeString(s string, d Dialect) (*Result, error) {
	return Decode(context.Background(), []byte(s), Options{Dialect: d})
}

func TestDecodeYieldsData(t *testing.T) {
	t.Parallel()
	magic, _ := hex.DecodeString("8a0a6cfc9c46f9206aa85019")
	for name, c := range map[string]struct {
		stream string
		want   Value
	}{
		"none":                                {"\x80\x02N.", nil},
		"true":                                {"\x80\x02\x88.", true},
		"false":                               {"\x80\x02\x89.", false},
		"small integer":                       {"\x80\x02K\xff.", int64(255)},
		"two-byte integer":                    {"\x80\x02M\x09\x01.", int64(265)},
		"negative integer":                    {"\x80\x02J\xfe\xff\xff\xff.", int64(-2)},
		"long of no bytes":                    {"\x80\x02\x8a\x00.", int64(0)},
		"long of one byte":                    {"\x80\x02\x8a\x01\x80.", int64(-128)},
		"long of eight bytes":                 {"\x80\x02\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", int64(math.MaxInt64)},
		"long with sign byte":                 {"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00.", int64(math.MaxInt64)},
		"magic number of a legacy stream":     {"\x80\x02" + string(magic) + ".", Magic{}},
		"float":                               {"\x80\x02G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		"unicode":                             {"\x80\x02X\x02\x00\x00\x00\xc3\xa4.", "ä"},
		"lone surrogate":                      {"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.", "\xed\xa0\x80"},
		"short unicode":                       {"\x80\x04\x8c\x01a.", "a"},
		"python 2 string":                     {"\x80\x02U\x01a.", "a"},
		"python 2 string that is not ASCII":   {"\x80\x02U\x01\xff.", Bytes("\xff")},
		"python 2 long string":                {"\x80\x02T\x01\x00\x00\x00a.", "a"},
		"bytes":                               {"\x80\x03C\x01\xff.", Bytes("\xff")},
		"long bytes":                          {"\x80\x03B\x01\x00\x00\x00a.", Bytes("a")},
		"empty set is opaque":                 {"\x80\x04\x8f(K\x01\x90.", Opaque{Name: "set", isSet: true}},
		"called opaque symbol":                {"\x80\x02ctorch\ndevice\nU\x03cpu\x85R.", Opaque{Name: "torch.device"}},
		"state of an opaque value is ignored": {"\x80\x02cnumpy\ndtype\nU\x02f4\x85R}b.", Opaque{Name: "numpy.dtype"}},
		"set of Python 2":                     {"\x80\x02c__builtin__\nset\n]\x85R.", Opaque{Name: "builtins.set", isSet: true}},
		"memo":                                {"\x80\x02K\x07q\x05h\x05\x86.", &Tuple{Items: []Value{int64(7), int64(7)}, depth: 1}},
		"memoize numbers its slots":           {"\x80\x04K\x07\x94K\x08\x94h\x01\x87.", &Tuple{Items: []Value{int64(7), int64(8), int64(8)}, depth: 1}},
		"tuple in a frame":                    {"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01K\x02\x86.", &Tuple{Items: []Value{int64(1), int64(2)}, depth: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeString(c.stream, Plain)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Root, c.want) {
				t.Errorf("got %#v, want %#v", got.Root, c.want)
			}
			if got.Consumed != int64(len(c.stream)) {
				t.Errorf("consumed %d of %d bytes", got.Consumed, len(c.stream))
			}
		})
	}
}

func TestDictsKeepOrderAndTheLastValue(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("\x80\x02}(")
	for i := range 40 {
		fmt.Fprintf(&b, "U\x02%02dK%c", i%20, i)
	}
	b.WriteString("K\x05K\x06" + "ctorch\nfloat32\nK\x01" + "u.")
	got, err := decodeString(b.String(), Plain)
	if err != nil {
		t.Fatal(err)
	}
	d := got.Root.(*Dict)
	if d.Len() != 21 {
		t.Fatalf("%d pairs, want 21: an opaque key drops its pair", d.Len())
	}
	for i, item := range d.Items()[:20] {
		if want := fmt.Sprintf("%02d", i); item.Key != StrKey(want) || item.Value != int64(i+20) {
			t.Errorf("pair %d is %v: %v", i, item.Key, item.Value)
		}
	}
	if v, ok := d.get(Key{Int: 5, IsInt: true}); !ok || v != int64(6) {
		t.Errorf("integer key: %v %v", v, ok)
	}
	if _, ok := d.Get("5"); ok {
		t.Error("the integer 5 is found under the string 5")
	}
}

func TestParameterDictTakesItsParameters(t *testing.T) {
	t.Parallel()
	state := "}(U\x0b_parametersccollections\nOrderedDict\n]]U\x01*aK\x03aa\x85RU\x08training\x88u"
	got, err := decodeString("\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81"+state+"b.", Plain)
	if err != nil {
		t.Fatal(err)
	}
	p := got.Root.(*ParameterDict)
	if v, ok := p.Params.Get("*"); !ok || v != int64(3) {
		t.Errorf("parameter * is %v, %v", v, ok)
	}
}

func TestTensorsAreViewsOfStorages(t *testing.T) {
	t.Parallel()
	stream := "\x80\x02" + tensorOver(storageID("HalfStorage", "0", 12), "K\x01", "K\x02K\x04\x86", "K\x01K\x03\x86") + "."
	got, err := decodeString(stream, Zip)
	if err != nil {
		t.Fatal(err)
	}
	tensor := got.Root.(*Tensor)
	want := &Tensor{
		Storage: &Storage{Key: "0", Type: StorageType{"HalfStorage", F16, 2}, Count: 12},
		Offset:  1, Size: []int64{2, 4}, Stride: []int64{1, 3},
	}
	if !reflect.DeepEqual(tensor, want) {
		t.Errorf("got %+v", tensor)
	}
	if len(got.Storages) != 1 || got.Storages[0] != tensor.Storage {
		t.Errorf("storages %v", got.Storages)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	unhex := func(s string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	storage := storageID("FloatStorage", "0", 12)
	for name, c := range map[string]struct {
		stream string
		code   Code
		offset int64
	}{
		"posix system":                      {unhex("80 02 63 70 6f 73 69 78 0a 73 79 73 74 65 6d 0a 58 04 00 00 00 74 72 75 65 85 52 2e"), Unsafe, 2},
		"os system by STACK_GLOBAL":         {unhex("80 04 8c 02 6f 73 8c 06 73 79 73 74 65 6d 93 29 52 2e"), Unsafe, 14},
		"call of a storage type":            {unhex("80 02 63 74 6f 72 63 68 0a 46 6c 6f 61 74 53 74 6f 72 61 67 65 0a 29 52 2e"), Unsafe, 23},
		"no STOP":                           {unhex("80 02 7d"), Corrupt, 3},
		"EXT1":                              {unhex("80 02 82 01 2e"), Unsafe, 2},
		"string of 2 GiB":                   {unhex("80 02 58 ff ff ff 7f 61 2e"), Corrupt, 2},
		"frame of 2^63 bytes":               {"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x80N.", Corrupt, 2},
		"frame beyond the end":              {"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00N.", Corrupt, 2},
		"frame in a frame":                  {"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", Corrupt, 11},
		"opcode across the end of a frame":  {"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00K\x01.", Corrupt, 11},
		"negative string length":            {"\x80\x02T\xff\xff\xff\xff.", Corrupt, 2},
		"string beyond the limit":           {"\x80\x02X\x01\x00\x10\x00" + strings.Repeat("a", 1<<20+1) + ".", TooComplex, 2},
		"long beyond the limit":             {"\x80\x02\x8a\x11" + strings.Repeat("\x00", 17) + ".", TooComplex, 2},
		"integer of 72 bits":                {"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", Unsupported, 2},
		"integer of 64 bits without sign":   {"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.", Unsupported, 2},
		"GLOBAL line beyond the limit":      {"\x80\x02c" + strings.Repeat("a", 129) + "\nb\n.", TooComplex, 2},
		"GLOBAL without second line":        {"\x80\x02ctorch\nFloat", Corrupt, 2},
		"not UTF-8":                         {"\x80\x02X\x01\x00\x00\x00\xff.", Corrupt, 2},
		"protocol 1":                        {"\x80\x01N.", Unsupported, 0},
		"protocol 6":                        {"\x80\x06N.", Unsupported, 0},
		"no PROTO":                          {"N.", Unsupported, 0},
		"PROTO twice":                       {"\x80\x02\x80\x02N.", Corrupt, 2},
		"INST":                              {"\x80\x02(ios\nsystem\n.", Unsafe, 3},
		"OBJ":                               {"\x80\x02(cos\nsystem\no.", Unsafe, 3},
		"OBJ of an allowed symbol":          {"\x80\x02(ccollections\nOrderedDict\no.", Unsafe, 28},
		"NEWOBJ_EX":                         {"\x80\x04N)}\x92.", Unsafe, 5},
		"EXT2":                              {"\x80\x02\x83\x01\x00.", Unsafe, 2},
		"EXT4":                              {"\x80\x02\x84\x01\x00\x00\x00.", Unsafe, 2},
		"PERSID":                            {"\x80\x02Pid\n.", Unsafe, 2},
		"text integer":                      {"\x80\x02I1\n.", Unsafe, 2},
		"text string":                       {"\x80\x02S'a'\n.", Unsafe, 2},
		"DUP":                               {"\x80\x02N2.", Unsafe, 3},
		"POP":                               {"\x80\x02NN0.", Unsafe, 4},
		"POP_MARK":                          {"\x80\x02(1.", Unsafe, 3},
		"LONG4 of 2 GiB":                    {"\x80\x02\x8b\xff\xff\xff\x7f.", Unsafe, 2},
		"BINUNICODE8 of 2^63 bytes":         {"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x80.", Unsafe, 2},
		"BYTEARRAY8 of 2^63 bytes":          {"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x80.", Unsafe, 2},
		"NEXT_BUFFER":                       {"\x80\x05\x97.", Unsafe, 2},
		"FROZENSET":                         {"\x80\x04(\x91.", Unsafe, 3},
		"no opcode":                         {"\x80\x02\xff.", Unsafe, 2},
		"allowed name in another module":    {"\x80\x02cbuiltins\nOrderedDict\n.", Unsafe, 2},
		"dotted name":                       {"\x80\x04\x8c\x05torch\x8c\x14FloatStorage.__new__\x93.", Unsafe, 31},
		"module that is no string":          {"\x80\x04N\x8c\x01a\x93.", Corrupt, 6},
		"name with a prefix that is listed": {"\x80\x02ctorch\nfloat32.__class__\n.", Unsafe, 2},
		"load from bytes":                   {"\x80\x02ctorch.storage\n_load_from_bytes\n.", Unsafe, 2},
		"untyped storage":                   {"\x80\x02ctorch.storage\nUntypedStorage\n.", Unsupported, 2},
		"quantised tensor":                  {"\x80\x02ctorch._utils\n_rebuild_qtensor\n.", Unsupported, 2},
		"call of a string":                  {"\x80\x02U\x02os)R.", Unsafe, 7},
		"call of a call's result":           {"\x80\x02ctorch\ndevice\n)R)R.", Unsafe, 19},
		"call with a list":                  {"\x80\x02ctorch\ndevice\n]R.", Unsafe, 17},
		"OrderedDict of a dict":             {"\x80\x02ccollections\nOrderedDict\n}\x85R.", Unsafe, 29},
		"OrderedDict with two arguments":    {"\x80\x02ccollections\nOrderedDict\n]]\x86R.", Unsafe, 30},
		"OrderedDict of no pairs":           {"\x80\x02ccollections\nOrderedDict\n]Na\x85R.", Unsafe, 31},
		"instance of OrderedDict":           {"\x80\x02ccollections\nOrderedDict\n)\x81.", Unsafe, 28},
		"instance of a set":                 {"\x80\x02cbuiltins\nset\n)\x81.", Unsafe, 17},
		"instance of a string":              {"\x80\x02U\x01a)\x81.", Unsafe, 6},
		"ParameterDict with arguments":      {"\x80\x02ctorch.nn.modules.container\nParameterDict\n}\x85\x81.", Unsafe, 46},
		"state of a dict":                   {"\x80\x02}}b.", Unsafe, 4},
		"state of a symbol":                 {"\x80\x02ctorch\nfloat32\n}b.", Unsafe, 18},
		"state that is no dict":             {"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81Nb.", Unsafe, 47},
		"state with hooks":                  {"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81}U\x0c__setstate__Nsb.", Unsafe, 63},
		"persistent id without container":   {"\x80\x02" + storage + ".", Corrupt, 43},
		"storage type as a value":           {"\x80\x02ctorch\nFloatStorage\n.", Unsafe, 22},
		"storage type in a list":            {"\x80\x02](ctorch\nFloatStorage\ne.", Unsafe, 25},
		"pop below a mark":                  {"\x80\x02N(a.", Corrupt, 4},
		"tuple below a mark":                {"\x80\x02NN(\x86.", Corrupt, 5},
		"TUPLE without mark":                {"\x80\x02t.", Corrupt, 2},
		"memo slot that is empty":           {"\x80\x02h\x07.", Corrupt, 2},
		"memo of nothing":                   {"\x80\x02q\x00.", Corrupt, 2},
		"STOP on an empty stack":            {"\x80\x02.", Corrupt, 2},
		"STOP with two values":              {"\x80\x02NN.", Corrupt, 4},
		"STOP with an open mark":            {"\x80\x02N(.", Corrupt, 4},
		"APPEND to a dict":                  {"\x80\x02}Na.", Corrupt, 4},
		"SETITEM on a list":                 {"\x80\x02]NNs.", Corrupt, 5},
		"SETITEMS with an odd count":        {"\x80\x02}(Nu.", Corrupt, 5},
		"ADDITEMS to a list":                {"\x80\x04](N\x90.", Corrupt, 5},
		"float as a key":                    {"\x80\x02}G\x00\x00\x00\x00\x00\x00\x00\x00Ns.", Unsupported, 13},
		"list that contains itself":         {"\x80\x02]q\x00h\x00a.", Corrupt, 7},
		"dict that contains itself":         {"\x80\x02}q\x00K\x01h\x00s.", Corrupt, 9},
		"two lists that contain each other": {"\x80\x02]q\x00]q\x01h\x00aah\x00.", Corrupt, 0},
		"nested tuples":                     {"\x80\x02N" + strings.Repeat("\x85", 1000) + ".", TooComplex, 3 + 64},
		"nested lists":                      {"\x80\x02](" + strings.Repeat("](", 63) + "]" + strings.Repeat("e", 64) + ".", TooComplex, 0},
		"65 marks":                          {"\x80\x02" + strings.Repeat("(", 65) + ".", TooComplex, 2 + 64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeString(c.stream, Plain)
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("got %v, %v", got, err)
			}
			if r.Code != c.code || c.offset > 0 && r.Offset != c.offset {
				t.Errorf("got %v, want %s at %d", r, c.code, c.offset)
			}
		})
	}
}

func TestTensorAndStorageChecks(t *testing.T) {
	t.Parallel()
	f := func(n byte) string { return storageID("FloatStorage", "0", n) }
	two := func(a, b string) string { return a + b + "\x86" }
	big := "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"
	ref := "ctorch._utils\n_rebuild_tensor\n"
	for name, c := range map[string]struct {
		body string
		code Code // "" = accepted
	}{
		"last element is the storage's last":   {tensorOver(f(12), "K\x01", two("K\x02", "K\x04"), two("K\x01", "K\x03")) + "", ""},
		"last element is one beyond":           {tensorOver(f(12), "K\x02", two("K\x02", "K\x04"), two("K\x01", "K\x03")), Corrupt},
		"scalar":                               {tensorOver(f(1), "K\x00", ")", ")"), ""},
		"scalar of an empty storage":           {tensorOver(f(0), "K\x00", ")", ")"), Corrupt},
		"no elements of an empty storage":      {tensorOver(f(0), "K\x00", "K\x00\x85", "K\x01\x85"), ""},
		"stride 0":                             {tensorOver(f(1), "K\x00", two("K\x09", "K\x09"), two("K\x00", "K\x00")), ""},
		"sizes whose product overflows":        {tensorOver(f(1), "K\x00", two(big, big), two("K\x00", "K\x00")), ""},
		"stride times size overflows":          {tensorOver(f(9), "K\x00", two("K\x05", "K\x05"), two(big, big)), Corrupt},
		"offset of 2^63-1":                     {tensorOver(f(9), big, "K\x02\x85", big+"\x85"), Corrupt},
		"negative offset":                      {tensorOver(f(9), "J\xff\xff\xff\xff", "K\x02\x85", "K\x01\x85"), Corrupt},
		"negative stride":                      {tensorOver(f(9), "K\x08", "K\x02\x85", "J\xff\xff\xff\xff\x85"), Corrupt},
		"bool as size":                         {tensorOver(f(9), "K\x00", "\x88\x85", "K\x01\x85"), Corrupt},
		"list as size":                         {tensorOver(f(9), "K\x00", "](K\x01e", "K\x01\x85"), Corrupt},
		"ranks differ":                         {tensorOver(f(9), "K\x00", "K\x01\x85", two("K\x01", "K\x01")), Corrupt},
		"nine dimensions":                      {tensorOver(f(9), "K\x00", "("+strings.Repeat("K\x01", 9)+"t", "("+strings.Repeat("K\x01", 9)+"t"), TooComplex},
		"tensor over a string":                 {tensorOver("U\x01a", "K\x00", ")", ")"), Unsafe},
		"old rebuilder":                        {ref + "(" + f(9) + "K\x00K\x09\x85K\x01\x85tR", ""},
		"old rebuilder with too many":          {ref + "(" + f(9) + "K\x00K\x09\x85K\x01\x85NtR", Unsafe},
		"parameter":                            {"ctorch._utils\n_rebuild_parameter\n(" + tensorOver(f(1), "K\x00", ")", ")") + "\x88}tR", ""},
		"parameter with state":                 {"ctorch._utils\n_rebuild_parameter_with_state\n(" + tensorOver(f(1), "K\x00", ")", ")") + "\x88}}tR", ""},
		"parameter of a list":                  {"ctorch._utils\n_rebuild_parameter\n(]\x88}tR", Unsafe},
		"same storage twice":                   {f(9) + f(9) + "\x86", ""},
		"same key with another count":          {f(9) + f(8) + "\x86", Corrupt},
		"same key with another type":           {f(9) + storageID("IntStorage", "0", 9) + "\x86", Corrupt},
		"opaque type":                          {storageID("float32", "0", 9), Corrupt},
		"key with a path":                      {storageID("FloatStorage", "../0", 9), Corrupt},
		"key of 21 digits":                     {storageID("FloatStorage", strings.Repeat("1", 21), 9), Corrupt},
		"negative count":                       {"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuJ\xff\xff\xff\xfftQ", Corrupt},
		"count of 2^63-1":                      {"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + big + "tQ", Corrupt},
		"legacy tuple in a zip":                {"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01NtQ", Corrupt},
		"module tuple in a zip":                {"(U\x06modulectorch\nfloat32\nU\x01aU\x01btQ", Corrupt},
		"something else than a storage":        {"(U\x07postagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ", Corrupt},
		"persistent id that is no tuple":       {"U\x01aQ", Corrupt},
		"persistent id of nothing":             {")Q", Corrupt},
		"location may be anything":             {"(U\x07storagectorch\nFloatStorage\nU\x010NK\x01tQ", ""},
		"storage type by way of the memo only": {"ctorch\nFloatStorage\nq\x00U\x01a\x86", Unsafe},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decodeString("\x80\x02"+c.body+".", Zip)
			var r *Refusal
			switch {
			case c.code == "" && err != nil:
				t.Fatal(err)
			case c.code != "" && (!errors.As(err, &r) || r.Code != c.code):
				t.Fatalf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestLegacyPersistentIDs(t *testing.T) {
	t.Parallel()
	id := func(view string) string {
		return "\x80\x02(U\x07storagectorch\nFloatStorage\nU\x0542424U\x03cpuK\x01" + view + "tQ."
	}
	if got, err := decodeString(id("N"), Legacy); err != nil || got.Root.(*Storage).Key != "42424" {
		t.Errorf("got %v, %v", got, err)
	}
	var r *Refusal
	if _, err := decodeString(id("U\x0242K\x00K\x01\x87"), Legacy); !errors.As(err, &r) || r.Code != Unsupported {
		t.Errorf("a storage view: %v", err)
	}
	module := "\x80\x02(U\x06modulectorch.nn.modules.container\nParameterDict\nU\x01aU\x01btQ)\x81."
	if got, err := decodeString(module, Legacy); err != nil {
		t.Error(err)
	} else if _, ok := got.Root.(*ParameterDict); !ok {
		t.Errorf("got %#v", got.Root)
	}
	if _, err := decodeString("\x80\x02(U\x06moduleU\x02osU\x01aU\x01btQ.", Legacy); !errors.As(err, &r) || r.Code != Corrupt {
		t.Errorf("a module that is a string: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	manyStorages := "\x80\x02("
	for i := range 65 {
		manyStorages += storageID("FloatStorage", fmt.Sprint(100+i), 1)
	}
	manyTensors := "\x80\x02" + storageID("FloatStorage", "0", 1) + "q\x00("
	for range 65 {
		manyTensors += tensorOver("h\x00", "K\x00", ")", ")")
	}
	memo := []byte("\x80\x02N")
	for i := range 65537 {
		memo = append(memo, 'r', byte(i), byte(i>>8), byte(i>>16), 0xff)
	}
	for name, stream := range map[string]string{
		"storages":      manyStorages + "t.",
		"tensors":       manyTensors + "t\x86.",
		"opcodes":       "\x80\x02" + strings.Repeat("]Na", 70_000) + ".",
		"stack":         "\x80\x02" + strings.Repeat("N", 100_001) + ".",
		"memo":          string(memo) + ".",
		"copied lists":  "\x80\x02](" + strings.Repeat("U\x01aN\x86", 30_000) + "eq\x00" + strings.Repeat("ccollections\nOrderedDict\nh\x00\x85R", 1000) + ".",
		"stream length": "\x80\x02" + strings.Repeat("B\x00\x00\x10\x00"+strings.Repeat("a", 1<<20), 4) + ".",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decodeString(stream, Zip)
			var r *Refusal
			if !errors.As(err, &r) || r.Code != TooComplex {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDecodeStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Decode(ctx, []byte("\x80\x02N."), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestMemoryFollowsTheStream decodes streams that make the most of each byte and compares what the machine allocated
// with the length of the stream.
func TestMemoryFollowsTheStream(t *testing.T) {
	const perByte, base = 512, 1 << 20
	for name, stream := range map[string]string{
		"dicts":         "\x80\x02(" + strings.Repeat("}", 90_000) + "t.",
		"lists":         "\x80\x02(" + strings.Repeat("]", 90_000) + "t.",
		"tuples":        "\x80\x02(" + strings.Repeat("N\x85", 90_000) + "t.",
		"memo":          "\x80\x04(" + strings.Repeat("N\x94", 60_000) + "t.",
		"long dict":     "\x80\x02}(" + strings.Repeat("M\x01\x02N", 49_000) + "u.",
		"shared tuples": "\x80\x02N" + strings.Repeat("q\x00h\x00\x86", 60) + ".",
		"announced":     "\x80\x02B\xff\xff\xff\x7fa.",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := decodeString(stream, Plain)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		used := after.TotalAlloc - before.TotalAlloc
		t.Logf("%-14s %7d bytes in, %9d bytes allocated, %8v, %v", name, len(stream), used, took.Round(time.Microsecond), err)
		if limit := uint64(len(stream)*perByte + base); used > limit {
			t.Errorf("%s: %d bytes allocated, more than %d", name, used, limit)
		}
	}
}

func TestTruncatedAtEachByteIsCorrupt(t *testing.T) {
	t.Parallel()
	stream := "\x80\x02}U\x0fstring_to_param}U\x01*" +
		tensorOver(storageID("FloatStorage", "0", 6), "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86") + "ss."
	if _, err := decodeString(stream, Zip); err != nil {
		t.Fatal(err)
	}
	for n := range len(stream) {
		_, err := decodeString(stream[:n], Zip)
		var r *Refusal
		if !errors.As(err, &r) || r.Code != Corrupt {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// TestElementIndexStaysInside checks the bounds test of tensors against the plain enumeration of all their elements.
func TestElementIndexStaysInside(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tensor := Tensor{
			Storage: &Storage{Type: StorageType{"ByteStorage", U8, 1}, Count: rapid.Int64Range(0, 40).Draw(t, "count")},
			Offset:  rapid.Int64Range(0, 10).Draw(t, "offset"),
			Size:    rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 3).Draw(t, "size"),
		}
		for range tensor.Size {
			tensor.Stride = append(tensor.Stride, rapid.Int64Range(0, 9).Draw(t, "stride"))
		}
		inside := true
		var walk func(dim int, index int64)
		walk = func(dim int, index int64) {
			if dim == len(tensor.Size) {
				inside = inside && index < tensor.Storage.Count
				return
			}
			for i := range tensor.Size[dim] {
				walk(dim+1, index+i*tensor.Stride[dim])
			}
		}
		walk(0, tensor.Offset)
		if got := tensor.fits(); got != inside {
			t.Fatalf("fits %v, enumerated %v: %+v", got, inside, tensor)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"\x80\x02}U\x0fstring_to_param}U\x01*" + tensorOver(storageID("FloatStorage", "0", 6), "K\x00", "K\x02K\x03\x86", "K\x03K\x01\x86") + "ss.",
		"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
		"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01K\x02\x86.",
		"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81}U\x0b_parameters}sb.",
		"\x80\x02ccollections\nOrderedDict\n]]U\x01*aK\x03aa\x85R.",
	} {
		f.Add([]byte(s), uint8(Zip))
	}
	f.Fuzz(func(t *testing.T, data []byte, dialect uint8) {
		got, err := Decode(context.Background(), data, Options{Dialect: Dialect(dialect % 3)})
		if err == nil {
			checkDecoded(t, got, len(data))
		} else if r := (*Refusal)(nil); !errors.As(err, &r) {
			t.Fatalf("an error that is no refusal: %v", err)
		}
		_, err = Trace(context.Background(), data, func(s Step) error {
			if len(s.Effect) > 20*exprTextLimit || len(s.Operand) > 20*exprTextLimit {
				t.Fatalf("a text of %d bytes", len(s.Effect)+len(s.Operand))
			}
			return nil
		})
		if r := (*Refusal)(nil); err != nil && !errors.As(err, &r) {
			t.Fatalf("trace: %v", err)
		}
	})
}

// checkDecoded asserts what Decode promises of a value: it can be walked by recursion, its tensors lie in their
// storages, and no storage type is in it.
func checkDecoded(t *testing.T, r *Result, length int) {
	t.Helper()
	limits := DefaultLimits()
	if r.Consumed > int64(length) || len(r.Storages) > limits.Storages {
		t.Fatalf("consumed %d of %d bytes, %d storages", r.Consumed, length, len(r.Storages))
	}
	seen := make(map[any]bool)
	var walk func(v Value, depth int)
	walk = func(v Value, depth int) {
		if depth > limits.Depth+1 {
			t.Fatal("deeper than the limit")
		}
		switch v := v.(type) {
		case *Symbol:
			if v.kind == kindStorageType {
				t.Fatal("a storage type as a value")
			}
		case *Tensor:
			if !v.fits() || len(v.Size) > limits.Dims {
				t.Fatalf("tensor out of bounds: %+v", v)
			}
		}
		children, _ := childrenOf(v)
		if children == nil || seen[v] {
			return
		}
		seen[v] = true
		for _, c := range children {
			walk(c, depth+1)
		}
	}
	walk(r.Root, 0)
}
