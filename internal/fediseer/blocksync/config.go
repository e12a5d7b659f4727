// SPDX-License-Identifier: AGPL-3.0-or-later

// Package blocksync keeps the block lists of fediverse servers in step with what is said in a Fediseer.
//
// [Gather] reads the sources: censures of trusted instances, filtered censures, hesitations, suspicions, endorsements.
// [MakePlan] computes from them, from the server's present list and from what the tool added before what to add and what
// to remove; it is pure, and all safety rules are in it. [Runner] reads, plans, asks and applies. A [Target] is a server
// or a file whose list is kept.
//
// What a human put on a list stays there: only what the tool itself added, recorded in a state file, is ever removed,
// unless the caller asks for a purge.
package blocksync

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"

	"horde/fediseer"
)

// Config is the configuration file.
type Config struct {
	Fediseer struct {
		URL    string `yaml:"url"`
		APIKey string `yaml:"api_key"`
	} `yaml:"fediseer"`
	// OwnDomain is the server's own name: it is trusted, and never blocked. Empty means the target's host.
	OwnDomain  string `yaml:"own_domain"`
	Suspicions struct {
		Enabled  *bool `yaml:"enabled"` // nil is true
		Activity int   `yaml:"activity"`
		Active   int   `yaml:"active"`
	} `yaml:"suspicions"`
	Trusted     Judges `yaml:"trusted"`
	Filtered    Judges `yaml:"filtered"`
	Hesitations struct {
		Judges `yaml:",inline"`
		// Block treats hesitations like censures where a target knows nothing milder than a block.
		Block bool `yaml:"block"`
	} `yaml:"hesitations"`
	// Endorsements are the instances whose endorsements exempt a domain. Nil means the trusted ones and one's own.
	Endorsements []string `yaml:"endorsements"`
	Extra        []string `yaml:"extra"`
	Safelist     []string `yaml:"safelist"`
	// StateFile may hold <target>, which is replaced by the target's name.
	StateFile      string                   `yaml:"state_file"`
	ConfirmAt      *int                     `yaml:"confirm_at"`
	MaxRemoveShare *float64                 `yaml:"max_remove_share"`
	Targets        map[string]*TargetConfig `yaml:"targets"`
}

// Judges are instances whose lists are a source.
type Judges struct {
	Domains []string `yaml:"domains"`
	Reasons []string `yaml:"reasons"`
	Min     int      `yaml:"min"` // 0 is 1
}

// TargetConfig describes a server or file.
type TargetConfig struct {
	Kind     string `yaml:"kind"` // lemmy, mastodon, gotosocial or file
	URL      string `yaml:"url"`
	User     string `yaml:"user"`
	Password string `yaml:"password"`
	TOTP     string `yaml:"totp"`
	Token    string `yaml:"token"`
	Severity string `yaml:"severity"` // of censures on Mastodon; empty is suspend
	// PublicReasons shows the reasons to the server's visitors, not only to its moderators.
	PublicReasons bool `yaml:"public_reasons"`
	// Path and Format are those of a file; the formats are those of export.
	Path   string `yaml:"path"`
	Format string `yaml:"format"`
	// LemmyV4 allows the API of Lemmy 1.0, whose routes may still change.
	LemmyV4 bool `yaml:"lemmy_v4"`
}

const (
	defaultConfirmAt      = 10
	defaultMaxRemoveShare = 0.5
	defaultStateFile      = "fediseer-sync.<target>.json"
)

// ReadConfig reads a configuration, takes secrets from the environment, and checks it. Unknown keys are errors.
func ReadConfig(r io.Reader, getenv func(string) string) (*Config, error) {
	c := new(Config)
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	if c.Fediseer.URL == "" {
		c.Fediseer.URL = fediseer.DefaultBaseURL
	}
	secret := func(to *string, names ...string) {
		for _, n := range names {
			if v := getenv(n); v != "" {
				*to = v
				return
			}
		}
	}
	secret(&c.Fediseer.APIKey, "FEDISEER_API_KEY")
	for name, t := range c.Targets {
		if t == nil {
			return nil, fmt.Errorf("target %s is empty", name)
		}
		prefix := "FEDISEER_SYNC_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) + "_"
		secret(&t.Token, prefix+"TOKEN")
		secret(&t.Password, prefix+"PASSWORD", "LEMMY_PASSWORD")
		secret(&t.TOTP, prefix+"TOTP")
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
	}
	if c.StateFile == "" {
		c.StateFile = defaultStateFile
	}
	if len(c.Targets) > 1 && !strings.Contains(c.StateFile, "<target>") {
		return nil, errors.New("state_file needs <target> in its name, since there are several targets")
	}
	if c.MaxRemoveShare != nil && (*c.MaxRemoveShare < 0 || *c.MaxRemoveShare > 1) {
		return nil, errors.New("max_remove_share is between 0 and 1")
	}
	return c, nil
}

