// SPDX-License-Identifier: AGPL-3.0-or-later

// Package blob is where images live: results that workers upload and clients download, and source images that go the
// other way. They are large, short-lived, and never pass through the engine: who may read or write one gets a URL that
// carries the permission in its signature.
//
// An object has two lives. What somebody uploads with a signed PUT is an upload: it may be repeated and replaced until
// the URL expires, and nobody can download it. [Store.Seal] turns the upload into a kept object, which no URL can change
// any more; only kept objects are downloaded. The engine therefore seals first, then looks at the image, then pays, and
// a worker cannot swap the image that was looked at. What the server itself stores with [Store.Put] is kept at once.
//
// Objects are not deleted when their request ends: a [Pruner] deletes what is older than two hours.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// URLLifetime is how long the signed URLs of the AI Horde's API work.
const URLLifetime = 30 * time.Minute

// MaxAge is how long objects are kept. It outlives a request, its URLs and a retrieval some minutes late.
const MaxAge = 120 * time.Minute

// Errors of a Store, for errors.Is.
var (
	// ErrNotFound means that no object has this key.
	ErrNotFound = errors.New("no such object")
	// ErrKey refuses a key that none of the constructors makes.
	ErrKey = errors.New("malformed object key")
	// ErrSealed refuses an upload to an object that is kept already.
	ErrSealed = errors.New("the object can no longer be replaced")
	// ErrTooLarge refuses an object above the configured size.
	ErrTooLarge = errors.New("the object is too large")
	// ErrFull means that the place where objects live has no room left. Nothing was stored.
	ErrFull = errors.New("no room left for objects")
)

// Key names an object: the bucket, a slash, and a name that ends in ".webp". Make keys with the functions below; a Store
// answers ErrKey to any other.
type Key string

// Result is the image of a generation or of an alchemy form, by its id (a lower-case, hyphenated UUID). The id stands
// directly before ".webp" in all URLs: workers find it there. Like all ids of a horde it begins with the time at which it
// was made; a Store may take a key whose id lies in the future for too young to be pruned.
func Result(id string) Key { return Key("results/" + id + ".webp") }

// SourceImage is the source image of the image request that name stands for: see horde.RequestID.SourceName.
func SourceImage(name string) Key { return Key("sources/" + name + "_src.webp") }

// SourceMask is the mask of the image request that name stands for.
func SourceMask(name string) Key { return Key("sources/" + name + "_msk.webp") }

// ExtraSourceImage is the i-th extra source image, from 0, of the image request that name stands for. The spelling is the AI Horde's.
func ExtraSourceImage(name string, i int) Key {
	return Key(fmt.Sprintf("sources/%s_exra_src_%d.webp", name, i))
}

// AlchemySource is the source image of the alchemy request that name stands for.
func AlchemySource(name string) Key { return Key("sources/" + name + ".webp") }

var keyPattern = regexp.MustCompile(
	`^(results|sources)/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(_src|_msk|_exra_src_[0-9]{1,2})?\.webp$`)

// Valid tells whether k has the form that the constructors make.
func (k Key) Valid() bool { return keyPattern.MatchString(string(k)) }

// ContentType is the media type of all objects.
const ContentType = "image/webp"

// Info describes an object.
type Info struct {
	Size   int64 // bytes
	Stored time.Time
}

// Store keeps objects. All methods are safe for concurrent use and return ErrKey for a malformed key. What a method
// stored survives the end of the process; what else it survives is the implementation's to say.
type Store interface {
	// Put stores data as a kept object, in place of an upload. What is kept already stays: it is never exchanged. ErrTooLarge,
	// ErrFull.
	Put(ctx context.Context, key Key, data []byte) error
	// Seal makes the upload of key a kept object and describes it. Of a kept object it describes that, and an upload
	// that came later is not looked at: sealing twice is harmless. ErrNotFound where there is neither; ErrTooLarge of an
	// upload whose size nobody could bound before, which is deleted.
	Seal(ctx context.Context, key Key) (Info, error)
	// Open reads a kept object. The caller closes the reader. ErrNotFound.
	Open(ctx context.Context, key Key) (io.ReadCloser, Info, error)
	// Stat describes a kept object. ErrNotFound.
	Stat(ctx context.Context, key Key) (Info, error)
	// Delete removes the kept object and the upload of key. It is no error if there is none. After it, an upload URL
	// that has not expired works again.
	Delete(ctx context.Context, key Key) error
	// Prune removes all objects and uploads stored before the given time and returns how many.
	Prune(ctx context.Context, before time.Time) (int, error)
	// SignGet returns a URL from which anybody can download the kept object for ttl. The object need not exist yet.
	SignGet(ctx context.Context, key Key, ttl time.Duration) (string, error)
	// SignPut returns a URL to which anybody can upload the object for ttl, repeatedly, until it is sealed. URLs of keys
	// made by the same constructor are equal up to the id.
	SignPut(ctx context.Context, key Key, ttl time.Duration) (string, error)
}

// ReadAll returns the bytes of a kept object. ErrNotFound.
func ReadAll(ctx context.Context, s Store, key Key) ([]byte, error) {
	r, info, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, info.Size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("read object %s: %w", key, err)
	}
	return data, nil
}
