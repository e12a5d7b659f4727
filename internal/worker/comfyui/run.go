// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"horde/client"
	"horde/internal/worker/backend"
)

const (
	// pollAlone is the pause between two looks at the history without a socket, pollBeside with one: a message may get
	// lost.
	pollAlone  = time.Second
	pollBeside = 5 * time.Second
	dialLimit  = 5 * time.Second
	// cancelLimit bounds the calls that stop a prompt.
	cancelLimit = 10 * time.Second
	// maxFrame bounds one WebSocket message; previews of large pictures come in one.
	maxFrame = 64 << 20
	// maxPicture bounds one result.
	maxPicture = 256 << 20
)

// Driver speaks to one ComfyUI. mu guards objects.
type Driver struct {
	at *backend.Endpoint
	// files maps names of the horde to file names here; see New.
	files map[string]string

	mu      sync.Mutex
	objects Objects
}

// New returns a driver. files maps names of post-processors to the files that do them, where the file is named otherwise
// than the horde's list says; nil is fine.
func New(at *backend.Endpoint, files map[string]string) *Driver { return &Driver{at: at, files: files} }

// Probe implements backend.Images.
func (d *Driver) Probe(ctx context.Context) (backend.ImageInfo, error) {
	info := backend.ImageInfo{Kind: "comfyui", Progress: true}
	var stats struct {
		System struct {
			Version string `json:"comfyui_version"`
		} `json:"system"`
		Devices []struct {
			Name string `json:"name"`
			VRAM int64  `json:"vram_total"`
		} `json:"devices"`
	}
	if err := d.at.Get(ctx, "/system_stats", &stats); err != nil {
		return info, err
	}
	var objects Objects
	if err := d.at.Get(ctx, "/object_info", &objects); err != nil {
		return info, err
	}
	for _, c := range basic {
		if !objects.Has(c) {
			return info, backend.Errorf(backend.Refused, "this ComfyUI has no node %s", c)
		}
	}
	d.mu.Lock()
	d.objects = objects
	d.mu.Unlock()
	info.Version = stats.System.Version
	if len(stats.Devices) > 0 {
		info.Device = fmt.Sprintf("%s, %d MiB", stats.Devices[0].Name, stats.Devices[0].VRAM>>20)
	}
	info.Models = append(objects.Options("CheckpointLoaderSimple", "ckpt_name"), objects.Options("UNETLoader", "unet_name")...)
	info.Loras = objects.Options("LoraLoader", "lora_name")
	info.Has = objects.features()
	info.PostProcessors = d.postProcessors(objects)
	return info, nil
}

func (d *Driver) known(ctx context.Context) (Objects, error) {
	d.mu.Lock()
	o := d.objects
	d.mu.Unlock()
	if o != nil {
		return o, nil
	}
	if _, err := d.Probe(ctx); err != nil {
		return nil, err
	}
	return d.known(ctx)
}

// Generate implements backend.Images.
func (d *Driver) Generate(ctx context.Context, j *backend.ImageJob, progress func(backend.ImageProgress)) (backend.ImageResult, error) {
	var res backend.ImageResult
	have, err := d.known(ctx)
	if err != nil {
		return res, err
	}
	source, extra := "", []string(nil)
	if j.Source != nil {
		png, err := backend.EncodePNG(j.WithMask())
		if err != nil {
			return res, err
		}
		if source, err = d.upload(ctx, j.Key+".png", png); err != nil {
			return res, err
		}
	}
	for i, e := range j.Extra {
		png, err := backend.EncodePNG(e.Image)
		if err != nil {
			return res, err
		}
		name, err := d.upload(ctx, fmt.Sprintf("%s-%d.png", j.Key, i), png)
		if err != nil {
			return res, err
		}
		extra = append(extra, name)
	}
	g, ignored, err := Build(have, j, source, extra)
	if err != nil {
		return res, err
	}
	pictures, err := d.run(ctx, g, progress)
	if err != nil {
		return res, err
	}
	if len(pictures) < j.Count {
		return res, backend.Errorf(backend.Failed, "%d pictures in place of %d", len(pictures), j.Count)
	}
	for _, p := range pictures[:j.Count] {
		// One noise tensor serves the whole batch: the seed is that of all its pictures.
		res.Pictures = append(res.Pictures, backend.Picture{Data: p, Seed: j.Seed})
	}
	res.Ignored = ignored
	return res, nil
}

