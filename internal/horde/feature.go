// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

// Features is a set of things that a worker program can do. The server derives it from the name and version of the bridge
// agent, not from what the worker says; a worker may take away from it, but not add.
type Features uint64

// The features that requests can need (dispatch chapter, 9). Each post-processor is a feature of its own name.
const (
	FeatureImg2Img Features = 1 << iota
	FeatureInpainting
	FeaturePostProcessing
	FeatureR2
	FeatureR2Source
	FeatureClipSkip
	FeatureControlNet
	FeatureImageIsControl
	FeatureReturnControlMap
	FeatureHiresFix
	FeatureTiling
	FeatureTextualInversion
	FeatureLora
	FeatureLoraVersions
	FeatureExtraSourceImages
	FeatureStableCascade2Pass
	FeatureQRCode
	FeatureExtraTexts
	FeatureWorkflow
	FeatureLayerDiffuse
	FeatureFlux
	FeatureGFPGAN
	FeatureRealESRGANx4
	FeatureRealESRGANx2
	FeatureRealESRGANx4Anime
	FeatureNMKDSiax
	FeatureAnimeSharp
	FeatureCodeFormers
	FeatureStripBackground
	FeatureNomos8kSC
	FeatureLSDIR
	FeatureNomosWebPhoto
	FeatureNomos2Dysample
	FeatureNomos2DAT2
	FeatureModernSpanimation
	FeatureGFPGAN13
	FeatureRestoreFormer
	// FeatureExtendedSampling is to know the samplers and the parameters of [Sampling]. Workers have it that send
	// [SolverContract].
	FeatureExtendedSampling
)

var featureNames = map[string]Features{
	"img2img": FeatureImg2Img, "inpainting": FeatureInpainting, "post-processing": FeaturePostProcessing,
	"r2": FeatureR2, "r2_source": FeatureR2Source, "clip_skip": FeatureClipSkip, "controlnet": FeatureControlNet,
	"image_is_control": FeatureImageIsControl, "return_control_map": FeatureReturnControlMap,
	"hires_fix": FeatureHiresFix, "tiling": FeatureTiling, "textual_inversion": FeatureTextualInversion,
	"lora": FeatureLora, "lora_versions": FeatureLoraVersions, "extra_source_images": FeatureExtraSourceImages,
	"stable_cascade_2pass": FeatureStableCascade2Pass, "qr_code": FeatureQRCode, "extra_texts": FeatureExtraTexts,
	"workflow": FeatureWorkflow, "layer_diffuse": FeatureLayerDiffuse, "flux": FeatureFlux,
	"GFPGAN": FeatureGFPGAN, "RealESRGAN_x4plus": FeatureRealESRGANx4, "RealESRGAN_x2plus": FeatureRealESRGANx2,
	"RealESRGAN_x4plus_anime_6B": FeatureRealESRGANx4Anime, "NMKD_Siax": FeatureNMKDSiax,
	"4x_AnimeSharp": FeatureAnimeSharp, "CodeFormers": FeatureCodeFormers, "strip_background": FeatureStripBackground,
	"4xNomos8kSC": FeatureNomos8kSC, "4xLSDIRplus": FeatureLSDIR, "4xNomosWebPhoto_RealPLKSR": FeatureNomosWebPhoto,
	"4xNomos2_realplksr_dysample": FeatureNomos2Dysample, "4xNomos2_hq_dat2": FeatureNomos2DAT2,
	"2xModernSpanimationV1": FeatureModernSpanimation, "GFPGANv1.3": FeatureGFPGAN13,
	"RestoreFormer": FeatureRestoreFormer, "extended_sampling": FeatureExtendedSampling,
}

// ParseFeatures returns the set of the named features. Unknown names are left out.
func ParseFeatures(names []string) Features {
	var f Features
	for _, n := range names {
		f |= featureNames[n]
	}
	return f
}

// Samplers is a set of samplers.
type Samplers uint64

