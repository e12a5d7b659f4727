// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Seconds is a whole number of seconds in a configuration.
type Seconds int

// Duration returns s as a duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// Config is everything that an operator can set. Each option can be given, from weakest to strongest, by the file
// bridgeData.yaml under its name with underscores, by the environment, and on the command line. ApplyDefaults of kong
// fills the defaults.
type Config struct {
	// The horde.
	HordeURL            string   `name:"horde-url" aliases:"cluster-url,cluster_url" short:"u" default:"https://aihorde.net/api/" env:"WORKER_HORDE_URL" group:"horde" help:"Address of the horde; /api at the end may be left out."`
	APIKey              string   `name:"api-key" aliases:"api_key" short:"a" default:"0000000000" env:"WORKER_API_KEY" group:"horde" help:"Key of the account that earns. The anonymous key cannot run workers."`
	WorkerName          string   `name:"worker-name" aliases:"worker_name" short:"n" env:"WORKER_WORKER_NAME" group:"horde" help:"Name for the kinds that have none of their own. Names are unique in a horde, across all kinds."`
	PriorityUsernames   []string `name:"priority-usernames" aliases:"priority_usernames" env:"WORKER_PRIORITY_USERNAMES" group:"horde" help:"Users (alias#id) who are served first. The account itself always is."`
	RequireUpfrontKudos bool     `env:"WORKER_REQUIRE_UPFRONT_KUDOS" group:"horde" help:"Take only jobs of users who hold the kudos for them."`
	BridgeAgent         string   `env:"WORKER_BRIDGE_AGENT" group:"horde" help:"Name:version:contact to send instead of this program's own. Hordes derive what a worker may do from the name."`
	NSFW                bool     `name:"nsfw" default:"true" negatable:"" env:"WORKER_NSFW" group:"horde" help:"Take requests that may be not safe for work."`
	Blacklist           []string `env:"WORKER_BLACKLIST" group:"horde" help:"Words; requests with one of them in the prompt go to others."`

	// Scheduling.
	MaxThreads              int     `name:"max-threads" aliases:"max_threads" default:"1" env:"WORKER_MAX_THREADS" group:"work" help:"Jobs at the same time, 1 to 16."`
	QueueSize               int     `name:"queue-size" aliases:"queue_size" default:"1" env:"WORKER_QUEUE_SIZE" group:"work" help:"Further jobs to hold ready, 0 to 4."`
	MaxBatch                int     `default:"1" env:"WORKER_MAX_BATCH" group:"work" help:"Results of the same request in one job, 1 to 20."`
	BackendConcurrency      int     `default:"0" env:"WORKER_BACKEND_CONCURRENCY" group:"work" help:"Requests in flight at the inference server; 0 means max_threads."`
	PopWait                 Seconds `default:"25" env:"WORKER_POP_WAIT" group:"work" help:"Seconds that the horde may hold back the answer until there is a job, 0 to 60; 0 asks every second instead. Hordes that do not know this answer at once."`
	ExtraSlowWorker         bool    `env:"WORKER_EXTRA_SLOW_WORKER" group:"work" help:"Triple time limits, only for requests that allow it."`
	ModeratePerformanceMode bool    `env:"WORKER_MODERATE_PERFORMANCE_MODE" group:"work" help:"Take more image work at a time: for fast GPUs."`
	HighPerformanceMode     bool    `env:"WORKER_HIGH_PERFORMANCE_MODE" group:"work" help:"Take even more: for the fastest GPUs."`
	DrainTimeout            Seconds `default:"300" env:"WORKER_DRAIN_TIMEOUT" group:"work" help:"Seconds to finish what was begun when told to stop."`
	TTLMargin               Seconds `name:"ttl-margin" default:"10" env:"WORKER_TTL_MARGIN" group:"work" help:"Seconds before the horde's limit at which a job is not begun any more."`
	PreloadTimeout          Seconds `default:"80" env:"WORKER_PRELOAD_TIMEOUT" group:"work" help:"Seconds until the first sign of life of an image job, for loading the model; at least 15."`
	InferenceStepTimeout    Seconds `default:"30" env:"WORKER_INFERENCE_STEP_TIMEOUT" group:"work" help:"Seconds between two sampler steps before a job counts as stuck; at least 15."`
	PostProcessTimeout      Seconds `default:"60" env:"WORKER_POST_PROCESS_TIMEOUT" group:"work" help:"Seconds for one post-processor; at least 15."`
	ExitOnUnhandledFaults   bool    `env:"WORKER_EXIT_ON_UNHANDLED_FAULTS" group:"work" help:"End after three failed jobs in a row instead of pausing for three minutes."`
	RemoveMaintenanceOnInit bool    `env:"WORKER_REMOVE_MAINTENANCE_ON_INIT" group:"work" help:"Take the worker out of maintenance at start."`

	// What is shown.
	StatsOutputFrequency  Seconds `default:"30" env:"WORKER_STATS_OUTPUT_FREQUENCY" group:"output" help:"Seconds between status lines in a log; 0 for none."`
	DisableTerminalUI     bool    `name:"disable-terminal-ui" env:"WORKER_DISABLE_TERMINAL_UI" group:"output" help:"Write log lines on a terminal too."`
	MetricsListen         string  `env:"WORKER_METRICS_LISTEN" group:"output" placeholder:"HOST:PORT" help:"Serve /metrics (Prometheus), /status.json and /healthz here."`
	SuppressSpeedWarnings bool    `env:"WORKER_SUPPRESS_SPEED_WARNINGS" group:"output" help:"No warnings about slow jobs."`

	// Inference servers.
	BackendAPIKey    string   `name:"backend-api-key" env:"WORKER_BACKEND_API_KEY" group:"backend" help:"Bearer token for the inference server."`
	BackendBasicAuth string   `env:"WORKER_BACKEND_BASIC_AUTH" group:"backend" placeholder:"USER:PASSWORD" help:"HTTP Basic login for the inference server."`
	SourcePrefixes   []string `env:"WORKER_SOURCE_PREFIXES" group:"backend" placeholder:"CIDR" help:"Private networks from which source images may be fetched, beside the horde's own address."`

	// Dreamer.
	DreamerName         string            `env:"WORKER_DREAMER_NAME" group:"dreamer" help:"Name of the image worker."`
	DreamerBackend      string            `enum:"auto,comfyui,a1111,forge,sdnext,sdcpp,sandbox" default:"auto" env:"WORKER_DREAMER_BACKEND" group:"dreamer" help:"Kind of image server: ${enum}. auto tries the addresses below."`
	ComfyUIURL          string            `name:"comfyui-url" default:"http://127.0.0.1:8188" env:"WORKER_COMFYUI_URL" group:"dreamer" help:"ComfyUI."`
	A1111URL            string            `name:"a1111-url" default:"http://127.0.0.1:7860" env:"WORKER_A1111_URL" group:"dreamer" help:"AUTOMATIC1111, Forge or SD.Next, started with --api."`
	SDCPPURL            string            `name:"sdcpp-url" default:"http://127.0.0.1:1234" env:"WORKER_SDCPP_URL" group:"dreamer" help:"sd-server of stable-diffusion.cpp."`
	MaxPower            int               `name:"max-power" aliases:"max_power" short:"p" default:"8" env:"WORKER_MAX_POWER" group:"dreamer" help:"Largest picture: 8 is 512x512, 32 is 1024x1024, 64 is 1448x1448; 1 to 512."`
	ModelsToLoad        []string          `aliases:"model" short:"m" env:"WORKER_MODELS_TO_LOAD" group:"dreamer" help:"Models to offer by the horde's names, or: all, all sdxl, all sd15, all sd21, all sfw, all nsfw, all inpainting, top N, bottom N. Empty: every model that the server has."`
	ModelsToSkip        []string          `env:"WORKER_MODELS_TO_SKIP" group:"dreamer" help:"Models not to offer, in the same terms."`
	ModelMap            map[string]string `env:"WORKER_MODEL_MAP" group:"dreamer" help:"Horde's model name to the server's file name, NAME=FILE."`
	CustomModels        CustomModels      `env:"WORKER_CUSTOM_MODELS" group:"dreamer" hidden:"" help:"Models that are not in the reference: a list of name, baseline and filepath."`
	LoadLargeModels     bool              `env:"WORKER_LOAD_LARGE_MODELS" group:"dreamer" help:"Let all include Stable Cascade and Flux."`
	ModelReferenceURL   string            `name:"model-reference-url" default:"https://raw.githubusercontent.com/Haidra-Org/AI-Horde-image-model-reference/main/stable_diffusion.json" env:"WORKER_MODEL_REFERENCE_URL" group:"dreamer" help:"List of the models that hordes know; the last good copy is kept in cache_home."`
	CacheHome           string            `aliases:"models-folder-parent" default:"." env:"WORKER_CACHE_HOME,AIWORKER_CACHE_HOME" group:"dreamer" help:"Directory for what the worker keeps."`
	AllowImg2Img        bool              `name:"allow-img2img" aliases:"allow_img2img" default:"true" negatable:"" env:"WORKER_ALLOW_IMG2IMG" group:"dreamer" help:"Take jobs with a source image."`
	AllowPainting       bool              `aliases:"allow-inpainting,allow_painting" default:"true" negatable:"" env:"WORKER_ALLOW_PAINTING" group:"dreamer" help:"Take in- and outpainting."`
	AllowPostProcessing bool              `default:"true" negatable:"" env:"WORKER_ALLOW_POST_PROCESSING" group:"dreamer" help:"Take upscaling, face fixing and background removal."`
	AllowControlnet     bool              `env:"WORKER_ALLOW_CONTROLNET" group:"dreamer" help:"Take ControlNet jobs."`
	AllowSDXLControlnet bool              `name:"allow-sdxl-controlnet" env:"WORKER_ALLOW_SDXL_CONTROLNET" group:"dreamer" help:"Take ControlNet jobs on SDXL."`
	AllowLora           bool              `env:"WORKER_ALLOW_LORA" group:"dreamer" help:"Take jobs with LoRAs: those that the image server has as files, and with lora_folder also others."`
	LoraFolder          string            `env:"WORKER_LORA_FOLDER" group:"dreamer" placeholder:"DIR" help:"Folder of the image server for LoRAs. LoRAs that jobs name are fetched from CivitAI into it. Empty: none are."`
	EmbeddingFolder     string            `env:"WORKER_EMBEDDING_FOLDER" group:"dreamer" placeholder:"DIR" help:"Folder of the image server for textual inversions. Those that jobs name are fetched into it. Empty: none are, and no such jobs are taken."`
	MaxLoraCacheSize    int               `default:"10" env:"WORKER_MAX_LORA_CACHE_SIZE" group:"dreamer" help:"Space for fetched LoRAs in gigabytes, 1 to 2048; those not used for longest go first."`
	CivitAIAPIToken     string            `name:"civitai-api-token" env:"WORKER_CIVITAI_API_TOKEN" group:"dreamer" help:"Token of a CivitAI account, for LoRAs that are given away with a login only."`
	CivitAIURL          string            `name:"civitai-url" default:"https://civitai.com" env:"WORKER_CIVITAI_URL" group:"dreamer" help:"CivitAI, or a mirror of it."`
	HordelingURL        string            `name:"hordeling-url" default:"https://hordeling.aihorde.net" env:"WORKER_HORDELING_URL" group:"dreamer" help:"Service that turns textual inversions into safetensors."`
	AllowUnsafeIP       bool              `name:"allow-unsafe-ip" aliases:"allow_unsafe_ip" default:"true" negatable:"" env:"WORKER_ALLOW_UNSAFE_IP" group:"dreamer" help:"Take source images of users behind a VPN."`
	LimitMaxSteps       bool              `env:"WORKER_LIMIT_MAX_STEPS" group:"dreamer" help:"Leave requests with more steps than the model needs to others."`
	CensorNSFW          bool              `name:"censor-nsfw" env:"WORKER_CENSOR_NSFW" group:"dreamer" help:"Kept for old files: with nsfw off, results found not safe are always replaced."`
	Censorlist          []string          `env:"WORKER_CENSORLIST" group:"dreamer" help:"Words; with one of them in the prompt, results found not safe are replaced."`
	SafetyURL           string            `name:"safety-url" env:"WORKER_SAFETY_URL" group:"dreamer" help:"Service that judges each picture before it leaves; off only with nsfw on a horde of your own."`

	// Alchemist.
	AlchemistName string   `env:"WORKER_ALCHEMIST_NAME" group:"alchemist" help:"Name of the worker that takes forms: what can be told of images."`
	Forms         []string `default:"palette,describe" env:"WORKER_FORMS" group:"alchemist" help:"Forms to offer: palette, describe. Those that need a model are left out."`

	// Scribe.
	ScribeName       string `env:"WORKER_SCRIBE_NAME" group:"scribe" help:"Name of the text worker."`
	ScribeBackend    string `enum:"auto,koboldcpp,koboldai,llamacpp,vllm,ollama,tabby,aphrodite,openai,sandbox" default:"auto" env:"WORKER_SCRIBE_BACKEND" group:"scribe" help:"Kind of text server: ${enum}."`
	KaiURL           string `name:"kai-url" aliases:"kai_url" env:"WORKER_KAI_URL" group:"scribe" help:"Address of the text server. Empty: look at the usual ports of this machine (5001, 8080, 11434, 5000, 8000)."`
	ScribeModel      string `env:"WORKER_SCRIBE_MODEL" group:"scribe" help:"Model name to offer, where the server's own is not what the horde knows."`
	BackendModel     string `env:"WORKER_BACKEND_MODEL" group:"scribe" help:"Model to use on text servers that hold several, by the server's name."`
	MaxLength        int    `name:"max-length" default:"512" env:"WORKER_MAX_LENGTH" group:"scribe" help:"Most tokens to generate, 16 to 16384."`
	MaxContextLength int    `default:"8192" env:"WORKER_MAX_CONTEXT_LENGTH" group:"scribe" help:"Most tokens of prompt and answer, up to 1048576; never more than the server holds."`
	BrandedModel     bool   `env:"WORKER_BRANDED_MODEL" group:"scribe" help:"Offer the model under a name of your own, model::alias#id."`
	YieldToLocal     bool   `env:"WORKER_YIELD_TO_LOCAL" group:"scribe" help:"Take no jobs for 20 seconds after somebody used KoboldCpp directly."`
}

