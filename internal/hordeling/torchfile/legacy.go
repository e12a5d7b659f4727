// SPDX-License-Identifier: AGPL-3.0-or-later

package torchfile

import (
	"context"
	"encoding/binary"

	"horde/internal/hordeling/pickle"
)

// legacyProtocol is the version of the legacy stream: the second pickle, and again in the third.
const legacyProtocol = 1001

// countBytes is the size of the element count before each storage.
const countBytes = 8

// legacyReader cuts the pickles and storages of a legacy stream from each other (hordeling chapter, section 6.2).
type legacyReader struct {
	ctx    context.Context
	data   []byte
	pos    int64
	limits *Limits
}

func (r *legacyReader) pickle(where string, dialect pickle.Dialect) (*pickle.Result, error) {
	result, err := pickle.Decode(r.ctx, r.data[r.pos:], pickle.Options{
		Dialect: dialect, Limits: &r.limits.Pickle, Where: where, BaseOffset: r.pos,
	})
	if err != nil {
		return nil, err
	}
	r.pos += result.Consumed
	return result, nil
}

func (r *legacyReader) bad(format string, args ...any) error {
	return pickle.Refuse(pickle.Corrupt, "", r.pos, "legacy stream: "+format, args...)
}

func openLegacy(ctx context.Context, data []byte, limits Limits) (*File, error) {
	r := &legacyReader{ctx: ctx, data: data, limits: &limits}
	if err := r.header(); err != nil {
		return nil, err
	}
	object, err := r.pickle("the object", pickle.Legacy)
	if err != nil {
		return nil, err
	}
	keys, err := r.keys()
	if err != nil {
		return nil, err
	}
	f := &File{Container: Legacy, Root: object.Root, storages: make(map[string][]byte)}
	declared := make(map[string]*pickle.Storage, len(object.Storages))
	for _, s := range object.Storages {
		declared[s.Key] = s
	}
	for _, key := range keys {
		s, ok := declared[key]
		if !ok {
			return nil, r.bad("storage %s is listed and not used", key)
		}
		if f.storages[key], err = r.storage(s); err != nil {
			return nil, err
		}
	}
	if rest := int64(len(data)) - r.pos; rest > 0 {
		return nil, r.bad("%d bytes follow the last storage", rest)
	}
	return f, f.check(object.Storages)
}

// refuseLegacyText is the refusal of a legacy stream of protocol 0 or 1: Unsafe where one of its pickles is.
func refuseLegacyText(ctx context.Context, data []byte) error {
	at := int64(0)
	var refusal error
	for _, part := range legacyParts {
		n, err := pickle.RefuseOlder(ctx, data[at:], pickle.Options{Where: part, BaseOffset: at})
		r, ok := err.(*pickle.Refusal)
		if !ok || r.Code != pickle.Unsupported {
			return err
		}
		at, refusal = at+n, r
	}
	return refusal
}

// header reads the three pickles before the object.
func (r *legacyReader) header() error {
	magic, err := r.pickle("the magic number", pickle.Plain)
	if err != nil {
		return err
	}
	if magic.Root != (pickle.Magic{}) {
		return r.bad("wrong magic number")
	}
	version, err := r.pickle("the version", pickle.Plain)
	if err != nil {
		return err
	}
	if version.Root != int64(legacyProtocol) {
		return r.bad("version is not %d", legacyProtocol)
	}
	info, err := r.pickle("the system information", pickle.Plain)
	if err != nil {
		return err
	}
	d, ok := info.Root.(*pickle.Dict)
	if !ok {
		return r.bad("the system information is no dict")
	}
	if v, _ := d.Get("protocol_version"); v != int64(legacyProtocol) {
		return r.bad("protocol version is not %d", legacyProtocol)
	}
	switch little, _ := d.Get("little_endian"); little {
	case true:
		return nil
	case false:
		return pickle.Refuse(pickle.Unsupported, "", r.pos, "the storages are big-endian")
	default:
		return r.bad("the byte order is missing")
	}
}

// keys reads the list of storage keys, each of which may come once.
func (r *legacyReader) keys() ([]string, error) {
	list, err := r.pickle("the list of storages", pickle.Plain)
	if err != nil {
		return nil, err
	}
	l, ok := list.Root.(*pickle.List)
	if !ok {
		return nil, r.bad("the list of storages is no list")
	}
	if len(l.Items) > r.limits.Pickle.Storages {
		return nil, pickle.Refuse(pickle.TooComplex, "the list of storages", -1, "more than %d storages", r.limits.Pickle.Storages)
	}
	keys := make([]string, 0, len(l.Items))
	seen := make(map[string]bool)
	for _, item := range l.Items {
		key, ok := item.(string)
		if !ok || seen[key] {
			return nil, r.bad("a storage key is no string or comes twice")
		}
		seen[key] = true
		keys = append(keys, key)
	}
	return keys, nil
}

func (r *legacyReader) storage(s *pickle.Storage) ([]byte, error) {
	rest := r.data[r.pos:]
	if len(rest) < countBytes {
		return nil, r.bad("the file ends before storage %s", s.Key)
	}
	count := int64(binary.LittleEndian.Uint64(rest))
	if count != s.Count {
		return nil, r.bad("storage %s has %d elements, the pickle says %d", s.Key, count, s.Count)
	}
	rest = rest[countBytes:]
	if int64(len(rest)) < s.Bytes() {
		return nil, r.bad("storage %s has %d bytes, %d are left", s.Key, s.Bytes(), len(rest))
	}
	r.pos += countBytes + s.Bytes()
	return rest[:s.Bytes()], nil
}