// The samplers that a request may name.
const (
	SamplerLMS Samplers = 1 << iota
	SamplerHeun
	SamplerEuler
	SamplerEulerA
	SamplerDPM2
	SamplerDPM2A
	SamplerDPMFast
	SamplerDPMAdaptive
	SamplerDPMPP2SA
	SamplerDPMPP2M
	SamplerDPMSolver
	SamplerDPMPPSDE
	SamplerDDIM
	SamplerLCM
)

var samplerNames = map[string]Samplers{
	"k_lms": SamplerLMS, "k_heun": SamplerHeun, "k_euler": SamplerEuler, "k_euler_a": SamplerEulerA,
	"k_dpm_2": SamplerDPM2, "k_dpm_2_a": SamplerDPM2A, "k_dpm_fast": SamplerDPMFast,
	"k_dpm_adaptive": SamplerDPMAdaptive, "k_dpmpp_2s_a": SamplerDPMPP2SA, "k_dpmpp_2m": SamplerDPMPP2M,
	"dpmsolver": SamplerDPMSolver, "k_dpmpp_sde": SamplerDPMPPSDE, "DDIM": SamplerDDIM, "lcm": SamplerLCM,
}

// SamplerNamed returns the sampler as a set of one, or the empty set for a name that no request may carry.
func SamplerNamed(name string) Samplers { return samplerNames[name] }

// samplersBasic is the set that every old bridge knows ("A" in the chapter's table).
const samplersBasic = SamplerLMS | SamplerHeun | SamplerEuler | SamplerEulerA | SamplerDPM2 | SamplerDPM2A |
	SamplerDPMFast | SamplerDPMAdaptive | SamplerDPMPP2SA | SamplerDPMPP2M | SamplerDPMSolver

// Capabilities is what a bridge agent stands for.
type Capabilities struct {
	Features Features
	// Karras are the samplers it has with karras noise, Plain those it has without. Every karras sampler is also plain.
	Karras, Plain Samplers
	// Multiplier scales what the owner of an image worker earns: 1 for the current version of an official program,
	// 0.9 for an older one, 0.75 for everything else. Text workers are not scaled by it.
	Multiplier float64
	// ValidatedText tells whether the program is one of the text back ends whose token counts are believed.
	ValidatedText bool
}

// step is what one version of a bridge adds to what the versions before it had.
type step struct {
	from     uint64 // major version
	features Features
	karras   Samplers
	plain    Samplers
}

const (
	multiplierCurrent = 1.0
	multiplierOlder   = 0.90
	multiplierUnknown = 0.75
)

// The programs that this server knows by name. AgentDreamer and AgentScribe are our own.
const (
	AgentReGen      = "AI Horde Worker reGen"
	AgentWorker     = "AI Horde Worker"
	AgentDreamer    = "horde Dreamer"
	AgentScribe     = "horde Scribe" // followed by "~" and the back end
	agentSDWebUI    = "SD-WebUI Stable Horde Worker Bridge"
	agentHordeAuto  = "HordeAutoWebBridge"
	unlistedVersion = 23 // samplers of an unlisted program are those of this version of AgentWorker
)

const reGenFirst = FeatureImg2Img | FeatureInpainting | FeaturePostProcessing | FeatureGFPGAN | FeatureRealESRGANx4 |
	FeatureR2 | FeatureCodeFormers | FeatureClipSkip | FeatureR2Source | FeatureControlNet | FeatureStripBackground |
	FeatureReturnControlMap | FeatureRealESRGANx4Anime | FeatureNMKDSiax | FeatureAnimeSharp | FeatureImageIsControl |
	FeatureRealESRGANx2 | FeatureHiresFix | FeatureTiling

