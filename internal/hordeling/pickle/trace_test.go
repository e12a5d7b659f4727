// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// traceLines renders a trace as the opcode, a "!" where it is dangerous, and the effect.
func traceLines(stream string) ([]string, error) {
	var lines []string
	_, err := Trace(context.Background(), []byte(stream), func(s Step) error {
		mark := " "
		if s.Dangerous {
			mark = "!"
		}
		lines = append(lines, s.Op.Name+mark+s.Effect)
		return nil
	})
	return lines, err
}

func TestTraceTellsWhatPythonWouldDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream string
		want   string
	}{
		"shell":       {"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", `PROTO |GLOBAL!import posix.system|BINUNICODE push "id"|TUPLE1 push ("id",)|REDUCE!call posix.system("id",)|STOP return posix.system("id",)`},
		"text opcode": {"(S'id'\nios\nsystem\n.", `MARK |STRING push "'id'"|INST!call os.system("'id'")|STOP return os.system("'id'")`},
		"obj":         {"(cos\nsystem\nI1\no.", `MARK |GLOBAL!import os.system|INT push "1"|OBJ!call os.system("1")|STOP return os.system("1")`},
		"getattr chain": {"\x80\x04cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\x00\x00\x00os\x85RX\x06\x00\x00\x00system\x86R.",
			`PROTO |GLOBAL!import builtins.getattr|GLOBAL!import builtins.__import__|BINUNICODE push "os"|TUPLE1 push ("os",)|REDUCE!call builtins.__import__("os",)|BINUNICODE push "system"|TUPLE2 push (builtins.__import__("os",), "system")|REDUCE!call builtins.getattr(builtins.__import__("os",), "system")|STOP return builtins.getattr(builtins.__import__("os",), "system")`},
		"extension":           {"\x80\x02\x82\x07)R.", `PROTO |EXT1!import the object registered as extension 7|EMPTY_TUPLE push ()|REDUCE!call extension 7()|STOP return extension 7()`},
		"allowed call":        {"\x80\x02ccollections\nOrderedDict\n)R.", `PROTO |GLOBAL import collections.OrderedDict|EMPTY_TUPLE push ()|REDUCE call collections.OrderedDict()|STOP return collections.OrderedDict()`},
		"state":               {"\x80\x02cx\nY\n)\x81}b.", `PROTO |GLOBAL!import x.Y|EMPTY_TUPLE push ()|NEWOBJ!call x.Y.__new__()|EMPTY_DICT push {}|BUILD!set the state of x.Y.__new__() (or call its __setstate__) to {}|STOP return x.Y.__new__()`},
		"storage type called": {"\x80\x02ctorch\nFloatStorage\n)R.", `PROTO |GLOBAL import torch.FloatStorage|EMPTY_TUPLE push ()|REDUCE!call torch.FloatStorage()|STOP return torch.FloatStorage()`},
		"state of a dict":     {"\x80\x02ccollections\nOrderedDict\n)R}b.", `PROTO |GLOBAL import collections.OrderedDict|EMPTY_TUPLE push ()|REDUCE call collections.OrderedDict()|EMPTY_DICT push {}|BUILD!set the state of collections.OrderedDict() (or call its __setstate__) to {}|STOP return collections.OrderedDict()`},
		"instance of a dict":  {"\x80\x02ccollections\nOrderedDict\n)\x81.", `PROTO |GLOBAL import collections.OrderedDict|EMPTY_TUPLE push ()|NEWOBJ!call collections.OrderedDict.__new__()|STOP return collections.OrderedDict.__new__()`},
		"parameter dict":      {"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81}b.", `PROTO |GLOBAL import torch.nn.modules.container.ParameterDict|EMPTY_TUPLE push ()|NEWOBJ call torch.nn.modules.container.ParameterDict.__new__()|EMPTY_DICT push {}|BUILD set the state of torch.nn.modules.container.ParameterDict.__new__() (or call its __setstate__) to {}|STOP return torch.nn.modules.container.ParameterDict.__new__()`},
		"opaque with a state": {"\x80\x02cnumpy\ndtype\n)R}b.", `PROTO |GLOBAL import numpy.dtype|EMPTY_TUPLE push ()|REDUCE call numpy.dtype()|EMPTY_DICT push {}|BUILD set the state of numpy.dtype() (or call its __setstate__) to {}|STOP return numpy.dtype()`},
		"containers":          {"\x80\x02}q\x01(U\x01aK\x01U\x01b](K\x02K\x03eu.", `PROTO |EMPTY_DICT push {}|BINPUT remember it as 1|MARK |SHORT_BINSTRING push "a"|BININT1 push 1|SHORT_BINSTRING push "b"|EMPTY_LIST push []|MARK |BININT1 push 2|BININT1 push 3|APPENDS put 2, 3 into []|SETITEMS put "a": 1, "b": [2, 3] into {}|STOP return {"a": 1, "b": [2, 3]}`},
		"escapes":             {"\x80\x02c\x1b[2J\n\x07\n.", `PROTO |GLOBAL!import \x1b[2J.\a|STOP return \x1b[2J.\a`},
		"nothing on stack":    {"\x80\x02R.", `PROTO |REDUCE!call <nothing>(*<nothing>)|STOP return <nothing>(*<nothing>)`},
		"pop below two marks": {"\x80\x02N((01N.", `PROTO |NONE push None|MARK |MARK |POP drop None|POP_MARK drop 0 values|NONE push None|STOP return None`},
		"persistent id":       {"\x80\x02U\x01aQ.", `PROTO |SHORT_BINSTRING push "a"|BINPERSID look up the persistent id "a"|STOP return persistent("a")`},
		"new with keywords":   {"\x80\x04cx\nY\n)}\x92.", `PROTO |GLOBAL!import x.Y|EMPTY_TUPLE push ()|EMPTY_DICT push {}|NEWOBJ_EX!call x.Y.__new__(*(), **{})|STOP return x.Y.__new__(*(), **{})`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, err := traceLines(c.stream)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(lines, "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTraceStopsWhereTheStreamCannotBeFollowed(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"truncated":   "\x80\x02X\x09\x00\x00\x00a",
		"no opcode":   "\x80\x02\xff",
		"LONG4":       "\x80\x02\x8b\xff\xff\xff\x7f",
		"BYTEARRAY8":  "\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\xff",
		"many":        strings.Repeat("N", traceOpcodes+1),
		"endless put": "\x80\x02p" + strings.Repeat("1", 1000),
	} {
		var r *Refusal
		if _, err := traceLines(stream); !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTraceKeepsTextsShort builds values whose full text would double with each step.
func TestTraceKeepsTextsShort(t *testing.T) {
	t.Parallel()
	lines, err := traceLines("\x80\x02U\x01a" + strings.Repeat("q\x00h\x00\x86", 50_000) + ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if len(l) > 400 {
			t.Fatalf("%d bytes: %s", len(l), l)
		}
	}
}
