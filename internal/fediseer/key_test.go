// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"strings"
	"testing"

	"github.com/yuin/goldmark"
)

func TestKeysSurviveMarkdown(t *testing.T) {
	t.Parallel()
	for range 2000 {
		var b strings.Builder
		key := NewKey()
		if err := goldmark.Convert([]byte("Your key:\n\n"+key+"\n\nKeep it."), &b); err != nil || !strings.Contains(b.String(), "<p>"+key+"</p>") {
			t.Fatalf("%s becomes %s, %v", key, b.String(), err)
		}
	}
}
