// SPDX-License-Identifier: AGPL-3.0-or-later

package horde_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"horde/internal/horde"
	"horde/internal/store/storetest"
)

func TestOrderRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := storetest.Filler{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "values"), 1)), Sparse: rapid.Bool().Draw(t, "sparse")}
		o := f.Order()
		packed := o.Pack()
		got, err := packed.Unpack()
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Fatalf("unpacked %+v (%v), want %+v", got, err, o)
		}
		if packed.Kind() != o.Kind || packed.Prompt() != o.Prompt {
			t.Fatalf("%v %q, want %v %q", packed.Kind(), packed.Prompt(), o.Kind, o.Prompt)
		}
	})
}

// The bytes of orders in existing records: a change here loses them.
func TestOrderFormat(t *testing.T) {
	t.Parallel()
	seed := uint32(7)
	o := &horde.Order{
		Kind: horde.Image, Prompt: "a fox", Models: []string{"m"}, R2: true,
		Image: &horde.ImageParams{Width: 64, CFGScale: 1, Loras: []horde.Lora{}, Seed: &seed},
	}
	const want = "\x08\x01" + // kind
		"\x12\x05a fox" +
		"\x1a\x03\x0a\x01m" + // models
		"\x68\x01" + // r2
		"\x92\x01\x11" + // image, 17 bytes
		"\x08\x80\x01" + // width, zigzag
		"\x29\x00\x00\x00\x00\x00\x00\xf0\x3f" + // cfg_scale
		"\x72\x00" + // loras, empty
		"\x98\x01\x07" // seed
	if got := string(o.Pack()); got != want {
		t.Errorf("packed\n%x, want\n%x", got, want)
	}
}

func TestOrderOfALaterVersion(t *testing.T) {
	t.Parallel()
	data := []byte((&horde.Order{Kind: horde.Text, Prompt: "x"}).Pack())
	data = protowire.AppendTag(data, 1000, protowire.BytesType)
	data = protowire.AppendBytes(data, []byte("something new"))
	o, err := horde.PackedOrder(data).Unpack()
	if err != nil || o.Prompt != "x" {
		t.Fatal(o, err)
	}
}

func FuzzOrder(f *testing.F) {
	filler := storetest.Filler{Rand: rand.New(rand.NewPCG(1, 1))}
	for range 5 {
		f.Add(string(filler.Order().Pack()))
		filler.Sparse = true
	}
	f.Fuzz(func(t *testing.T, data string) {
		p := horde.PackedOrder(data)
		p.Kind()
		p.Prompt()
		o, err := p.Unpack()
		if err != nil {
			return
		}
		again, err := o.Pack().Unpack()
		// NaN differs from itself, so what is compared is the encoding.
		if err != nil || again.Pack() != o.Pack() {
			t.Fatalf("%+v became %+v (%v)", o, again, err)
		}
	})
}

// BenchmarkOrder compares the encoding of the record with encoding/json.
func BenchmarkOrder(b *testing.B) {
	traffic, _ := storetest.NewTraffic(1)
	o := traffic.Order()
	packed := o.Pack()
	text, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("pack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.Pack()
		}
		b.ReportMetric(float64(len(packed)), "bytes")
	})
	b.Run("unpack", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := packed.Unpack(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(o); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(text)), "bytes")
	})
	b.Run("decode-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(text, new(horde.Order)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
