// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bucket opens S3 buckets, of AWS and of whoever speaks its protocol, for the programs of this module.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// DefaultRegion is the region of a bucket of which none is known. Most services other than AWS do not care.
const DefaultRegion = "us-east-1"

const (
	// idleConnections are kept open to the service: a thousand small calls a second of some milliseconds each should not
	// make a connection each, which the library's 10 would.
	idleConnections = 256
	// maxBackoff is the longest wait between two attempts of one call; the library's 20 s would outlast most callers.
	maxBackoff = 2 * time.Second
)

// S3 says where a bucket is.
type S3 struct {
	// Endpoint is the URL of an S3-compatible service; empty means AWS.
	Endpoint string
	// Region; empty means DefaultRegion.
	Region string
	// Bucket is required.
	Bucket string
	// HostStyle puts the bucket in the host name (https://bucket.host/key) also where there is an Endpoint, which
	// otherwise gets it in the path (https://host/bucket/key).
	HostStyle bool
	// AccessKey and SecretKey; where they are empty the usual AWS variables, files and roles are tried, the metadata
	// service of a cloud included.
	AccessKey, SecretKey string
	// SessionToken belongs to temporary keys.
	SessionToken string
	// Log receives what the library has to say. Nil means slog.Default.
	Log *slog.Logger
}

// PathStyle tells whether the bucket is named in the path of URLs.
func (cfg S3) PathStyle() bool { return cfg.Endpoint != "" && !cfg.HostStyle }

// OpenS3 opens a bucket. Nothing is sent before it is used. Its As yields the *s3.Client.
func OpenS3(ctx context.Context, cfg S3) (*blob.Bucket, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("an S3 bucket needs a name")
	}
	if cfg.Region == "" {
		cfg.Region = DefaultRegion
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRegion(cfg.Region),
		awsconfig.WithLogger(logger(cfg.Log)),
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConnections, idleConnections
		})),
		awsconfig.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = maxBackoff })
		}),
	}
	if cfg.AccessKey != "" {
		options = append(options, awsconfig.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken)))
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
		}
		o.UsePathStyle = cfg.PathStyle()
	})
	return s3blob.OpenBucket(ctx, client, cfg.Bucket, &s3blob.Options{RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired})
}

// logger passes the library's lines on.
func logger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(class logging.Classification, format string, v ...any) {
		level := slog.LevelDebug
		if class == logging.Warn {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "S3: "+fmt.Sprintf(format, v...))
	})
}
