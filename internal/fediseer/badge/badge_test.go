// SPDX-License-Identifier: AGPL-3.0-or-later

package badge

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"horde/internal/fediseer"
)

// Worked example 20.
func TestWidths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		svg, width, left string
	}{
		{Guarantee("a", "fediseer.com", Full), `width="164.5"`, `<rect width="83.0"`},
		{Endorsements("a", 7, Full), `width="123.2"`, `<rect width="106.2"`},
		{Endorsements("a", 7, Icon), `width="41.0"`, `<rect width="24.0"`},
	} {
		if !strings.Contains(c.svg, c.width) || !strings.Contains(c.svg, c.left) {
			t.Errorf("no %s or %s in %s", c.width, c.left, c.svg)
		}
	}
	if Width("Guarantor") != 56 || Width("fediseer.com") != 71.5 || Width("Endorsements") != 79.2 {
		t.Error(Width("Guarantor"), Width("fediseer.com"), Width("Endorsements"))
	}
}

func TestColoursAndEscapes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{Guarantee("a", "", Full), Endorsements("a", 0, Icon)} {
		if !strings.Contains(s, "DarkRed") || strings.Contains(s, "DarkOliveGreen") {
			t.Error(s)
		}
	}
	hostile := `"><script>alert(1)</script>`
	s := Guarantee(hostile, fediseer.Domain(hostile), Full)
	if strings.Contains(s, "<script") {
		t.Error(s)
	}
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
