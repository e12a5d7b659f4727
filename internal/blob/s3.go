// SPDX-License-Identifier: AGPL-3.0-or-later

package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	cloud "gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"horde/internal/bucket"
)

// The objects of an S3 store lie below these parts of the bucket. The letters "https" are in them for the reason of
// PathPrefix.
const (
	s3Kept    = "https/kept/"
	s3Uploads = "https/uploads/"
	s3Probe   = "https/probe/"
)

const (
	// s3Timeout bounds what one method asks of the service, all attempts included: workers give an upload or a submit
	// between 10 and 60 s.
	s3Timeout = 15 * time.Second
	// s3OpenTimeout bounds the first contact. A service that is away must not keep a server from starting.
	s3OpenTimeout = 5 * time.Second
	// s3Batch is how many objects the service deletes in one call at most.
	s3Batch = 1000
	// s3Stripes is the number of locks that order the changes of one key. They are held for some round trips.
	s3Stripes = 1024
	// s3Tries is how often a seal starts anew because the upload was replaced while it was looked at.
	s3Tries = 3
)

// S3 is a Store in a bucket of S3 or a service that speaks its protocol. Workers upload to it and clients download from
// it by presigned URLs; the images never pass this program, except for those that arrive or leave as base64.
//
// A presigned PUT works until it expires, so uploads and kept objects have different keys: sealing copies inside the
// service, on condition that the upload is still the one whose size was looked at and, where the service knows that
// condition, that nothing is kept yet. A PUT after the seal changes an upload that nobody looks at any more. What is
// uploaded cannot be bounded by the URL; sealing refuses and deletes what is too large.
//
// Every object outlives the loss of machines as far as the service promises.
type S3 struct {
	cfg    S3Config
	bucket *cloud.Bucket
	client *s3.Client
	creds  aws.CredentialsProvider
	signer *v4.Signer
	// public is where the world finds the bucket: the URL of the object with the empty key, with a trailing slash.
	public string
	// locks order what changes a kept object, on top of the service's conditions: there is one writer.
	locks [s3Stripes]sync.Mutex
	// conditions is what the service is known to do; see probe.
	conditions atomic.Int32
}

// What a service does about a copy that must not replace an object.
const (
	conditionsUnknown int32 = iota
	conditionsIgnored       // it replaces the object all the same, or refuses all such copies
	conditionsKept
)

var _ Store = (*S3)(nil)

// OpenS3 opens the store and tries it out. A service that cannot be reached is no error: the store answers errors until it
// can be. What a wait does not mend, such as wrong keys or a bucket that does not exist, is one.
func OpenS3(ctx context.Context, cfg S3Config) (*S3, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	place, err := cfg.place()
	if err != nil {
		return nil, err
	}
	s := &S3{cfg: cfg, signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
	if s.bucket, err = bucket.OpenS3(ctx, place); err != nil {
		return nil, fmt.Errorf("open the bucket: %w", err)
	}
	if !s.bucket.As(&s.client) {
		return nil, errors.New("open the bucket: it is not of S3")
	}
	s.creds = s.client.Options().Credentials
	if s.public, err = publicBase(ctx, place, strings.TrimRight(cfg.Public, "/")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s3OpenTimeout)
	defer cancel()
	if err := s.probe(ctx); err != nil {
		if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorFault() != smithy.FaultServer && !throttled(api.ErrorCode()) {
			s.bucket.Close()
			return nil, fmt.Errorf("the bucket %s cannot be used: %w", cfg.Bucket, err)
		}
		cfg.Log.Warn("the bucket of the images does not answer; images are refused until it does", "bucket", cfg.Bucket, "err", err)
	}
	return s, nil
}

// Close ends all connections.
func (s *S3) Close() error { return s.bucket.Close() }

// publicBase is the URL of the bucket, as it is or as the world sees it.
func publicBase(ctx context.Context, place bucket.S3, public string) (string, error) {
	params := s3.EndpointParameters{Bucket: aws.String(place.Bucket), Region: aws.String(place.Region), ForcePathStyle: aws.Bool(place.PathStyle())}
	if public == "" {
		public = place.Endpoint
	}
	if public != "" {
		params.Endpoint = aws.String(public)
	}
	at, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, params)
	if err != nil {
		return "", fmt.Errorf("the address of the bucket: %w", err)
	}
	return at.URI.String() + "/", nil
}

// Origin is where browsers load objects from, such as "https://images.example". It asks nobody.
func (cfg S3Config) Origin(ctx context.Context) (string, error) {
	place, err := cfg.place()
	if err != nil {
		return "", err
	}
	base, err := publicBase(ctx, place, strings.TrimRight(cfg.Public, "/"))
	if err != nil {
		return "", err
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("the address of the bucket: %w", err)
	}
	return u.Scheme + "://" + u.Host, nil
}

