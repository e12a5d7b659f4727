// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"context"
	"errors"
	"fmt"
)

// Text is a server that continues prompts. Methods may be called at the same time.
type Text interface {
	// Probe asks the server what it is and what it has loaded. It is called at start and once a minute, so that a model
	// changed at run time is noticed. The error is an *Error of kind Unreachable when there is no answer.
	Probe(ctx context.Context) (TextInfo, error)
	// Generate continues the job's prompt. progress (never nil) is called as tokens arrive, or not at all when the
	// server cannot stream. When ctx ends, the server is told to stop, and what arrived so far is returned with the
	// context's error. Other errors are *Error.
	Generate(ctx context.Context, job TextJob, progress func(TextProgress)) (TextResult, error)
}

// TextInfo describes a text server.
type TextInfo struct {
	// Kind is the name of the server for the agent string: "koboldcpp", "llamacpp", "vllm", "ollama", "tabby",
	// "aphrodite", "openai", "sandbox".
	Kind string
	// Version is the server's own, or empty.
	Version string
	// Model is the loaded model by the server's spelling; empty when none is loaded.
	Model string
	// Context is the context size in tokens, prompt and answer together; 0 when unknown.
	Context int
	// MaxLength is the largest number of new tokens, 0 when unknown.
	MaxLength int
	// Streams tells that progress will be called while text arrives, so that silence means a stall.
	Streams bool
	// Softprompts can be chosen by name; only KoboldAI has them.
	Softprompts []string
	// Idle is how long the server has had nothing to do from others, in seconds; negative when unknown.
	Idle float64
}

// TextProgress is how far a text is.
type TextProgress struct {
	// Tokens counts pieces that arrived, about one per token.
	Tokens int
}

// TextResult is a generated text.
type TextResult struct {
	// Text is the continuation alone, with the stop sequence that ended it where the server tells it.
	Text string
	// Seed is the one used, 0 when the server does not tell.
	Seed int64
	// Tokens is the number of new tokens, 0 when unknown.
	Tokens int
}

// Images is a server that makes pictures. Methods may be called at the same time, but most servers work on one job
// after the other.
type Images interface {
	// Probe asks what the server can do and which models it has.
	Probe(ctx context.Context) (ImageInfo, error)
	// Generate makes the job's pictures, one for each of job.Count, in order. progress (never nil) is called with each
	// sign of life. When ctx ends, the server is told to stop.
	Generate(ctx context.Context, job *ImageJob, progress func(ImageProgress)) (ImageResult, error)
	// PostProcess runs one post-processor of the horde's list, for example "RealESRGAN_x4plus", on a picture.
	PostProcess(ctx context.Context, p Picture, name string, strength float64) (Picture, error)
	// Reload makes the server look for files that were put into its folders while it runs, and returns what it has then.
	Reload(ctx context.Context) (Files, error)
	// Free asks the server to give up memory. Servers that cannot do nothing.
	Free(ctx context.Context) error
}

// Files are the small files that an image server has beside its models, by its own spelling.
type Files struct {
	Loras, Embeddings []string
}

// ImageInfo describes an image server.
type ImageInfo struct {
	// Kind is "comfyui", "a1111", "forge", "sdnext", "sdcpp" or "sandbox".
	Kind    string
	Version string
	// Models are the checkpoints by the server's spelling. A driver finds the one for a job by base name.
	Models []string
	// Loras are the LoRA files present.
	Loras []string
	// Has says which features the server can do.
	Has map[Feature]bool
	// PostProcessors are the horde's names of those that can run.
	PostProcessors []string
	// SeedPerImage: image i of a batch has seed+i and can be made again by itself. False: all come from one noise.
	SeedPerImage bool
	// Progress: Generate tells how far it is, so that silence means a stall.
	Progress bool
	// Safe: the server cannot make a picture that needs a safety check, as the painter inside this program cannot.
	Safe bool
	// Baseline is that of all models, for servers that know it; empty otherwise.
	Baseline Baseline
	// Device is shown to the operator, for example "NVIDIA ... 24 GiB".
	Device string
}

// Feature is something that an image server may be able to do beyond text to image. The names are those of the horde's
// capability gates where there is one.
type Feature string

// The features that drivers report.
const (
	Img2Img     Feature = "img2img"
	Inpainting  Feature = "inpainting"
	HiresFix    Feature = "hires_fix"
	ClipSkip    Feature = "clip_skip"
	Tiling      Feature = "tiling"
	Controlnet  Feature = "controlnet"
	ControlMap  Feature = "return_control_map"
	LoraFiles   Feature = "lora"
	Embeddings  Feature = "textual_inversion"
	Flux        Feature = "flux"
	Cascade     Feature = "stable_cascade_2pass"
	Remix       Feature = "extra_source_images"
	Qwen        Feature = "qwen_image"
	ZImage      Feature = "z_image"
	QRCode      Feature = "qr_code"
	Transparent Feature = "layer_diffuse"
)

// ImageProgress is a sign of life of an image job.
type ImageProgress struct {
	// Stage is "loading", "sampling" or "post-processing".
	Stage string
	// Step and Steps are sampler steps; Steps is 0 when unknown.
	Step, Steps int
}

// Picture is an image file in memory.
type Picture struct {
	// Data is PNG, JPEG or WebP.
	Data []byte
	// Seed is the one that this picture was made with.
	Seed uint32
}

// ImageResult is what an image server made of a job.
type ImageResult struct {
	Pictures []Picture
	// Ignored names options of the job that this server could not honour, for the result's metadata.
	Ignored []string
}

// Kind sorts the failures of servers by what a worker does about them.
type Kind int

// Kinds of failure.
const (
	// Failed: this job failed, the server is fine. The job is handed back.
	Failed Kind = iota
	// Unreachable: no connection or no answer. Popping stops until a probe succeeds.
	Unreachable
	// Busy: the server is occupied by others; the same call will work later.
	Busy
	// OutOfMemory: the job was too large for the memory that is free.
	OutOfMemory
	// Refused: the server does not accept this job, and never will.
	Refused
	// Denied: the server wants another key or password.
	Denied
)

func (k Kind) String() string {
	return [...]string{"failed", "unreachable", "busy", "out of memory", "refused", "denied"}[k]
}

// Error is a failure of a server.
type Error struct {
	Kind    Kind
	Message string
	// Cause is the error underneath, nil when the server itself reported the failure.
	Cause error
}

func (e *Error) Error() string {
	switch {
	case e.Cause == nil:
		return fmt.Sprintf("backend %s: %s", e.Kind, e.Message)
	case e.Message == "":
		return fmt.Sprintf("backend %s: %v", e.Kind, e.Cause)
	}
	return fmt.Sprintf("backend %s: %s: %v", e.Kind, e.Message, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of err, Failed for errors that are no *Error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Failed
}
