// SPDX-License-Identifier: AGPL-3.0-or-later

package memory_test

import (
	"testing"

	"horde/internal/store"
	"horde/internal/store/memory"
	"horde/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		s := memory.New()
		return s, func() store.Store { return s }
	})
}
