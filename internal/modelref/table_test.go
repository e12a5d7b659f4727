// SPDX-License-Identifier: AGPL-3.0-or-later

package modelref

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"horde/internal/horde"
)

const header = "name,parameters_bn,display_name,url,baseline,description,style,tags,instruct_format,settings\n"

// TestATableBecomesAList begins with example 17 of the status chapter.
func TestATableBecomesAList(t *testing.T) {
	t.Parallel()
	list := func(t *testing.T, rows string) map[string]map[string]any {
		data, err := TextList([]byte(header + rows))
		if err != nil {
			t.Fatal(err)
		}
		var l map[string]map[string]any
		if err := json.Unmarshal(data, &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	t.Run("a name and a size", func(t *testing.T) {
		t.Parallel()
		l := list(t, "acrastt/Marx-3B-V3,3\n")
		if keys := slices.Sorted(maps.Keys(l)); !slices.Equal(keys, []string{"acrastt/Marx-3B-V3", "aphrodite/acrastt/Marx-3B-V3", "koboldcpp/Marx-3B-V3"}) {
			t.Errorf("the keys are %q", keys)
		}
		for key, m := range l {
			want := map[string]any{"name": key, "model_name": "Marx-3B-V3", "parameters": 3e9, "display_name": "Marx 3B V3", "tags": []any{"3B"},
				"baseline": "", "description": "", "version": "1", "style": "generalist", "nsfw": false}
			if fmt.Sprint(m) != fmt.Sprint(want) {
				t.Errorf("%s is %v, want %v", key, m, want)
			}
		}
	})
	t.Run("everything", func(t *testing.T) {
		t.Parallel()
		l := list(t, `one_two--three,6.7,Mine,https://example.org,llama,"A ""good"" one",chat,"b, a,,chat",ChatML,"{""temperature"": 0.7}"`+"\n")
		want := map[string]any{"name": "koboldcpp/one_two--three", "model_name": "one_two--three", "parameters": 6.7e9, "display_name": "Mine",
			"tags": []any{"7B", "a", "b", "chat"}, "baseline": "llama", "description": `A "good" one`, "version": "1", "style": "chat", "nsfw": false,
			"url": "https://example.org", "instruct_format": "ChatML", "settings": map[string]any{"temperature": 0.7}}
		if m := l["koboldcpp/one_two--three"]; len(l) != 3 || fmt.Sprint(m) != fmt.Sprint(want) {
			t.Errorf("%d records: %v, want %v", len(l), m, want)
		}
	})
	t.Run("the later one has the name", func(t *testing.T) {
		t.Parallel()
		l := list(t, "a/M,1\nb/M,2\n")
		if len(l) != 5 || l["koboldcpp/M"]["parameters"] != 2e9 {
			t.Errorf("%v", l)
		}
	})
}

func TestATableIsASource(t *testing.T) {
	t.Parallel()
	models, err := ParseText([]byte("\uFEFF" + header + "acrastt/Marx-3B-V3,3\n"))
	if err != nil || len(models) != 3 || models["koboldcpp/Marx-3B-V3"].Parameters != 3_000_000_000 {
		t.Errorf("%v, %v", models, err)
	}
	ref := horde.Reference{Text: models} // example 16
	if name := "koboldcpp/Marx-3B-V3::db0#1"; !ref.Known(horde.Text, name) || ref.Billions(name) != 3 || ref.Billions("unknown") != 1 {
		t.Errorf("%s: %v billions, another one %v", name, ref.Billions(name), ref.Billions("unknown"))
	}
}

func TestWhatIsNoTable(t *testing.T) {
	t.Parallel()
	for table, wrong := range map[string]string{
		"":                                   "not a table",
		"name,size\na,1\n":                   "no columns",
		header + ",3\n":                      "line 2: no name",
		header + "a,3\nb,many\n":             "line 3: b: \"many\"",
		header + "a,0\n":                     "no number",
		header + "a,NaN\n":                   "no number",
		header + "a,1e9\n":                   "no number",
		header + "a,1,,,,,,,,[]\n":           "settings",
		header + "a,1,,,,,,,,null\n":         "settings",
		header + "a,1,\"never closed\nb,1\n": "quote",
	} {
		if _, err := TextList([]byte(table)); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v, want %q", table, err, wrong)
		}
	}
}

func FuzzTextList(f *testing.F) {
	f.Add([]byte(header + "acrastt/Marx-3B-V3,3\n"))
	f.Add([]byte(header + `a,6.7,Mine,u,b,"d",chat,"b, a",f,"{""t"": 0.7}"` + "\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		list, err := TextList(table)
		if err != nil {
			return
		}
		if models, err := ParseText(list); err != nil {
			t.Errorf("the list of a table cannot be read: %v, %v", models, err)
		}
	})
}
