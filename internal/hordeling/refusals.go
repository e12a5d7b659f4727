// SPDX-License-Identifier: AGPL-3.0-or-later

package hordeling

import (
	"context"
	"errors"
	"net/http"
	"time"

	"horde/internal/horde"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/embedding"
	"horde/internal/hordeling/pickle"
	"horde/internal/hordeling/safetensors"
	"horde/internal/hordeling/torchfile"
)

// retrySoon is what transient refusals ask for: workers pause as long between their tries anyway.
const retrySoon = 3 * time.Second

// Refusals. Deployed workers give up where a message that is not a 404 contains "unexpected type" or "hash", in any
// case, and try ten more times where it contains neither. So every final refusal contains one of them, no passing one
// contains either, and no message repeats what CivitAI said. TestMessagesSayWhetherToGiveUp holds the texts to that.
var (
	ErrInvalidModelID    = &horde.Error{RC: "InvalidModelId", Status: http.StatusBadRequest, Message: "The model id is of an unexpected type: it must be a number of 1 to 10 digits."}
	ErrNotTI             = &horde.Error{RC: "NotTextualInversion", Status: http.StatusBadRequest, Message: "The model is of an unexpected type: it is no textual inversion."}
	ErrModelNotFound     = &horde.Error{RC: "ModelNotFound", Status: http.StatusNotFound, Message: "CivitAI has no model with this id."}
	ErrNoUsableFile      = &horde.Error{RC: "NoUsableFile", Status: http.StatusUnprocessableEntity, Message: "All files of the model's newest version are of an unexpected type: none holds weights in a known format."}
	ErrFileFlagged       = &horde.Error{RC: "FileFlagged", Status: http.StatusUnprocessableEntity, Message: "The file is of an unexpected type: a scan by CivitAI found it dangerous."}
	ErrFileTooLarge      = &horde.Error{RC: "FileTooLarge", Status: http.StatusUnprocessableEntity, Message: "The file is of an unexpected type: it is too large for a textual inversion."}
	ErrDownloadDenied    = &horde.Error{RC: "DownloadDenied", Status: http.StatusUnprocessableEntity, Message: "The file is of an unexpected type: CivitAI gives it only to people who are logged in, or no more."}
	ErrHashMismatch      = &horde.Error{RC: "HashMismatch", Status: http.StatusBadRequest, Message: "The downloaded file does not have the hash that CivitAI names."}
	ErrUnsafePickle      = &horde.Error{RC: "UnsafePickle", Status: http.StatusUnprocessableEntity}
	ErrUnsupportedPickle = &horde.Error{RC: "UnsupportedPickle", Status: http.StatusUnprocessableEntity}
	ErrCorruptFile       = &horde.Error{RC: "CorruptFile", Status: http.StatusUnprocessableEntity}
	ErrTooComplex        = &horde.Error{RC: "TooComplex", Status: http.StatusUnprocessableEntity}
	ErrUnsupported       = &horde.Error{RC: "UnsupportedEmbedding", Status: http.StatusUnprocessableEntity}
	ErrUpstream          = &horde.Error{RC: "UpstreamUnavailable", Status: http.StatusServiceUnavailable, Message: "CivitAI does not answer at the moment. Please try again.", RetryAfter: retrySoon}
	ErrScanPending       = &horde.Error{RC: "UpstreamUnavailable", Status: http.StatusServiceUnavailable, Message: "CivitAI has not examined the file yet. Please try again later.", RetryAfter: time.Minute}
	ErrDownloadFailed    = &horde.Error{RC: "DownloadFailed", Status: http.StatusServiceUnavailable, Message: "The file could not be downloaded from CivitAI. Please try again.", RetryAfter: retrySoon}
	ErrStorage           = &horde.Error{RC: "StorageUnavailable", Status: http.StatusServiceUnavailable, Message: "The storage of converted files is not available at the moment. Please try again.", RetryAfter: retrySoon}
	ErrFull              = &horde.Error{RC: "StorageUnavailable", Status: http.StatusServiceUnavailable, Message: "The storage is full of files that are in use. Please try again later.", RetryAfter: time.Minute}
	ErrPending           = &horde.Error{RC: "ConversionPending", Status: http.StatusServiceUnavailable, Message: "The file is being converted. Please ask again.", RetryAfter: retrySoon}
	ErrRateLimited       = &horde.Error{RC: "RateLimited", Status: http.StatusTooManyRequests, Message: "Too many requests from this address."}
	ErrNotFound          = &horde.Error{RC: "NotFound", Status: http.StatusNotFound, Message: "There is nothing at this address."}
	ErrMethodNotAllowed  = &horde.Error{RC: "MethodNotAllowed", Status: http.StatusMethodNotAllowed, Message: "This method is not allowed here."}
	ErrInternal          = &horde.Error{RC: "InternalError", Status: http.StatusInternalServerError, Message: "Internal Server Error"}
)

var (
	refusalByCode = map[pickle.Code]*horde.Error{
		pickle.Unsafe: ErrUnsafePickle, pickle.Unsupported: ErrUnsupportedPickle,
		pickle.Corrupt: ErrCorruptFile, pickle.TooComplex: ErrTooComplex,
	}
	// terminal are the refusals after which another try is pointless. Those of the file itself are kept in the archive.
	terminal = []*horde.Error{
		ErrInvalidModelID, ErrNotTI, ErrNoUsableFile, ErrFileFlagged, ErrFileTooLarge, ErrDownloadDenied, ErrHashMismatch,
		ErrUnsafePickle, ErrUnsupportedPickle, ErrCorruptFile, ErrTooComplex, ErrUnsupported,
	}
	// passing are those that another try may not meet.
	passing = []*horde.Error{ErrUpstream, ErrScanPending, ErrDownloadFailed, ErrStorage, ErrFull, ErrPending, ErrRateLimited, ErrInternal}
)

// unexpected is the message of a refusal of the file's content. The reason is of this program's making, and quotes the
// file at most in short escaped pieces.
func unexpected(e *horde.Error, reason string) *horde.Error {
	return e.Withf("The file is of an unexpected type and was not converted: %s.", reason)
}

// RefusalOf turns an error of the packages below into what a caller is told. Nil stays nil.
func RefusalOf(err error) *horde.Error {
	var (
		told   *horde.Error
		source *pickle.Refusal
		shape  *embedding.Error
		format *safetensors.FormatError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return told
	case errors.As(err, &source):
		return unexpected(refusalByCode[source.Code], source.Error())
	case errors.As(err, &shape):
		return unexpected(ErrUnsupported, shape.Reason)
	case errors.As(err, &format):
		return unexpected(ErrCorruptFile, format.Error())
	case errors.Is(err, torchfile.ErrHTML):
		return unexpected(ErrDownloadDenied, err.Error())
	case errors.Is(err, civitai.ErrNotFound):
		return ErrModelNotFound
	case errors.Is(err, civitai.ErrUnavailable):
		return ErrUpstream
	case errors.Is(err, civitai.ErrDenied):
		return ErrDownloadDenied
	case errors.Is(err, civitai.ErrTooLarge):
		return ErrFileTooLarge
	case errors.Is(err, civitai.ErrDownload):
		return ErrDownloadFailed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ErrPending
	}
	return ErrInternal
}
