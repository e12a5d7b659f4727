// SPDX-License-Identifier: AGPL-3.0-or-later

package hordelingtest

import (
	"testing"

	"horde/internal/bucket/buckettest"
)

// The keys of StartS3.
const (
	S3Access = buckettest.Access
	S3Secret = buckettest.Secret
)

// StartS3 starts a real S3 server with an empty bucket "hordeling", until the test ends. Its keys are S3Access and
// S3Secret.
func StartS3(t testing.TB) (endpoint string) {
	t.Helper()
	return buckettest.Start(t, "hordeling").Endpoint
}
