// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// maxLinkLife is how long a signature of version 4 can be valid at most.
const maxLinkLife = 7 * 24 * time.Hour

// Validate checks what the types of the options cannot. The parser calls it once all options are read; an error is a
// wrong command line. Each error begins with the name of the option.
func (c *serveCommand) Validate() error {
	for _, o := range []struct {
		name  string
		value int
	}{{"--lookups", c.Lookups}, {"--conversions", c.Conversions}, {"--workers", c.Workers}} {
		if o.value < 1 {
			return fmt.Errorf("%s must be at least 1, not %d", o.name, o.value)
		}
	}
	if c.MaxFile < 1 {
		return errors.New("--max-file must be at least 1 byte")
	}
	for _, o := range []struct {
		name  string
		value time.Duration
	}{
		{"--civitai-metadata-timeout", c.CivitaiMetadataTimeout}, {"--civitai-download-timeout", c.CivitaiDownloadTimeout},
		{"--s3-link-life", c.S3LinkLife},
	} {
		if o.value <= 0 {
			return fmt.Errorf("%s must be more than 0, not %v", o.name, o.value)
		}
	}
	if c.S3LinkLife < time.Second || c.S3LinkLife > maxLinkLife {
		return fmt.Errorf("--s3-link-life must be from 1s to %v, not %v", maxLinkLife, c.S3LinkLife)
	}
	for _, o := range []struct {
		name, value string
		optional    bool
	}{{"--public-url", c.PublicURL, true}, {"--civitai-url", c.CivitaiURL, false}, {"--s3-endpoint", c.S3Endpoint, true}} {
		if o.value == "" && o.optional {
			continue
		}
		if !isBaseURL(o.value) {
			return fmt.Errorf("%s must be an absolute http or https URL without a login, a query or a fragment", o.name)
		}
	}
	return c.validateS3()
}

// isBaseURL tells whether paths can be put behind raw.
func isBaseURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// validateS3 sees to it that there are keys for a bucket. Without any, AWS's library would look for a role at the
// metadata service of a cloud, which takes long elsewhere and is nobody's wish unless it is said.
func (c *serveCommand) validateS3() error {
	switch {
	case c.S3Bucket == "":
		return nil
	case (c.S3AccessKey == "") != (c.S3SecretKey == ""):
		return errors.New("--s3-access-key and --s3-secret-key (HORDELING_S3_ACCESS_KEY, HORDELING_S3_SECRET_KEY) belong together: one of them is missing")
	case c.S3AccessKey != "", c.S3AWSConfig, os.Getenv("AWS_ACCESS_KEY_ID") != "" && os.Getenv("AWS_SECRET_ACCESS_KEY") != "":
		return nil
	}
	return errors.New("--s3-bucket needs keys: set HORDELING_S3_ACCESS_KEY and HORDELING_S3_SECRET_KEY, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --s3-aws-config to use AWS's own files and roles")
}
