// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"math"
	"reflect"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The wire format of PackedOrder, by reflection.

// wireMessage is how a struct is written and read.
type wireMessage struct{ fields []wireField } // by number less one

type wireField struct {
	index int // of the struct's field, or -1 for a number that is no longer used
	wireValue
}

// wireValue is how the values of one Go type are written and read.
type wireValue struct {
	wire   protowire.Type
	absent func(reflect.Value) bool
	append func([]byte, reflect.Value) []byte
	// number takes the payload of varints and fixed 64-bit values, bytes that of all others.
	number func(uint64, reflect.Value)
	bytes  func(unpacker, []byte, reflect.Value) error
}

// newWireMessage panics where a field of the struct has no number: nothing of an order is left out by mistake.
func newWireMessage(t reflect.Type) *wireMessage {
	byName := map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		byName[name] = i
	}
	m := &wireMessage{}
	for _, name := range strings.Fields(orderFields[t]) {
		i, ok := byName[name]
		switch {
		case name == "-":
			m.fields = append(m.fields, wireField{index: -1})
			continue
		case !ok:
			panic(fmt.Sprintf("horde: %s has no field %s", t, name))
		}
		delete(byName, name)
		m.fields = append(m.fields, wireField{i, newWireValue(t.Field(i).Type)})
	}
	if len(byName) > 0 {
		panic(fmt.Sprintf("horde: fields of %s without a number: %v", t, byName))
	}
	return m
}

func (m *wireMessage) append(buf []byte, v reflect.Value) []byte {
	for i := range m.fields {
		f := &m.fields[i]
		if f.index < 0 {
			continue
		}
		if fv := v.Field(f.index); !f.absent(fv) {
			buf = protowire.AppendTag(buf, protowire.Number(i+1), f.wire)
			buf = f.append(buf, fv)
		}
	}
	return buf
}