// probe finds out, once, whether the service keeps the condition of a copy that must not replace an object: many ignore it.
func (s *S3) probe(ctx context.Context) error {
	if s.conditions.Load() != conditionsUnknown {
		return nil
	}
	from, to := s.cfg.Prefix+s3Probe+"from", s.cfg.Prefix+s3Probe+"to"
	if err := s.bucket.WriteAll(ctx, from, []byte("probe"), nil); err != nil {
		return err
	}
	found := conditionsIgnored
	for range 2 { // at the latest the second copy finds an object at its destination
		err := s.copy(ctx, to, from, "", true)
		if gcerrors.Code(err) == gcerrors.FailedPrecondition {
			found = conditionsKept
			break
		}
		if err != nil && statusOf(err) != http.StatusNotImplemented && statusOf(err) != http.StatusBadRequest {
			return err
		}
	}
	s.conditions.Store(found)
	return nil
}

// copy copies inside the service: the version etag of from, if one is given, and not onto another object if fresh.
func (s *S3) copy(ctx context.Context, to, from, etag string, fresh bool) error {
	return s.bucket.Copy(ctx, to, from, &cloud.CopyOptions{BeforeCopy: func(as func(any) bool) error {
		var in *s3.CopyObjectInput
		if !as(&in) {
			return errors.New("the bucket is not of S3")
		}
		if etag != "" {
			in.CopySourceIfMatch = aws.String(etag)
		}
		if fresh {
			in.IfNoneMatch = aws.String("*")
		}
		// The uploader's headers are not taken over: a page of HTML must not pass for one of the bucket's owner.
		in.MetadataDirective = types.MetadataDirectiveReplace
		in.ContentType = aws.String(ContentType)
		in.CacheControl = aws.String(s3CacheControl)
		return nil
	}})
}

// s3CacheControl is what downloads are answered with. See Disk.send.
var s3CacheControl = fmt.Sprintf("private, max-age=%d, immutable", int(URLLifetime.Seconds()))

func (s *S3) kept(key Key) string   { return s.cfg.Prefix + s3Kept + string(key) }
func (s *S3) upload(key Key) string { return s.cfg.Prefix + s3Uploads + string(key) }

// lock takes the lock of key and returns what releases it.
func (s *S3) lock(key Key) (unlock func()) {
	mu := &s.locks[hash(key)%s3Stripes]
	mu.Lock()
	return mu.Unlock
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, key Key, data []byte) error {
	if !key.Valid() {
		return ErrKey
	}
	if int64(len(data)) > s.cfg.MaxBytes {
		return ErrTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	if err := s.probe(ctx); err != nil {
		return s3Error("store object", err)
	}
	defer s.lock(key)()
	if s.conditions.Load() != conditionsKept { // then that of a write may be ignored too
		if _, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	err := s.bucket.WriteAll(ctx, s.kept(key), data, &cloud.WriterOptions{
		ContentType: ContentType, CacheControl: s3CacheControl, IfNotExist: true,
	})
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return nil
	}
	return s3Error("store object", err)
}

// Seal implements Store, in two calls where the service keeps conditions, else in three. ErrTooLarge: the upload was, and
// is deleted.
func (s *S3) Seal(ctx context.Context, key Key) (Info, error) {
	if !key.Valid() {
		return Info{}, ErrKey
	}
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	if err := s.probe(ctx); err != nil {
		return Info{}, s3Error("seal object", err)
	}
	defer s.lock(key)()
	fresh := s.conditions.Load() == conditionsKept
	if !fresh {
		if info, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
			return info, err
		}
	}
	for range s3Tries {
		upload, err := s.bucket.Attributes(ctx, s.upload(key))
		switch {
		case gcerrors.Code(err) == gcerrors.NotFound:
			return s.Stat(ctx, key)
		case err != nil:
			return Info{}, s3Error("seal object", err)
		case upload.Size > s.cfg.MaxBytes:
			return s.refuse(ctx, key)
		}
		err = s.copy(ctx, s.kept(key), s.upload(key), upload.ETag, fresh)
		switch gcerrors.Code(err) {
		case gcerrors.OK:
			return Info{Size: upload.Size, Stored: time.Now()}, nil
		case gcerrors.FailedPrecondition, gcerrors.NotFound:
			// It is kept already, or the upload was replaced or deleted in between.
			if info, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
				return info, err
			}
		default:
			return Info{}, s3Error("seal object", err)
		}
	}
	return Info{}, errors.New("seal object: the upload does not stay the same")
}

