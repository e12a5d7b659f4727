// SPDX-License-Identifier: AGPL-3.0-or-later

package comfyui

import (
	"maps"
	"slices"

	"horde/internal/worker/backend"
)

// controlKind is how a control type of the horde is made.
type controlKind struct {
	preprocessor string
	// models are the control files by baseline family, best first.
	sd1, sd2 []string
}

var controls = map[string]controlKind{
	"canny":         {"CannyEdgePreprocessor", []string{"diff_control_sd15_canny_fp16"}, []string{"diff_control_sd21_canny_fp16"}},
	"hed":           {"HEDPreprocessor", []string{"diff_control_sd15_hed_fp16"}, []string{"diff_control_sd21_hed_fp16"}},
	"depth":         {"LeReS-DepthMapPreprocessor", []string{"diff_control_sd15_depth_fp16"}, []string{"diff_control_sd21_depth_fp16"}},
	"normal":        {"MiDaS-NormalMapPreprocessor", []string{"control_normal_fp16"}, nil},
	"openpose":      {"OpenposePreprocessor", []string{"control_openpose_fp16"}, []string{"control_openpose_fp21"}},
	"seg":           {"SemSegPreprocessor", []string{"control_seg_fp16"}, nil},
	"scribble":      {"ScribblePreprocessor", []string{"control_scribble_fp16"}, []string{"control_scribble_fp21"}},
	"fakescribbles": {"FakeScribblePreprocessor", []string{"control_scribble_fp16"}, nil},
	"hough":         {"M-LSDPreprocessor", []string{"control_mlsd_fp16"}, nil},
	"mlsd":          {"M-LSDPreprocessor", []string{"control_mlsd_fp16"}, nil},
	"binary":        {"BinaryPreprocessor", []string{"control_scribble_fp16"}, nil},
}

func controlTypes() []string { return slices.Sorted(maps.Keys(controls)) }

// preprocessor returns the node class that makes the map of a control type: the all-in-one node, the node of its own, or
// for canny the one of ComfyUI itself. Empty when the server has none.
func (o Objects) preprocessor(kind string) string {
	name := controls[kind].preprocessor
	switch {
	case o.Has("AIO_Preprocessor") && o.Find("AIO_Preprocessor", "preprocessor", name) != "":
		return "AIO_Preprocessor"
	case name != "" && o.Has(name):
		return name
	case kind == "canny" && o.Has("Canny"):
		return "Canny"
	}
	return ""
}

// controlFile returns the control model for a type and a baseline.
func (o Objects) controlFile(kind string, b backend.Baseline) string {
	c := controls[kind]
	names := c.sd1
	switch b {
	case backend.SD2, backend.SD2_512:
		names = c.sd2
	case backend.SDXL, backend.Flux1, backend.StableCascade, backend.QwenImage, backend.ZImageTurbo:
		return ""
	}
	return o.Find("ControlNetLoader", "control_net_name", names...)
}

// control is the graph of a control job: the source is turned into a map that steers sampling from an empty latent, or
// the map itself is the result.
func (b *builder) control() error {
	j := b.job
	if _, ok := controls[j.ControlType]; !ok {
		return backend.Errorf(backend.Refused, "unknown control type %q", j.ControlType)
	}
	load := b.add("load", "LoadImage", map[string]any{"image": b.source})
	hint := load
	if !j.ImageIsControl || j.ReturnMap {
		var err error
		if hint, err = b.controlMap(load); err != nil {
			return err
		}
	}
	if j.ReturnMap {
		if j.Count > 1 {
			hint = b.add("repeat", "RepeatImageBatch", map[string]any{"image": hint, "amount": j.Count})
		}
		b.add(out, "PreviewImage", map[string]any{"images": hint})
		return nil
	}
	file := b.have.controlFile(j.ControlType, j.Model.Baseline)
	if file == "" {
		return backend.Errorf(backend.Refused, "no control model for %s on %s", j.ControlType, j.Model.Baseline)
	}
	model, clip, vae, err := b.checkpoint()
	if err != nil {
		return err
	}
	pos, neg := b.prompts(clip)
	var net link
	if len(base(file)) > 5 && base(file)[:5] == "diff_" {
		net = b.add("net", "DiffControlNetLoader", map[string]any{"control_net_name": file, "model": link{"ckpt", 0}})
	} else {
		net = b.add("net", "ControlNetLoader", map[string]any{"control_net_name": file})
	}
	steered := b.add("apply", "ControlNetApply", map[string]any{"conditioning": pos, "control_net": net, "image": hint, "strength": j.ControlStrength})
	b.finish(b.sample(model, steered, neg, pos, b.start(vae)), vae)
	return nil
}

func (b *builder) controlMap(load link) (link, error) {
	j := b.job
	resolution := min(j.Width, j.Height)
	switch class := b.have.preprocessor(j.ControlType); class {
	case "":
		return link{}, backend.Errorf(backend.Refused, "no preprocessor for %s", j.ControlType)
	case "AIO_Preprocessor":
		return b.add("prep", class, map[string]any{"image": load, "preprocessor": controls[j.ControlType].preprocessor, "resolution": resolution}), nil
	case "Canny":
		return b.add("prep", class, map[string]any{"image": load, "low_threshold": 0.4, "high_threshold": 0.8}), nil
	default:
		return b.add("prep", class, map[string]any{"image": load, "resolution": resolution}), nil
	}
}
