// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"context"
	"path/filepath"

	"horde/internal/blob"
)

// openBlobs opens the place of the images. The engine is there: it has the secret that signs URLs of the local disk.
func (n *Node) openBlobs(ctx context.Context) (blob.Store, error) {
	if n.Blobs == "" {
		return blob.OpenDisk(blob.DiskConfig{
			Dir: filepath.Join(n.Data, "images"), Secret: []byte(n.Engine.Secret()), Base: n.base(), Sync: n.SyncImages, Log: n.Log,
		})
	}
	cfg, err := blob.ParseS3(n.Blobs)
	if err != nil {
		return nil, err
	}
	cfg.Log = n.Log
	images, err := blob.OpenS3(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n.bucket = images
	return images, nil
}

// ImageOrigins are the origins of results that are kept elsewhere, for pages that show them.
func (n *Node) ImageOrigins() []string {
	if n.Blobs == "" {
		return nil
	}
	cfg, err := blob.ParseS3(n.Blobs)
	if err == nil {
		var origin string
		if origin, err = cfg.Origin(context.Background()); err == nil {
			return []string{origin}
		}
	}
	n.logger().Warn("pages cannot show results: it is not known where they are", "error", err)
	return nil
}
