// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"horde/internal/horde"
)

// atlas is a database that has a few networks in Iceland.
func atlas(t *testing.T) *Atlas {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Countries", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"198.51.100.0/24", "2001:db8::/32", "192.0.2.0/24"} {
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("IS")}}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "countries.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := OpenAtlas(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// The country of whoever rates is exported, for images that the service chose and for those of a request.
func TestCountries(t *testing.T) {
	t.Parallel()
	a := atlas(t)
	for addr, want := range map[string]string{"198.51.100.9": "IS", "::ffff:198.51.100.9": "IS", "2001:db8::1": "IS", "203.0.113.1": "", "::1": ""} {
		if got := a.Country(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is in %q, want %q", addr, got, want)
		}
	}
	s := open(t)
	s.Country = a.Country
	s.images(1)
	id := s.call("GET", "/rating/new", "7", "", http.StatusOK)["id"].(string)
	s.aged(2 * time.Second)
	s.call("POST", "/rating/"+id, "7", `{"rating":7}`, http.StatusCreated) // from 192.0.2.1, as all requests of httptest
	for name, from := range map[string]string{"x#8": "2001:db8::1", "x#9": "203.0.113.1", "x#10": "nonsense"} {
		if err := s.Set(t.Context(), horde.RatingSet{Set: uuid.NewString(), All: []string{id}, User: horde.RatingUser{Name: name, Address: from}, Rated: []horde.ImageRating{{ID: id, Rating: 3}}}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.exportedRatings()
	known := 0
	for _, r := range rows {
		if r.Country != nil && *r.Country == "IS" {
			known++
		}
	}
	if err != nil || len(rows) != 4 || rows[0].Country == nil || known != 2 {
		t.Errorf("exported: %+v, %v", rows, err)
	}
}