// PostProcess implements backend.Images.
func (d *Driver) PostProcess(ctx context.Context, p backend.Picture, name string, strength float64) (backend.Picture, error) {
	have, err := d.known(ctx)
	if err != nil {
		return p, err
	}
	up, face := "", ""
	if backend.IsUpscaler(name) {
		up = d.upscaler(have, name)
	} else {
		face = d.faceFixer(have, name)
	}
	if up == "" && face == "" {
		return p, backend.Errorf(backend.Refused, "the server cannot do %s", name)
	}
	source, err := d.upload(ctx, fmt.Sprintf("post-%x.png", sha256.Sum256(p.Data)), p.Data)
	if err != nil {
		return p, err
	}
	g := Upscale(up, source)
	if face != "" {
		g = FixFaces(face, source, strength)
	}
	pictures, err := d.run(ctx, g, func(backend.ImageProgress) {})
	if err != nil {
		return p, err
	}
	if len(pictures) == 0 {
		return p, backend.Errorf(backend.Failed, "no picture came back")
	}
	return backend.Picture{Data: pictures[0], Seed: p.Seed}, nil
}

// Reload implements backend.Images. ComfyUI looks into its folders whenever it is asked for their files.
func (d *Driver) Reload(ctx context.Context) (files backend.Files, err error) {
	var loader Objects
	if err := d.at.Get(ctx, "/object_info/LoraLoader", &loader); err != nil {
		return files, err
	}
	if err := d.at.Get(ctx, "/embeddings", &files.Embeddings); err != nil {
		return files, err
	}
	files.Loras = loader.Options("LoraLoader", "lora_name")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.objects != nil {
		// Jobs read the map that they have got: it is replaced, not changed.
		d.objects = maps.Clone(d.objects)
		maps.Copy(d.objects, loader)
	}
	return files, nil
}

// Free implements backend.Images.
func (d *Driver) Free(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cancelLimit)
	defer cancel()
	return d.at.JSON(ctx, http.MethodPost, "/free", map[string]bool{"unload_models": true, "free_memory": true}, nil)
}

// upload puts a picture into the server's folder of temporary files and returns the name to load it by.
func (d *Driver) upload(ctx context.Context, name string, data []byte) (string, error) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("image", name)
	if err != nil {
		return "", err
	}
	_, _ = part.Write(data)
	_ = w.WriteField("type", "temp")
	_ = w.WriteField("overwrite", "true")
	_ = w.Close()
	resp, err := d.at.Open(ctx, http.MethodPost, "/upload/image", w.FormDataContentType(), &body)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	reply, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		return "", backend.StatusError(resp.StatusCode, reply)
	}
	var up struct {
		Name   string `json:"name"`
		Folder string `json:"subfolder"`
		Type   string `json:"type"`
	}
	if err := client.Decode(reply, &up); err != nil || up.Name == "" {
		return "", backend.Errorf(backend.Failed, "upload: odd reply")
	}
	if up.Folder != "" {
		up.Name = up.Folder + "/" + up.Name
	}
	if up.Type != "" && up.Type != "input" {
		up.Name += " [" + up.Type + "]"
	}
	return up.Name, nil
}

// file is a picture that the server wrote.
type file struct {
	Name   string `json:"filename"`
	Folder string `json:"subfolder"`
	Type   string `json:"type"`
}

// history is what the server remembers of a finished prompt.
type history struct {
	Outputs map[string]struct {
		Images []file `json:"images"`
	} `json:"outputs"`
	Status struct {
		State    string `json:"status_str"`
		Messages []any  `json:"messages"`
	} `json:"status"`
}