func (t *TargetConfig) check() error {
	switch t.Kind {
	case "lemmy":
		if t.User == "" {
			return errors.New("user is missing")
		}
	case "mastodon", "gotosocial":
	case "file":
		if t.Path == "" {
			return errors.New("path is missing")
		}
		if t.Format == "" {
			t.Format = FormatPlain
		}
		if !validFormat(t.Format) {
			return fmt.Errorf("format %q is none of %s, %s, %s", t.Format, FormatMastodonCSV, FormatGoToSocialJSON, FormatPlain)
		}
		return nil
	default:
		return fmt.Errorf("kind %q is none of lemmy, mastodon, gotosocial, file", t.Kind)
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("url %q is not the address of a server", t.URL)
	}
	t.URL = strings.TrimRight(t.URL, "/")
	switch t.Severity {
	case "", "suspend", "silence", "noop":
	default:
		return fmt.Errorf("severity %q is none of suspend, silence, noop", t.Severity)
	}
	return nil
}

// Own is the domain of the server that a target is: configured, or the target's host.
func (c *Config) Own(t *TargetConfig) (string, error) {
	own := c.OwnDomain
	if own == "" && t.URL != "" {
		u, err := url.Parse(t.URL)
		if err != nil {
			return "", err
		}
		own = u.Hostname()
	}
	if own == "" {
		return "", nil // a file may be for nobody in particular
	}
	d, err := fediseer.NormalizeDomain(own)
	if err != nil {
		if c.OwnDomain == "" {
			return "", nil // reached by address; there is no name to protect
		}
		return "", fmt.Errorf("own_domain: %w", err)
	}
	return d, nil
}

// State is where the state file of a target lies.
func (c *Config) State(target string) string {
	return strings.ReplaceAll(c.StateFile, "<target>", target)
}

func (c *Config) confirmAt() int {
	if c.ConfirmAt == nil {
		return defaultConfirmAt
	}
	return *c.ConfirmAt
}

func (c *Config) maxRemoveShare() float64 {
	if c.MaxRemoveShare == nil {
		return defaultMaxRemoveShare
	}
	return *c.MaxRemoveShare
}

// Example is a configuration file in which every key is explained.
const Example = `# Configuration of fediseer-sync. What is commented out has the value that is shown.
# Secrets can also come from the environment: FEDISEER_API_KEY, and for each target FEDISEER_SYNC_<TARGET>_TOKEN,
# _PASSWORD and _TOTP.

fediseer:
  #url: https://fediseer.com
  #api_key: ""            # needed for lists that are not open to everybody, and for push
#own_domain: ""           # this server's name: trusted, never blocked. Default: the target's host
suspicions:               # Lemmy instances that look like bot farms
  #enabled: true
  #activity: 20           # users per post or comment
  #active: 500            # users per active user
trusted:                  # everything that these censure is blocked
  #domains: []
  #min: 1                 # how many of them must agree
filtered:                 # what these censure for one of the reasons is blocked
  #domains: []
  #reasons: []            # for example [spam, __all_bigots__]
  #min: 1
hesitations:              # Mastodon silences these
  #domains: []
  #reasons: []
  #min: 1
  #block: false           # Lemmy, GoToSocial and plain files: block them (else they are ignored)
#endorsements: []         # whose endorsements exempt a domain. Default: the trusted ones and this server
#extra: []                # always block these; "*.x" is allowed
#safelist: []             # never block these; "*.x" is allowed
#state_file: fediseer-sync.<target>.json
#confirm_at: 10           # ask from this number of changes on
#max_remove_share: 0.5    # stop if more of the tool's own entries would go
targets:
  main:
    kind: mastodon        # lemmy, mastodon, gotosocial or file
    url: https://social.example
    #token: ""            # mastodon, gotosocial
    #user: ""             # lemmy, with password and, if it is on, totp
    #severity: suspend    # mastodon: suspend, silence or noop
    #public_reasons: false
    #path: ""             # file, with format plain, mastodon-csv or gotosocial-json
`
