// SPDX-License-Identifier: AGPL-3.0-or-later

package sqlite

import (
	"encoding/json"
	"reflect"
	"testing"

	"horde/internal/horde"
	"horde/internal/kudos"
	"horde/internal/store"
)

// FuzzDocuments reads the JSON documents of the record. What can be read is written so that it is read as the same again, and a
// document never touches what has a column of its own.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`{"id":7,"name":"x","roles":255,"usage_multiplier":2,"contact":"c"}`))
	f.Add([]byte(`{"maintenance_message":"m","models":["a"],"max_pixels":1048576,"speed":[1.5]}`))
	f.Add([]byte(`{"maintenance":true,"invite_only":true,"raid":true}`))
	f.Add([]byte(`[{"type":"batch_index","value":"see_ref","ref":"1"},null]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, document []byte) {
		var u horde.User
		if json.Unmarshal(document, &store.UserRest{User: &u}) == nil {
			if u.ID != 0 || u.Name != "" || u.Roles != 0 || u.KeyHash != (horde.User{}).KeyHash {
				t.Errorf("the document sets columns: %+v", u)
			}
			again(t, &u, func(v *horde.User) any { return &store.UserRest{User: v} })
		}
		var w horde.Worker
		if json.Unmarshal(document, &store.WorkerRest{Worker: &w}) == nil {
			if w.ID != (horde.WorkerID{}) || w.Owner != 0 || w.Name != "" || w.Maintenance || w.Paused {
				t.Errorf("the document sets columns: %+v", w)
			}
			again(t, &w, func(v *horde.Worker) any { return &store.WorkerRest{Worker: v} })
		}
		roundTrip[store.Settings](t, document)
		roundTrip[[]horde.Metadata](t, document)
		roundTrip[[]kudos.Entry](t, document)
	})
}

func roundTrip[T any](t *testing.T, document []byte) {
	var v T
	if json.Unmarshal(document, &v) == nil {
		again(t, &v, func(v *T) any { return v })
	}
}

// again writes a value and reads it: two passes must agree, for empty and absent are one.
func again[T any](t *testing.T, v *T, as func(*T) any) {
	var versions [2]T
	last := v
	for i := range versions {
		data, err := json.Marshal(as(last))
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", *last, err)
		}
		if err := json.Unmarshal(data, as(&versions[i])); err != nil {
			t.Fatalf("%s cannot be read: %v", data, err)
		}
		last = &versions[i]
	}
	if !reflect.DeepEqual(versions[0], versions[1]) {
		t.Errorf("read as %+v and then as %+v", versions[0], versions[1])
	}
}