func (m *wireMessage) read(u unpacker, data []byte, v reflect.Value) error {
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if int(number) > len(m.fields) || m.fields[number-1].index < 0 {
			if n = protowire.ConsumeFieldValue(number, wire, data); n < 0 {
				return protowire.ParseError(n)
			}
			data = data[n:]
			continue
		}
		f := &m.fields[number-1]
		if wire != f.wire {
			return fmt.Errorf("field %d of %s has wire type %d", number, v.Type(), wire)
		}
		n, err := f.wireValue.read(u, data, v.Field(f.index))
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// read takes one value from the start of data and tells how long it was.
func (c *wireValue) read(u unpacker, data []byte, v reflect.Value) (int, error) {
	var n int
	switch c.wire {
	case protowire.VarintType:
		var x uint64
		if x, n = protowire.ConsumeVarint(data); n >= 0 {
			c.number(x, v)
		}
	case protowire.Fixed64Type:
		var x uint64
		if x, n = protowire.ConsumeFixed64(data); n >= 0 {
			c.number(x, v)
		}
	default:
		var b []byte
		if b, n = protowire.ConsumeBytes(data); n >= 0 {
			if err := c.bytes(u, b, v); err != nil {
				return 0, err
			}
		}
	}
	if n < 0 {
		return 0, protowire.ParseError(n)
	}
	return n, nil
}

var workerIDType = reflect.TypeFor[WorkerID]()

func newWireValue(t reflect.Type) wireValue {
	if t == workerIDType {
		return wireValue{
			wire: protowire.BytesType, absent: neverAbsent,
			append: func(buf []byte, v reflect.Value) []byte {
				id := v.Interface().(WorkerID)
				return protowire.AppendBytes(buf, id.UUID[:])
			},
			bytes: func(_ unpacker, b []byte, v reflect.Value) error {
				id := v.Addr().Interface().(*WorkerID)
				if copy(id.UUID[:], b) != len(id.UUID) || len(b) != len(id.UUID) {
					return fmt.Errorf("an id of %d bytes", len(b))
				}
				return nil
			},
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		return wireValue{
			wire: protowire.VarintType, absent: reflect.Value.IsZero,
			append: func(buf []byte, v reflect.Value) []byte {
				return protowire.AppendVarint(buf, protowire.EncodeBool(v.Bool()))
			},
			number: func(x uint64, v reflect.Value) { v.SetBool(protowire.DecodeBool(x)) },
		}
	case reflect.Int, reflect.Int64:
		return wireValue{
			wire: protowire.VarintType, absent: reflect.Value.IsZero,
			append: func(buf []byte, v reflect.Value) []byte {
				return protowire.AppendVarint(buf, protowire.EncodeZigZag(v.Int()))
			},
			number: func(x uint64, v reflect.Value) { v.SetInt(protowire.DecodeZigZag(x)) },
		}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return wireValue{
			wire: protowire.VarintType, absent: reflect.Value.IsZero,
			append: func(buf []byte, v reflect.Value) []byte { return protowire.AppendVarint(buf, v.Uint()) },
			number: func(x uint64, v reflect.Value) { v.SetUint(x) },
		}
	case reflect.Float64:
		return wireValue{
			wire: protowire.Fixed64Type, absent: reflect.Value.IsZero,
			append: func(buf []byte, v reflect.Value) []byte {
				return protowire.AppendFixed64(buf, math.Float64bits(v.Float()))
			},
			number: func(x uint64, v reflect.Value) { v.SetFloat(math.Float64frombits(x)) },
		}
	case reflect.String:
		return wireValue{
			wire: protowire.BytesType, absent: reflect.Value.IsZero,
			append: func(buf []byte, v reflect.Value) []byte { return protowire.AppendString(buf, v.String()) },
			bytes: func(u unpacker, b []byte, v reflect.Value) error {
				v.SetString(u.text(b))
				return nil
			},
		}
	case reflect.Struct:
		m := newWireMessage(t)
		return wireValue{
			wire: protowire.BytesType, absent: neverAbsent,
			append: func(buf []byte, v reflect.Value) []byte {
				return appendSized(buf, func(buf []byte) []byte { return m.append(buf, v) })
			},
			bytes: m.read,
		}
	case reflect.Pointer:
		return wirePointer(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return wireValue{
				wire: protowire.BytesType, absent: reflect.Value.IsNil,
				append: func(buf []byte, v reflect.Value) []byte { return protowire.AppendBytes(buf, v.Bytes()) },
				bytes: func(_ unpacker, b []byte, v reflect.Value) error {
					v.SetBytes(append(make([]byte, 0, len(b)), b...))
					return nil
				},
			}
		}
		return wireList(t)
	}
	panic("horde: no way to write a " + t.String())
}

func neverAbsent(reflect.Value) bool { return false }

// pointer writes what the pointer points at, zero or not.
func wirePointer(t reflect.Type) wireValue {
	to := newWireValue(t.Elem())
	c := wireValue{
		wire: to.wire, absent: reflect.Value.IsNil,
		append: func(buf []byte, v reflect.Value) []byte { return to.append(buf, v.Elem()) },
	}
	if to.number != nil {
		c.number = func(x uint64, v reflect.Value) {
			p := reflect.New(t.Elem())
			to.number(x, p.Elem())
			v.Set(p)
		}
	}
	if to.bytes != nil {
		c.bytes = func(u unpacker, b []byte, v reflect.Value) error {
			p := reflect.New(t.Elem())
			v.Set(p)
			return to.bytes(u, b, p.Elem())
		}
	}
	return c
}

const itemNumber = 1

func wireList(t reflect.Type) wireValue {
	item := newWireValue(t.Elem())
	return wireValue{
		wire: protowire.BytesType, absent: reflect.Value.IsNil,
		append: func(buf []byte, v reflect.Value) []byte {
			return appendSized(buf, func(buf []byte) []byte {
				for i := range v.Len() {
					buf = protowire.AppendTag(buf, itemNumber, item.wire)
					buf = item.append(buf, v.Index(i))
				}
				return buf
			})
		},
		bytes: func(u unpacker, data []byte, v reflect.Value) error {
			count := 0
			for rest := data; len(rest) > 0; count++ {
				number, wire, n := protowire.ConsumeField(rest)
				if n < 0 {
					return protowire.ParseError(n)
				}
				if number != itemNumber || wire != item.wire {
					return fmt.Errorf("a list of %s holds field %d of wire type %d", t.Elem(), number, wire)
				}
				rest = rest[n:]
			}
			items := reflect.MakeSlice(t, count, count)
			for i := range count {
				_, _, n := protowire.ConsumeTag(data)
				used, err := item.read(u, data[n:], items.Index(i))
				if err != nil {
					return err
				}
				data = data[n+used:]
			}
			v.Set(items)
			return nil
		},
	}
}

// appendSized appends a message behind its length. The length of most is one byte, for which room is left.
func appendSized(buf []byte, body func([]byte) []byte) []byte {
	start := len(buf)
	buf = body(append(buf, 0))
	size := len(buf) - start - 1
	if extra := protowire.SizeVarint(uint64(size)) - 1; extra > 0 {
		buf = append(buf, make([]byte, extra)...)
		copy(buf[start+1+extra:], buf[start+1:start+1+size])
	}
	protowire.AppendVarint(buf[:start], uint64(size))
	return buf
}