// CustomModel is an image model that is not in the reference. Offering one needs the customizer role.
type CustomModel struct {
	Name     string `json:"name"`
	Baseline string `json:"baseline"`
	Filepath string `json:"filepath"`
}

// CustomModels is a list of them, as YAML or JSON.
type CustomModels []CustomModel

// Decode implements kong.MapperValue.
func (c *CustomModels) Decode(ctx *kong.DecodeContext) error {
	t, err := ctx.Scan.PopValue("models")
	if err != nil {
		return err
	}
	data, ok := t.Value.(string)
	raw := []byte(data)
	if !ok {
		if raw, err = json.Marshal(t.Value); err != nil {
			return err
		}
	}
	return json.Unmarshal(raw, (*[]CustomModel)(c))
}

// Defaults returns a Config with every default and whatever the environment sets.
func Defaults() (Config, error) {
	var c Config
	err := kong.ApplyDefaults(&c)
	return c, err
}

const (
	defaultDreamer = "An Awesome Dreamer"
	// defaultAlchemist stands in many old files whose owners never ran one.
	defaultAlchemist = "An Awesome Alchemist"
	defaultScribe    = "An Awesome Scribe"
	// pixelsPerPower turns max_power into pixels: eight tiles of 64x64.
	pixelsPerPower = 8 * 64 * 64
	anonymousKey   = "0000000000"
)

