// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	cloud "gocloud.dev/blob"
)

// idSlack is how far the clocks of who makes ids and of who stores objects may differ.
const idSlack = time.Hour

// Prune implements Store. A bucket is listed by name, and names begin with the time at which their ids were made: what
// follows the first id that is younger than before cannot be old, and is not listed. A pass costs a call for each 1,000
// objects of the last two hours or so that are left and one for each 1,000 that are deleted.
func (s *S3) Prune(ctx context.Context, before time.Time) (int, error) {
	n := 0
	for _, top := range []string{s3Uploads, s3Kept} {
		for _, dir := range []string{"results/", "sources/"} {
			gone, err := s.prune(ctx, s.cfg.Prefix+top+dir, before)
			n += gone
			if err != nil {
				return n, s3Error("prune objects", err)
			}
		}
	}
	return n, nil
}

func (s *S3) prune(ctx context.Context, prefix string, before time.Time) (int, error) {
	n := 0
	var old []types.ObjectIdentifier
	flush := func() error {
		if len(old) == 0 {
			return nil
		}
		out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: aws.String(s.cfg.Bucket), Delete: &types.Delete{Objects: old, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return err
		}
		n += len(old) - len(out.Errors)
		old = old[:0]
		if len(out.Errors) > 0 {
			e := out.Errors[0]
			return fmt.Errorf("%d objects could not be deleted, the first because of %s: %s", len(out.Errors), aws.ToString(e.Code), aws.ToString(e.Message))
		}
		return nil
	}
	for list := s.bucket.List(&cloud.ListOptions{Prefix: prefix}); ; {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) || err == nil && madeAfter(strings.TrimPrefix(o.Key, prefix), before.Add(idSlack)) {
			return n, flush()
		}
		if err != nil {
			return n, err
		}
		if o.ModTime.Before(before) {
			if old = append(old, types.ObjectIdentifier{Key: aws.String(o.Key)}); len(old) == s3Batch {
				if err := flush(); err != nil {
					return n, err
				}
			}
		}
	}
}

// madeAfter tells whether a name begins with an id that was made after t: its first four bytes are Unix time.
func madeAfter(name string, t time.Time) bool {
	if len(name) < 8 {
		return false
	}
	seconds, err := strconv.ParseUint(name[:8], 16, 32)
	return err == nil && int64(seconds) > t.Unix()
}