// run queues a graph, follows it and fetches the pictures of its output node.
func (d *Driver) run(ctx context.Context, g Graph, progress func(backend.ImageProgress)) ([][]byte, error) {
	f := &follower{at: d.at, id: uuid.NewString(), progress: progress}
	f.connect(ctx)
	defer f.close()
	prompt, err := d.queue(ctx, g, f.id)
	if err != nil {
		return nil, err
	}
	h, err := f.follow(ctx, prompt)
	if err != nil {
		d.cancel(ctx, prompt)
		if backend.KindOf(err) == backend.OutOfMemory {
			_ = d.Free(context.WithoutCancel(ctx))
		}
		return nil, err
	}
	var pictures [][]byte
	for _, im := range h.Outputs[out].Images {
		data, err := d.view(ctx, im)
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, data)
	}
	_ = d.at.JSON(ctx, http.MethodPost, "/history", map[string]any{"delete": []string{prompt}}, nil)
	return pictures, nil
}

func (d *Driver) queue(ctx context.Context, g Graph, client string) (string, error) {
	var reply struct {
		ID     string         `json:"prompt_id"`
		Errors map[string]any `json:"node_errors"`
	}
	err := d.at.JSON(ctx, http.MethodPost, "/prompt", map[string]any{"prompt": g, "client_id": client}, &reply)
	if err != nil {
		return "", err
	}
	if _, bad := reply.Errors[out]; bad || reply.ID == "" {
		return "", backend.Errorf(backend.Refused, "the server refused the graph")
	}
	return reply.ID, nil
}