// MaxPixels is the largest picture in pixels.
func (c *Config) MaxPixels() int { return c.MaxPower * pixelsPerPower }

// adjust resolves keys that depend on each other, in the order of the workers chapter, section 3.8, and returns
// warnings.
func (c *Config) adjust() []string {
	var warn []string
	if !c.AllowImg2Img {
		c.AllowControlnet = false
	}
	if !c.AllowControlnet {
		c.AllowSDXLControlnet = false
	}
	if c.MaxThreads >= 2 && c.QueueSize > 3 {
		c.QueueSize = 3
	}
	if c.ExtraSlowWorker {
		c.HighPerformanceMode, c.ModeratePerformanceMode = false, false
		c.QueueSize, c.MaxThreads = 0, 1
		c.PreloadTimeout = max(c.PreloadTimeout, 120)
	}
	if c.NSFW && c.CensorNSFW {
		warn = append(warn, "censor_nsfw has no effect while nsfw is on")
	}
	if c.BackendConcurrency == 0 {
		c.BackendConcurrency = c.MaxThreads
	}
	if c.DreamerName == "" {
		c.DreamerName = c.WorkerName
	}
	if c.ScribeName == "" && c.DreamerName != c.WorkerName {
		c.ScribeName = c.WorkerName
	}
	if c.AlchemistName == defaultAlchemist {
		c.AlchemistName = ""
	}
	if len(c.APIKey) != 22 && c.APIKey != anonymousKey {
		warn = append(warn, "the API key has neither the length of a horde's keys nor is it the anonymous one; trying it all the same")
	}
	return warn
}

