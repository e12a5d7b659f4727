// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import "strings"

// Sampler is a sampler of the horde in the spelling of each kind of server.
type Sampler struct {
	ComfyUI, A1111, SDCPP string
	// SDCPPReplaced: stable-diffusion.cpp lacks this sampler and its entry is the nearest.
	SDCPPReplaced bool
}

var samplers = map[string]Sampler{
	"k_lms":          {"lms", "LMS", "lms", false},
	"k_heun":         {"heun", "Heun", "heun", false},
	"k_euler":        {"euler", "Euler", "euler", false},
	"k_euler_a":      {"euler_ancestral", "Euler a", "euler_a", false},
	"k_dpm_2":        {"dpm_2", "DPM2", "dpm2", false},
	"k_dpm_2_a":      {"dpm_2_ancestral", "DPM2 a", "dpm2", true},
	"k_dpm_fast":     {"dpm_fast", "DPM fast", "dpm++2m", true},
	"k_dpm_adaptive": {"dpm_adaptive", "DPM adaptive", "dpm++2m", true},
	"k_dpmpp_2s_a":   {"dpmpp_2s_ancestral", "DPM++ 2S a", "dpm++2s_a", false},
	"k_dpmpp_2m":     {"dpmpp_2m", "DPM++ 2M", "dpm++2m", false},
	"k_dpmpp_sde":    {"dpmpp_sde", "DPM++ SDE", "dpm++2m_sde", true},
	"dpmsolver":      {"dpmpp_2m", "DPM++ 2M", "dpm++2m", false},
	"ddim":           {"ddim", "DDIM", "ddim_trailing", false},
	"lcm":            {"lcm", "LCM", "lcm", false},
	"uni_pc":         {"uni_pc", "UniPC", "dpm++2m", true},
	"uni_pc_bh2":     {"uni_pc_bh2", "UniPC", "dpm++2m", true},
	"plms":           {"euler", "PLMS", "euler", false},
}

// LookupSampler finds a sampler by the horde's name in any case. An unknown name is Euler.
func LookupSampler(name string) Sampler {
	if s, ok := samplers[strings.ToLower(name)]; ok {
		return s
	}
	return samplers["k_euler"]
}

// upscaleFactor holds the horde's upscalers and by how much they enlarge.
var upscaleFactor = map[string]int{
	"RealESRGAN_x4plus": 4, "RealESRGAN_x2plus": 2, "RealESRGAN_x4plus_anime_6B": 4, "NMKD_Siax": 4, "4x_AnimeSharp": 4,
	"4xNomos8kSC": 4, "4xLSDIRplus": 4, "4xNomosWebPhoto_RealPLKSR": 4, "4xNomos2_realplksr_dysample": 4,
	"4xNomos2_hq_dat2": 4, "2xModernSpanimationV1": 2,
}

// FaceFixers are the horde's post-processors for faces.
var FaceFixers = []string{"GFPGAN", "GFPGANv1.3", "CodeFormers", "RestoreFormer"}

// StripBackground is the horde's post-processor that makes the background transparent.
const StripBackground = "strip_background"

// IsUpscaler reports whether a post-processor enlarges.
func IsUpscaler(name string) bool { return upscaleFactor[name] > 0 }

// UpscaleFactor is by how much a post-processor enlarges, 1 for those that do not.
func UpscaleFactor(name string) int { return max(1, upscaleFactor[name]) }

// Upscalers lists the horde's upscalers in a fixed order.
func Upscalers() []string {
	return []string{"RealESRGAN_x4plus", "RealESRGAN_x2plus", "RealESRGAN_x4plus_anime_6B", "NMKD_Siax", "4x_AnimeSharp",
		"4xNomos8kSC", "4xLSDIRplus", "4xNomosWebPhoto_RealPLKSR", "4xNomos2_realplksr_dysample", "4xNomos2_hq_dat2",
		"2xModernSpanimationV1"}
}

// IsFaceFixer reports whether a post-processor mends faces.
func IsFaceFixer(name string) bool {
	for _, f := range FaceFixers {
		if f == name {
			return true
		}
	}
	return false
}

// OrderPostProcessing drops unknown names and moves face fixers behind everything else, which keeps the requested order
// otherwise.
func OrderPostProcessing(names []string) (ordered, unknown []string) {
	var last []string
	for _, n := range names {
		switch {
		case IsFaceFixer(n):
			last = append(last, n)
		case IsUpscaler(n) || n == StripBackground:
			ordered = append(ordered, n)
		default:
			unknown = append(unknown, n)
		}
	}
	return append(ordered, last...), unknown
}
