// SPDX-License-Identifier: AGPL-3.0-or-later

package faq

import (
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	t.Parallel()
	stubs := "fediseer,guarantee,chain of trust,endorsement,censure,hesitation,claim,visibilities,flag,tag,instance claim,reasons,evidence,centralization,authority"
	for lang, translated := range map[string]int{"eng": 15, "deu": 15, "ell": 2} {
		list, err := List(lang, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		n := 0
		for _, e := range list {
			got = append(got, e.Stub)
			if e.Translated {
				n++
			}
			if e.Document == "" || e.Question == "" || e.CategoryTranslated == "" {
				t.Errorf("%s %s is incomplete", lang, e.Stub)
			}
			if (e.Stub == "tag") != (e.Added == tagAdded) {
				t.Errorf("%s added %s", e.Stub, e.Added)
			}
		}
		if strings.Join(got, ",") != stubs || n != translated {
			t.Errorf("%s: %d translated, %v", lang, n, got)
		}
	}
	if list, err := List("eng", "functionality"); err != nil || len(list) != 3 {
		t.Error(list, err)
	}
	for _, bad := range [][2]string{{"fra", ""}, {"eng", "none"}, {"../eng", ""}} {
		if _, err := List(bad[0], bad[1]); err == nil {
			t.Error(bad)
		}
	}
}