var (
	printableKey = regexp.MustCompile(`^[!-~]{10,100}$`)
	alias        = regexp.MustCompile(`^.+#\d+$`)
)

// validate reports the first value that cannot work, naming its key.
func (c *Config) validate() error {
	between := func(name string, v, lo, hi int) error {
		if v < lo || v > hi {
			return fmt.Errorf("%s: %d is not between %d and %d", name, v, lo, hi)
		}
		return nil
	}
	for _, err := range []error{
		between("max_threads", c.MaxThreads, 1, 16), between("queue_size", c.QueueSize, 0, 4), between("max_batch", c.MaxBatch, 1, 20), between("pop_wait", int(c.PopWait), 0, 60),
		between("backend_concurrency", c.BackendConcurrency, 0, 50),
		between("max_power", c.MaxPower, 1, 512), between("max_length", c.MaxLength, 16, 16384),
		between("max_context_length", c.MaxContextLength, 80, 1<<20),
		between("max_lora_cache_size", c.MaxLoraCacheSize, 1, 2048),
		between("drain_timeout", int(c.DrainTimeout), 1, 86400), between("ttl_margin", int(c.TTLMargin), 0, 3600),
		between("preload_timeout", int(c.PreloadTimeout), 15, 3600), between("inference_step_timeout", int(c.InferenceStepTimeout), 15, 3600),
		between("post_process_timeout", int(c.PostProcessTimeout), 15, 3600),
		between("stats_output_frequency", int(c.StatsOutputFrequency), 0, 86400),
	} {
		if err != nil {
			return err
		}
	}
	if !printableKey.MatchString(c.APIKey) {
		return fmt.Errorf("api_key: want 10 to 100 printable characters without spaces")
	}
	for name, v := range map[string]string{"dreamer_name": c.DreamerName, "scribe_name": c.ScribeName, "alchemist_name": c.AlchemistName} {
		if len([]rune(v)) > 100 {
			return fmt.Errorf("%s: longer than 100 characters", name)
		}
		if v == defaultDreamer || v == defaultScribe {
			return fmt.Errorf("%s: choose a name of your own in place of %q", name, v)
		}
	}
	if c.DreamerName != "" && c.DreamerName == c.ScribeName {
		return fmt.Errorf("scribe_name: the same as dreamer_name; a horde has one list of names for all kinds of workers")
	}
	if c.AlchemistName != "" && (c.AlchemistName == c.DreamerName || c.AlchemistName == c.ScribeName) {
		return fmt.Errorf("alchemist_name: the same as another worker's; a horde has one list of names for all kinds of workers")
	}
	for _, p := range c.SourcePrefixes {
		if _, err := netip.ParsePrefix(p); err != nil {
			return fmt.Errorf("source_prefixes: %w", err)
		}
	}
	c.PriorityUsernames = slices.DeleteFunc(c.PriorityUsernames, func(u string) bool { return !alias.MatchString(u) })
	if len(c.BridgeAgent) > 1000 {
		return fmt.Errorf("bridge_agent: longer than 1000 characters")
	}
	if c.MetricsListen != "" {
		if _, _, err := net.SplitHostPort(c.MetricsListen); err != nil {
			return fmt.Errorf("metrics_listen: %w", err)
		}
	}
	for name, v := range map[string]string{"lora_folder": c.LoraFolder, "embedding_folder": c.EmbeddingFolder} {
		if info, err := os.Stat(v); v != "" && (err != nil || !info.IsDir()) {
			return fmt.Errorf("%s: there is no folder %s", name, v)
		}
	}
	for name, v := range map[string]string{"civitai_url": c.CivitAIURL, "hordeling_url": c.HordelingURL} {
		if u, err := url.Parse(v); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%s: want http:// or https:// and a host", name)
		}
	}
	if c.SafetyURL == "off" && !c.NSFW {
		return fmt.Errorf("safety_url: off is possible only with nsfw")
	}
	return nil
}

// Prepare adjusts and validates. It is called by Run; a caller may do it before to show the warnings earlier.
func (c *Config) Prepare() (warnings []string, err error) {
	given := len(c.PriorityUsernames)
	warnings = c.adjust()
	if err := c.validate(); err != nil {
		return warnings, &ExitError{Code: ExitConfig, Err: err}
	}
	if len(c.PriorityUsernames) < given {
		warnings = append(warnings, "priority_usernames: entries without #number are left out")
	}
	return warnings, nil
}

// public reports whether the horde is one that strangers use, judged by its address: anything but this machine and
// private networks.
func (c *Config) public() bool {
	u, err := url.Parse(c.HordeURL)
	if err != nil {
		return true
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err != nil || !(addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast())
}