func (d *Driver) view(ctx context.Context, f file) ([]byte, error) {
	q := url.Values{"filename": {f.Name}, "subfolder": {f.Folder}, "type": {f.Type}}
	resp, err := d.at.Open(ctx, http.MethodGet, "/view?"+q.Encode(), "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPicture+1))
	if resp.StatusCode != http.StatusOK {
		return nil, backend.StatusError(resp.StatusCode, data)
	}
	if err != nil || len(data) > maxPicture {
		return nil, backend.Errorf(backend.Failed, "picture %s: broken or too large", f.Name)
	}
	return data, nil
}

// cancel takes a prompt out of the queue, or interrupts it when it runs. It is called for finished prompts too, where it
// finds nothing to do.
func (d *Driver) cancel(ctx context.Context, prompt string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer stop()
	if d.at.JSON(ctx, http.MethodPost, "/queue", map[string]any{"delete": []string{prompt}}, nil) != nil {
		return
	}
	var q struct {
		Running []any `json:"queue_running"`
	}
	if d.at.JSON(ctx, http.MethodGet, "/queue", nil, &q) != nil {
		return
	}
	for _, item := range q.Running {
		if fields, ok := item.([]any); ok && len(fields) > 1 && fields[1] == prompt {
			// Older servers do not look at the id and stop whatever runs, which is ours.
			_ = d.at.JSON(ctx, http.MethodPost, "/interrupt", map[string]string{"prompt_id": prompt}, nil)
		}
	}
}

// follower watches one prompt over a WebSocket of its own. Its goroutine ends with close.
type follower struct {
	at       *backend.Endpoint
	id       string // client id
	progress func(backend.ImageProgress)
	conn     *websocket.Conn
	frames   chan event
	stop     context.CancelFunc
}

// event is a text message of the socket.
type event struct {
	Type string `json:"type"`
	Data struct {
		Prompt    string `json:"prompt_id"`
		Node      string `json:"node"`
		Value     int    `json:"value"`
		Max       int    `json:"max"`
		Exception string `json:"exception_type"`
		Message   string `json:"exception_message"`
		NodeType  string `json:"node_type"`
	} `json:"data"`
	// noNode: the message had "node": null.
	noNode bool
}

// connect opens the socket; without one the history is polled.
func (f *follower) connect(ctx context.Context) {
	f.close()
	dial, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	target := strings.Replace(f.at.Base(), "http", "ws", 1) + "/ws?clientId=" + f.id
	conn, _, err := websocket.Dial(dial, target, &websocket.DialOptions{HTTPHeader: f.at.Header()})
	if err != nil {
		return
	}
	conn.SetReadLimit(maxFrame)
	f.conn = conn
	f.frames = make(chan event, 64)
	read, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	go readFrames(read, conn, f.frames)
}

// readFrames passes text messages on until the connection ends, then closes the channel.
func readFrames(ctx context.Context, conn *websocket.Conn, frames chan<- event) {
	defer close(frames)
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			continue // previews
		}
		var e event
		if client.Decode(data, &e) != nil {
			continue
		}
		e.noNode = e.Data.Node == "" && bytes.Contains(data, []byte(`"node": null`)) || bytes.Contains(data, []byte(`"node":null`))
		select {
		case frames <- e:
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) close() {
	if f.conn != nil {
		f.stop()
		_ = f.conn.CloseNow()
		f.conn, f.frames = nil, nil
	}
}

// follow waits for the end of a prompt. Old servers tell it by an "executing" without a node, new ones by
// "execution_success" too; the history has the last word.
func (f *follower) follow(ctx context.Context, prompt string) (history, error) {
	for {
		period := pollBeside
		if f.conn == nil {
			period = pollAlone
		}
		t := time.NewTimer(period)
		finished := false
		select {
		case <-ctx.Done():
			t.Stop()
			return history{}, ctx.Err()
		case <-t.C:
			finished = true // perhaps
			if f.conn == nil {
				f.connect(ctx)
			}
		case e, ok := <-f.frames:
			t.Stop()
			if !ok {
				f.close()
				continue
			}
			var err error
			if finished, err = f.take(e, prompt); err != nil {
				return history{}, err
			}
		}
		if !finished {
			continue
		}
		h, done, err := f.look(ctx, prompt)
		if done || err != nil {
			return h, err
		}
	}
}

// take handles one message.
func (f *follower) take(e event, prompt string) (finished bool, err error) {
	if e.Data.Prompt != "" && e.Data.Prompt != prompt {
		return false, nil
	}
	switch e.Type {
	case "execution_start", "execution_cached":
		f.progress(backend.ImageProgress{Stage: "loading"})
	case "executing":
		if e.noNode {
			return true, nil
		}
		f.progress(backend.ImageProgress{Stage: stageOf(e.Data.Node)})
	case "progress":
		f.progress(backend.ImageProgress{Stage: stageOf(e.Data.Node), Step: e.Data.Value, Steps: e.Data.Max})
	case "execution_success":
		return true, nil
	case "execution_interrupted":
		return false, backend.Errorf(backend.Failed, "interrupted at the server")
	case "execution_error":
		return false, executionError(e.Data.Exception, e.Data.Message, e.Data.NodeType)
	}
	return false, nil
}

// stageOf is what a node's work is called.
func stageOf(node string) string {
	switch {
	case strings.HasPrefix(node, "sampler"), node == "":
		return "sampling"
	case node == "ckpt", node == "unet", node == "clip", node == "vae", node == "c", node == "b", strings.HasPrefix(node, "lora"), node == "net":
		return "loading"
	case node == "up", node == "fix":
		return "post-processing"
	}
	return "working"
}

func executionError(exception, message, node string) error {
	kind := backend.Failed
	if strings.HasSuffix(exception, "OutOfMemoryError") {
		kind = backend.OutOfMemory
	}
	return backend.Errorf(kind, "%s: %s: %s", node, exception, backend.Cut(strings.TrimSpace(message), 300))
}

// look asks the history.
func (f *follower) look(ctx context.Context, prompt string) (h history, done bool, err error) {
	var all map[string]history
	if err := f.at.Get(ctx, "/history/"+prompt, &all); err != nil {
		if ctx.Err() != nil {
			return h, false, ctx.Err()
		}
		return h, false, err
	}
	h, done = all[prompt]
	if !done || h.Status.State != "error" {
		return h, done, nil
	}
	for _, m := range h.Status.Messages {
		pair, ok := m.([]any)
		if !ok || len(pair) < 2 || pair[0] != "execution_error" {
			continue
		}
		detail, _ := json.Marshal(pair[1])
		var e event
		if client.Decode([]byte(`{"data":`+string(detail)+`}`), &e) == nil {
			return h, true, executionError(e.Data.Exception, e.Data.Message, e.Data.NodeType)
		}
	}
	return h, true, errors.New("the server failed without saying why")
}
