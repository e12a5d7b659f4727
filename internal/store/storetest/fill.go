// SPDX-License-Identifier: AGPL-3.0-or-later

package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// Filler gives values to all fields that it can reach, so that one which a driver forgets to keep shows. What it makes
// comes back from a record as it was: times are whole microseconds, and lists are empty but not nil only where that is kept.
type Filler struct {
	Rand *rand.Rand
	// Sparse leaves about half of the values at zero.
	Sparse bool
}

var (
	timeType    = reflect.TypeFor[time.Time]()
	uuidType    = reflect.TypeFor[uuid.UUID]()
	rawType     = reflect.TypeFor[json.RawMessage]()
	accountType = reflect.TypeFor[kudos.Account]()
	stateType   = reflect.TypeFor[horde.JobState]()
)

// Fill sets what p points at. Fields that the document of an order or an event leaves out (the tag "-") are left alone
// where they are pointers; the caller sets those.
func (f *Filler) Fill(p any) { f.fill(reflect.ValueOf(p).Elem(), false) }

func (f *Filler) fill(v reflect.Value, keepsEmpty bool) {
	if f.Sparse && f.Rand.IntN(2) == 0 && v.Kind() != reflect.Struct {
		if keepsEmpty && f.Rand.IntN(2) == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		return
	}
	switch v.Type() {
	case timeType:
		if !f.Sparse || f.Rand.IntN(4) > 0 {
			v.Set(reflect.ValueOf(time.UnixMicro(f.Rand.Int64N(4e15) - 1e14).UTC()))
		}
		return
	case uuidType:
		v.Set(reflect.ValueOf(f.uuid()))
		return
	case rawType:
		v.SetBytes([]byte(fmt.Sprintf(`{"x":[%d,"<&>"]}`, f.Rand.Int())))
		return
	case accountType:
		v.Set(reflect.ValueOf(f.account()))
		return
	case stateType:
		v.SetUint(1 + f.Rand.Uint64N(3))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		x := 1 + f.Rand.Int64()>>f.Rand.IntN(60)
		if f.Rand.IntN(2) == 0 {
			x = -x
		}
		if x >>= 64 - v.Type().Bits(); x == 0 {
			x = 7
		}
		v.SetInt(x)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(1 + f.Rand.Uint64N(1<<v.Type().Bits()-1))
	case reflect.Uint64:
		// JSON numbers and SQL integers have 63 bits.
		v.SetUint(1 + f.Rand.Uint64N(math.MaxInt64))
	case reflect.Float64:
		v.SetFloat(f.Rand.NormFloat64() * 1e3)
	case reflect.String:
		v.SetString(f.text())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), false)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+f.Rand.IntN(3), 4))
		for i := range v.Len() {
			f.fill(v.Index(i), false)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			t := v.Type().Field(i)
			if tag := t.Tag.Get("json"); tag != "-" || t.Type.Kind() != reflect.Pointer {
				f.fill(v.Field(i), t.Type.Kind() == reflect.Slice && strings.Contains(tag, ",omitzero"))
			}
		}
	default:
		panic("storetest: no value for a " + v.Type().String())
	}
}

func (f *Filler) uuid() (id uuid.UUID) {
	for i := range id {
		id[i] = byte(f.Rand.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID, version 4
	return id
}

// text is different each time, sometimes long, and always awkward.
func (f *Filler) text() string {
	s := fmt.Sprintf("%x é\x00'\"<&>\u2028\n🐴", f.Rand.Uint64())
	if f.Rand.IntN(100) == 0 {
		s += strings.Repeat(" a long prompt,", 1+f.Rand.IntN(1000))
	}
	return s
}

func (f *Filler) account() kudos.Account {
	switch f.Rand.IntN(3) {
	case 0:
		return kudos.Account{Class: kudos.Spendable, User: horde.UserID(f.Rand.Int32())}
	case 1:
		return kudos.Account{Class: kudos.Escrow, User: horde.UserID(f.Rand.Int32())}
	}
	return kudos.Account{Class: kudos.SystemTax}
}

// Order is a filled order.
func (f *Filler) Order() *horde.Order {
	o := &horde.Order{}
	f.Fill(o)
	return o
}

// Request is a filled request with an order.
func (f *Filler) Request() horde.Request {
	r := horde.Request{}
	f.Fill(&r)
	r.ID, r.Order = horde.RequestID{UUID: f.uuid()}, f.Order().Pack()
	return r
}

// Job is a filled job of a request.
func (f *Filler) Job(request horde.RequestID) horde.Job {
	j := horde.Job{}
	f.Fill(&j)
	j.ID, j.Request = horde.JobID{UUID: f.uuid()}, request
	return j
}

// User is a filled user with an id.
func (f *Filler) User(id horde.UserID) horde.User {
	u := horde.User{}
	f.Fill(&u)
	u.ID = id
	return u
}

// Worker is a filled worker with a name of its own.
func (f *Filler) Worker() horde.Worker {
	w := horde.Worker{}
	f.Fill(&w)
	w.ID, w.Name = horde.WorkerID{UUID: f.uuid()}, f.text()
	return w
}

// Event is a filled event with a number, and a key of its own.
func (f *Filler) Event(no int64) *kudos.Event {
	e := &kudos.Event{}
	f.Fill(e)
	e.No, e.Key = no, fmt.Sprintf("%s:%d", f.text(), no)
	return e
}
