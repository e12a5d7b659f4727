// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Atlas tells in which country an address is, from a database in the format of MaxMind, as GeoLite2 and DB-IP publish them. Its
// methods are safe for concurrent use.
type Atlas struct{ db *maxminddb.Reader }

// OpenAtlas opens a database of countries or cities. It is read as it is needed, so the file must stay, and is replaced as a whole.
func OpenAtlas(path string) (*Atlas, error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the countries %s: %w", path, err)
	}
	return &Atlas{db}, nil
}

// Country is the ISO 3166-1 code of two letters of where an address is, empty where the database does not know.
func (a *Atlas) Country(addr netip.Addr) string {
	var code string
	if err := a.db.Lookup(addr.Unmap()).DecodePath(&code, "country", "iso_code"); err != nil || len(code) != 2 {
		return ""
	}
	return code
}

// Close releases the database. No other method may be running.
func (a *Atlas) Close() error { return a.db.Close() }
