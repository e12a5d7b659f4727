// SPDX-License-Identifier: AGPL-3.0-or-later

package archive

import (
	"os"
	"slices"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// OpenDir opens a directory, which is made where it is missing.
func OpenDir(dir string) (*blob.Bucket, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Temporary files lie beside the real ones: a rename must not cross file systems.
	return fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, DirFileMode: 0o755, Metadata: fileblob.MetadataDontWrite})
}

// sortBy sorts names by a time, earliest first.
func sortBy(names []string, when func(string) time.Time) {
	slices.SortFunc(names, func(a, b string) int { return when(a).Compare(when(b)) })
}