var bridges = map[string][]step{
	AgentReGen: {
		{from: 1, features: reGenFirst},
		{from: 2, features: FeatureTextualInversion | FeatureLora, karras: samplersBasic | SamplerDPMPPSDE | SamplerDDIM},
		{from: 3, features: FeatureLoraVersions, karras: SamplerLCM},
		{from: 5, features: FeatureExtraSourceImages},
		{from: 6, features: FeatureStableCascade2Pass},
		{from: 7, features: FeatureQRCode | FeatureExtraTexts | FeatureWorkflow},
		{from: 8, features: FeatureLayerDiffuse},
		{from: 9, features: FeatureFlux},
		{from: 13, features: FeatureNomos8kSC | FeatureLSDIR | FeatureNomosWebPhoto | FeatureNomos2Dysample |
			FeatureNomos2DAT2 | FeatureModernSpanimation | FeatureGFPGAN13 | FeatureRestoreFormer},
	},
	AgentWorker: {
		{from: 3, features: FeatureImg2Img},
		{from: 4, features: FeatureInpainting},
		{from: 7, features: FeaturePostProcessing | FeatureGFPGAN | FeatureRealESRGANx4},
		{from: 8, features: FeatureR2},
		{from: 9, features: FeatureCodeFormers},
		{from: 11, karras: samplersBasic},
		{from: 12, karras: SamplerDPMPPSDE},
		{from: 13, features: FeatureHiresFix | FeatureClipSkip},
		{from: 14, features: FeatureR2Source},
		{from: 15, features: FeatureControlNet},
		{from: 17, plain: SamplerDDIM},
		{from: 18, features: FeatureStripBackground | FeatureReturnControlMap | FeatureRealESRGANx4Anime},
		{from: 19, features: FeatureNMKDSiax | FeatureAnimeSharp},
		{from: 21, features: FeatureRealESRGANx2},
		{from: 22, features: FeatureLora},
		{from: 23, features: FeatureImageIsControl},
		{from: 24, features: FeatureTextualInversion},
	},
	agentSDWebUI: {
		{from: 1, features: FeatureInpainting | FeatureR2 | FeatureCodeFormers,
			karras: samplersBasic&^SamplerDPMSolver | SamplerDPMPPSDE, plain: SamplerDDIM},
		{from: 2, features: FeatureTiling},
		{from: 3, features: FeatureR2Source},
		{from: 4, features: FeatureClipSkip},
	},
	agentHordeAuto: {
		{from: 1, features: FeatureImg2Img,
			karras: SamplerLMS | SamplerDPM2 | SamplerDPM2A | SamplerDPMPP2SA | SamplerDPMPP2M | SamplerDPMSolver,
			plain:  SamplerHeun | SamplerEuler | SamplerEulerA | SamplerDPMFast | SamplerDPMAdaptive},
		{from: 2, features: FeatureTiling},
	},
}

// official programs and the version from which they count as current.
var official = map[string]Version{AgentReGen: {Major: 13}, AgentWorker: {Major: 24}, AgentDreamer: {}}

var validatedText = map[string]bool{
	AgentWorker: true, AgentWorker + "~aphrodite~oai": true, AgentWorker + "~aphrodite~kai": true,
	"KoboldCppEmbedWorker": true, "TabbyAPI": true,
	AgentScribe: true, AgentScribe + "~koboldcpp": true, AgentScribe + "~llamacpp": true, AgentScribe + "~vllm": true,
	AgentScribe + "~ollama": true, AgentScribe + "~tabby": true, AgentScribe + "~aphrodite": true,
	AgentScribe + "~openai": true, AgentScribe + "~sandbox": true,
}

func init() {
	// Our own image worker has from its first version what the reference's current one has.
	all := step{}
	for _, s := range bridges[AgentReGen] {
		all.features |= s.features
		all.karras |= s.karras
		all.plain |= s.plain
	}
	bridges[AgentDreamer] = []step{all}
}

// Capabilities looks the agent up. An unlisted program has no feature at all, and the samplers of an old official one.
func (a Agent) Capabilities() Capabilities {
	c := Capabilities{Multiplier: multiplierUnknown, ValidatedText: validatedText[a.Name]}
	steps, listed := bridges[a.Name]
	version := a.Version
	if !listed {
		steps, version = bridges[AgentWorker], Version{Major: unlistedVersion}
	}
	for _, s := range steps {
		if version.Compare(Version{Major: s.from}) < 0 {
			break
		}
		if listed {
			c.Features |= s.features
		}
		c.Karras |= s.karras
		c.Plain |= s.karras | s.plain
	}
	if latest, ok := official[a.Name]; ok {
		c.Multiplier = multiplierCurrent
		if a.Version.Compare(latest) < 0 {
			c.Multiplier = multiplierOlder
		}
	}
	return c
}
