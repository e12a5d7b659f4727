// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "net/http"

// Refusals of images that come with a submission (errors chapter, 5.2; requests chapter, 12).
var (
	// ErrImageValidation: the text is no base64, no image, has a "data:" prefix, or names a URL that could not be
	// fetched. Its text does not say why a fetch failed: that would tell what answers inside the server's network.
	ErrImageValidation  = refusal(http.StatusBadRequest, "ImageValidationFailed", "Image validation failed. Send base64 without a prefix, or a URL that can be reached from the internet.")
	ErrSourceSize       = refusal(http.StatusBadRequest, "SourceImageSizeExceeded", "An image behind a URL has at most 5000 KiB.")
	ErrSourceURL        = refusal(http.StatusBadRequest, "SourceImageUrlInvalid", "The URL does not lead to an image.")
	ErrSourceUnreadable = refusal(http.StatusBadRequest, "SourceImageUnreadable", "The image is empty, corrupt or not supported.")
	ErrSourceResolution = refusal(http.StatusBadRequest, "SourceImageResolutionExceeded", "An image has at most 3072x3072 pixels.")
	ErrInpaintingMask   = refusal(http.StatusBadRequest, "InpaintingMissingMask", "Inpainting needs a mask, or a source image with an alpha channel.")
)
