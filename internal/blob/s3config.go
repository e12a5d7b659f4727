// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"horde/internal/bucket"
)

// S3Config says where an S3 store keeps objects. Bucket is required.
type S3Config struct {
	Bucket string
	// Prefix is put before the names of all objects; empty, or it ends in a slash.
	Prefix string
	// Endpoint is the URL of an S3-compatible service as this program reaches it; empty means AWS.
	Endpoint string
	// Public is the URL of the same service as workers and clients reach it; empty means Endpoint. It must lead to the
	// service with the host name unchanged, because URLs are signed for it.
	Public string
	// Region; empty means bucket.DefaultRegion.
	Region string
	// HostStyle puts the bucket in the host name instead of the path. AWS always has it there.
	HostStyle bool
	// AWSConfig takes the keys from AWS's own files, profiles and roles, the metadata service of a cloud included. Without
	// it they are AccessKey and SecretKey or, where these are empty, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
	// AWS_SESSION_TOKEN of the environment, and no other machine is ever asked for them.
	AWSConfig            bool
	AccessKey, SecretKey string

	// MaxBytes bounds one object. Zero means DefaultMaxBytes.
	MaxBytes int64
	// Log receives what goes wrong beside the answers, and what AWS's library says. Nil means slog.Default.
	Log *slog.Logger
}

// Object names of S3 that need no escaping anywhere, and names of buckets.
var (
	s3PrefixPattern = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*$`)
	s3BucketPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)
)

// ParseS3 reads "s3://BUCKET/PREFIX?endpoint=URL&public=URL&region=NAME&style=host&aws-config=true", of which all but the
// bucket may be left out. It holds no keys; a URL with some is refused.
func ParseS3(text string) (S3Config, error) {
	var cfg S3Config
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Opaque != "" || u.Fragment != "" {
		return cfg, errors.New("a place for images in S3 is written s3://BUCKET?endpoint=URL")
	}
	if u.User != nil {
		return cfg, errors.New("keys do not belong into the address of a bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	cfg.Bucket = u.Host
	if cfg.Prefix = strings.Trim(u.Path, "/"); cfg.Prefix != "" {
		cfg.Prefix += "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return cfg, errors.New("the options of the bucket's address cannot be read")
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "endpoint":
			cfg.Endpoint = value
		case "public":
			cfg.Public = value
		case "region":
			cfg.Region = value
		case "style":
			if value != "host" && value != "path" {
				return cfg, errors.New("style of a bucket's address is path or host")
			}
			cfg.HostStyle = value == "host"
		case "aws-config":
			if cfg.AWSConfig, err = strconv.ParseBool(value); err != nil {
				return cfg, errors.New("aws-config of a bucket's address is true or false")
			}
		default:
			return cfg, fmt.Errorf("a bucket's address has no option %q; there are endpoint, public, region, style and aws-config", name)
		}
	}
	return cfg, cfg.check()
}

// check refuses what cannot work.
func (cfg S3Config) check() error {
	if !s3BucketPattern.MatchString(cfg.Bucket) {
		return fmt.Errorf("%q is no name of a bucket", cfg.Bucket)
	}
	if len(cfg.Prefix) > 200 || !s3PrefixPattern.MatchString(cfg.Prefix) {
		return fmt.Errorf("%q is no prefix for images: use letters, digits, dots, dashes and slashes", cfg.Prefix)
	}
	for name, value := range map[string]string{"endpoint": cfg.Endpoint, "public": cfg.Public} {
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%s of a bucket's address must be a plain http or https URL", name)
		}
	}
	return nil
}

func (cfg S3Config) region() string {
	if cfg.Region == "" {
		return bucket.DefaultRegion
	}
	return cfg.Region
}

// place is where the bucket is and with which keys it opens.
func (cfg S3Config) place() (bucket.S3, error) {
	place := bucket.S3{
		Endpoint: strings.TrimRight(cfg.Endpoint, "/"), Region: cfg.region(), Bucket: cfg.Bucket, HostStyle: cfg.HostStyle,
		AccessKey: cfg.AccessKey, SecretKey: cfg.SecretKey, Log: cfg.Log,
	}
	if err := cfg.check(); err != nil || cfg.AWSConfig {
		return place, err
	}
	if place.AccessKey == "" {
		place.AccessKey, place.SecretKey = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		place.SessionToken = os.Getenv("AWS_SESSION_TOKEN")
	}
	if place.AccessKey == "" || place.SecretKey == "" {
		return place, errors.New("images in S3 need keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add aws-config=true to the bucket's address to use AWS's own files and roles")
	}
	return place, nil
}
