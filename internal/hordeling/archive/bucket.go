// SPDX-License-Identifier: AGPL-3.0-or-later

package archive

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
)

// OpenDir opens a directory, which is made where it is missing.
func OpenDir(dir string) (*blob.Bucket, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Temporary files lie beside the real ones: a rename must not cross file systems.
	return fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, DirFileMode: 0o755, Metadata: fileblob.MetadataDontWrite})
}

// S3 says where a bucket is.
type S3 struct {
	// Endpoint is the URL of an S3-compatible service; empty means AWS.
	Endpoint string
	Region   string
	Bucket   string
	// AccessKey and SecretKey; where they are empty the usual AWS variables, files and roles are tried.
	AccessKey, SecretKey string
}

// OpenS3 opens a bucket. Nothing is sent before it is used.
func OpenS3(ctx context.Context, cfg S3) (*blob.Bucket, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("an S3 bucket needs a name")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRegion(cfg.Region)}
	if cfg.AccessKey != "" {
		options = append(options, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	awsCfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	// Other services than AWS do not know the newer checksums.
	awsCfg.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	awsCfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	client := s3.NewFromConfig(awsCfg, func(o *s3.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
			o.UsePathStyle = true
		}
	})
	return s3blob.OpenBucket(ctx, client, cfg.Bucket, &s3blob.Options{RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired})
}

// sortBy sorts names by a time, earliest first.
func sortBy(names []string, when func(string) time.Time) {
	slices.SortFunc(names, func(a, b string) int { return when(a).Compare(when(b)) })
}