// refuse deletes an upload that is too large, unless something is kept, which the upload came after.
func (s *S3) refuse(ctx context.Context, key Key) (Info, error) {
	if info, err := s.Stat(ctx, key); !errors.Is(err, ErrNotFound) {
		return info, err
	}
	if err := s.remove(ctx, s.upload(key)); err != nil {
		s.cfg.Log.Warn("an upload that is too large could not be deleted yet", "key", key, "err", err)
	}
	return Info{}, ErrTooLarge
}

// Open implements Store.
func (s *S3) Open(ctx context.Context, key Key) (io.ReadCloser, Info, error) {
	if !key.Valid() {
		return nil, Info{}, ErrKey
	}
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	r, err := s.bucket.NewReader(ctx, s.kept(key), nil)
	if err != nil {
		cancel()
		return nil, Info{}, s3Error("read object", err)
	}
	return reading{r, cancel}, Info{Size: r.Size(), Stored: r.ModTime()}, nil
}

// reading is an object that is being read. The time for that ends with it.
type reading struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (r reading) Close() error {
	defer r.cancel()
	return r.ReadCloser.Close()
}

// Stat implements Store.
func (s *S3) Stat(ctx context.Context, key Key) (Info, error) {
	if !key.Valid() {
		return Info{}, ErrKey
	}
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	at, err := s.bucket.Attributes(ctx, s.kept(key))
	if err != nil {
		return Info{}, s3Error("look up object", err)
	}
	return Info{Size: at.Size, Stored: at.ModTime}, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key Key) error {
	if !key.Valid() {
		return ErrKey
	}
	ctx, cancel := context.WithTimeout(ctx, s3Timeout)
	defer cancel()
	defer s.lock(key)()
	for _, name := range []string{s.upload(key), s.kept(key)} {
		if err := s.remove(ctx, name); err != nil {
			return s3Error("delete object", err)
		}
	}
	return nil
}

// remove deletes what may not exist.
func (s *S3) remove(ctx context.Context, name string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(s.cfg.Bucket), Key: aws.String(name)})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// SignGet implements Store. It asks nothing of the service.
func (s *S3) SignGet(ctx context.Context, key Key, ttl time.Duration) (string, error) {
	if !key.Valid() {
		return "", ErrKey
	}
	return s.sign(ctx, http.MethodGet, s.kept(key), ttl)
}

// SignPut implements Store. It asks nothing of the service. The upload may have any Content-Type or none.
func (s *S3) SignPut(ctx context.Context, key Key, ttl time.Duration) (string, error) {
	if !key.Valid() {
		return "", ErrKey
	}
	return s.sign(ctx, http.MethodPut, s.upload(key), ttl)
}

// sign makes a presigned URL. Nothing but the host is signed of the request's header, so that every client can meet it.
func (s *S3) sign(ctx context.Context, method, name string, ttl time.Duration) (string, error) {
	creds, err := s.creds.Retrieve(ctx)
	if err != nil {
		return "", fmt.Errorf("sign URL: %w", err)
	}
	u, err := url.Parse(fmt.Sprintf("%s%s?X-Amz-Expires=%d", s.public, name, int(ttl.Seconds())))
	if err != nil {
		return "", fmt.Errorf("sign URL: %w", err)
	}
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}
	signed, _, err := s.signer.PresignHTTP(ctx, creds, r, "UNSIGNED-PAYLOAD", "s3", s.cfg.region(), time.Now())
	if err != nil {
		return "", fmt.Errorf("sign URL: %w", err)
	}
	return signed, nil
}

// statusOf is the HTTP status that an error came with, 0 for none.
func statusOf(err error) int {
	if answer, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}

// throttled tells whether a code means that the caller should come back later.
func throttled(code string) bool {
	switch code {
	case "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestTimeout", "RequestLimitExceeded":
		return true
	}
	return false
}

// s3Error gives errors of the service the meaning they have for a Store.
func s3Error(what string, err error) error {
	if err == nil {
		return nil
	}
	if gcerrors.Code(err) == gcerrors.NotFound && !isCode(err, "NoSuchBucket") {
		return ErrNotFound
	}
	// MinIO, versitygw and Ceph, in this order, and the status for it.
	if isCode(err, "XMinioStorageFull") || isCode(err, "XMinioAdminBucketQuotaExceeded") || isCode(err, "QuotaExceeded") ||
		statusOf(err) == http.StatusInsufficientStorage {
		return fmt.Errorf("%s: %w", what, ErrFull)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func isCode(err error, code string) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == code
}
