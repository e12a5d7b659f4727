// SPDX-License-Identifier: AGPL-3.0-or-later

package assets

import (
	"os"
	"testing"

	"horde/internal/hordeling/safetensors"
	"horde/internal/worker/assets/assetstest"
)

type object = assetstest.Object

// embedding is a sound file.
func embedding(t *testing.T) []byte {
	t.Helper()
	data, err := safetensors.Encode([]safetensors.Tensor{{Name: "emb_params", DType: "F32", Shape: []int64{1, 2}, Data: make([]byte, 8)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openStore opens a store for the site.
func openStore(t *testing.T, s *assetstest.Site, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{LoraFolder: t.TempDir(), EmbeddingFolder: t.TempDir(), LoraBudget: 1 << 30, CivitAI: "https://civitai.com",
		Hordeling: "https://hordeling.example", NSFW: true, HTTP: s}
	if change != nil {
		change(&cfg)
	}
	st, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

// files lists a folder without the index.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name() != indexName {
			names = append(names, e.Name())
		}
	}
	return names
}
