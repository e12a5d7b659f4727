// SPDX-License-Identifier: AGPL-3.0-or-later

// Package client speaks the API v2 of a horde: it asks for images and text, and it is what a worker uses to fetch jobs
// and to hand in results.
//
// A [Client] is made once and is safe for use by several goroutines:
//
//	c, err := client.New("https://horde.example", "0000000000", client.WithAgent("my-app:1.0:https://my.app"))
//	result, err := c.GenerateText(ctx, client.TextRequest{Prompt: "Once upon a time"}, nil)
//
// The quick way is [Client.GenerateImage] and [Client.GenerateText], which submit, poll at a polite pace, fetch the
// results and cancel the request when their context ends. Each step is also there by itself: [Client.SubmitImage],
// [Client.Check], [Client.ImageStatus], [Client.CancelImage] and their kin.
//
// A worker calls [Client.PopImage] or [Client.PopText] until it gets a job, [Client.Upload] for each image, and
// [Client.SubmitImageResult] or [Client.SubmitTextResult] once for each id of the job.
//
// # Errors
//
// A refusal by the server is an [*Error] with the stable code in RC. Errors of the network are returned wrapped as they
// are. Use [HasCode] to ask for one code.
//
// # Retries
//
// Calls that may be repeated without harm are retried on 429, on 5xx and on broken connections, honouring Retry-After.
// Calls that would do their work twice (submitting a request, popping a job) are retried only where the server says
// that it did nothing: 429, and 503 with Retry-After. See [Retry].
//
// # Decoding
//
// Servers of this API differ in small ways, so answers are read tolerantly: a number may come as a string and a string
// as a number, members may be missing or null, and unknown members and unknown enumeration values are kept or ignored
// but never an error.
package client
