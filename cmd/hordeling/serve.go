// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"gocloud.dev/blob"

	"horde/internal/bucket"
	"horde/internal/hordeling"
	"horde/internal/hordeling/archive"
	"horde/internal/hordeling/civitai"
	"horde/internal/hordeling/embedding"
)

// serveCommand runs the service. The names of its fields are its options.
type serveCommand struct {
	Listen      string `help:"Address of the service, as host:port. It speaks plain HTTP; put a proxy with a certificate in front of it." default:":12001" env:"HORDELING_LISTEN" placeholder:"ADDR"`
	AdminListen string `help:"Address for the operator: /metrics for Prometheus and /healthz. Empty switches it off." default:"127.0.0.1:12002" env:"HORDELING_ADMIN_LISTEN" placeholder:"ADDR"`
	Data        string `help:"Directory for converted files; it is made where it is missing. Not used with S3." default:"hordeling-data" env:"HORDELING_DATA" placeholder:"DIR"`
	PublicURL   string `help:"How workers reach the converted files, without a slash at the end: with a directory the address of this service (empty: the host that the request names), with S3 the address under which the bucket is public (empty: links are signed)." env:"HORDELING_PUBLIC_URL" placeholder:"URL"`
	DiskBudget  size   `help:"How much the converted files may take, such as 10GiB; what was not used for longest goes first, but nothing whose link is still valid. 0 means no bound; with S3 it is 0 unless set." default:"10GiB" env:"HORDELING_DISK_BUDGET" placeholder:"SIZE"`

	TrustedProxies []netip.Prefix `help:"Addresses of proxies whose last X-Forwarded-For entry is the client, as CIDR." default:"127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7" env:"HORDELING_TRUSTED_PROXIES" placeholder:"CIDR"`
	Lookups        int            `help:"Requests per minute and client address." default:"90" env:"HORDELING_LOOKUPS"`
	Conversions    int            `help:"Conversions per minute and client address." default:"10" env:"HORDELING_CONVERSIONS"`
	Workers        int            `help:"How many files are downloaded and converted at a time." default:"4" env:"HORDELING_WORKERS"`
	RefuseFlagged  bool           `help:"Refuse files that a scan by CivitAI found dangerous, although nothing is executed." default:"true" negatable:"" env:"HORDELING_REFUSE_FLAGGED"`
	MaxFile        size           `help:"Largest source file." default:"64MiB" env:"HORDELING_MAX_FILE" placeholder:"SIZE"`

	CivitaiURL             string        `help:"Where CivitAI is. If the host is an address of this machine, that address is exempt from the guard against private addresses." default:"https://civitai.com" env:"HORDELING_CIVITAI_URL" placeholder:"URL"`
	CivitaiKey             string        `help:"API key for CivitAI, sent to that host only. Better set by the environment variable than as a flag." env:"HORDELING_CIVITAI_KEY" placeholder:"KEY"`
	CivitaiMetadataTimeout time.Duration `help:"Time for the description of a model, retries included." default:"5s" env:"HORDELING_CIVITAI_METADATA_TIMEOUT"`
	CivitaiDownloadTimeout time.Duration `help:"Time for a download, retries included." default:"30s" env:"HORDELING_CIVITAI_DOWNLOAD_TIMEOUT"`

	S3Bucket    string        `name:"s3-bucket" help:"Keep converted files in this S3 bucket instead of a directory." env:"HORDELING_S3_BUCKET" placeholder:"NAME"`
	S3Endpoint  string        `name:"s3-endpoint" help:"URL of an S3-compatible service; empty means AWS." env:"HORDELING_S3_ENDPOINT" placeholder:"URL"`
	S3Region    string        `name:"s3-region" help:"Region of the bucket." default:"us-east-1" env:"HORDELING_S3_REGION"`
	S3AccessKey string        `name:"s3-access-key" help:"Access key; empty means AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." env:"HORDELING_S3_ACCESS_KEY" placeholder:"KEY"`
	S3SecretKey string        `name:"s3-secret-key" help:"Secret key. Better set by the environment variable than as a flag." env:"HORDELING_S3_SECRET_KEY" placeholder:"KEY"`
	S3AWSConfig bool          `name:"s3-aws-config" help:"Where no keys are given, use the files, profiles and roles of AWS, the metadata service of the cloud included." default:"false" env:"HORDELING_S3_AWS_CONFIG"`
	S3LinkLife  time.Duration `name:"s3-link-life" help:"How long signed links are valid; with a disk budget also how long a file is kept after it was handed out or fetched, in a directory, too." default:"30m" env:"HORDELING_S3_LINK_LIFE"`

	LogLevel  string `help:"debug (each request), info, warn or error." enum:"debug,info,warn,error" default:"info" env:"HORDELING_LOG_LEVEL"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text" env:"HORDELING_LOG_FORMAT"`
}

const (
	// shutdownTime is how long requests and conversions under way may take after a signal.
	shutdownTime = 20 * time.Second
	// Bounds on slow clients. A download of the largest file over a slow line fits writeTime.
	readTime       = 10 * time.Second
	writeTime      = 10 * time.Minute
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// budget is --disk-budget, whose default is for directories alone.
func (c *serveCommand) budget() int64 {
	if c.S3Bucket != "" && c.DiskBudget == defaultBudget {
		return 0
	}
	return int64(c.DiskBudget)
}

// openArchive opens the directory or the bucket.
func (c *serveCommand) openArchive(ctx context.Context, log *slog.Logger) (*archive.Archive, *blob.Bucket, error) {
	cfg := archive.Config{Budget: c.budget(), LinkLife: c.S3LinkLife, Log: log}
	var b *blob.Bucket
	var err error
	if c.S3Bucket == "" {
		cfg.Local = true
		b, err = archive.OpenDir(c.Data)
	} else {
		cfg.PublicURL = strings.TrimRight(c.PublicURL, "/")
		b, err = bucket.OpenS3(ctx, bucket.S3{
			Endpoint: c.S3Endpoint, Region: c.S3Region, Bucket: c.S3Bucket, AccessKey: c.S3AccessKey, SecretKey: c.S3SecretKey,
			Log: log,
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening the storage: %w", err)
	}
	a, err := archive.Open(ctx, b, cfg)
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	return a, b, nil
}

func (c *serveCommand) logger(p *program) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		panic(err) // kong has checked it
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.stderr, options))
}

// Run serves until the program's context ends.
func (c *serveCommand) Run(p *program) error {
	log := c.logger(p)
	client, err := civitai.New(civitai.Config{
		BaseURL: strings.TrimRight(c.CivitaiURL, "/"), Key: c.CivitaiKey, MaxBytes: int64(c.MaxFile), Log: log,
		MetadataTimeout: c.CivitaiMetadataTimeout, DownloadTimeout: c.CivitaiDownloadTimeout,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	kept, store, err := c.openArchive(p.ctx, log)
	if err != nil {
		return err
	}
	defer store.Close()

	public, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	defer public.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	limits := embedding.DefaultLimits()
	limits.OutputBytes = int64(c.MaxFile)
	service := hordeling.New(hordeling.Config{
		CivitAI: client, Archive: kept, Budget: c.budget(), LinkLife: c.S3LinkLife, Lookups: c.Lookups, Conversions: c.Conversions, Workers: c.Workers,
		AllowFlagged: !c.RefuseFlagged, PublicURL: strings.TrimRight(c.PublicURL, "/"), Proxies: c.TrustedProxies,
		Node: node(public.Addr()), Limits: &limits, Log: log, Metrics: registry,
	})
	servers := []*http.Server{c.server(service.Handler(), log)}
	listeners := []net.Listener{public}
	adminAddr := ""
	if c.AdminListen != "" {
		admin, err := net.Listen("tcp", c.AdminListen)
		if err != nil {
			return err
		}
		defer admin.Close()
		adminAddr = admin.Addr().String()
		servers = append(servers, c.server(service.Admin(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})), log))
		listeners = append(listeners, admin)
	}
	failed := make(chan error, len(servers))
	for i, s := range servers {
		go func() { failed <- s.Serve(listeners[i]) }()
	}
	log.Info("listening", "address", public.Addr().String(), "admin", adminAddr, "civitai", c.CivitaiURL)
	if p.listening != nil {
		p.listening(public.Addr().String(), adminAddr)
	}
	select {
	case <-p.ctx.Done():
	case err = <-failed:
	}
	log.Info("stopping")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), shutdownTime)
	defer cancel()
	for _, s := range servers {
		err = errors.Join(err, s.Shutdown(ctx))
	}
	service.Close(ctx)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (c *serveCommand) server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// node is "<host>:<port>:<version>".
func node(addr net.Addr) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return host + ":" + port + ":" + programVersion()
}
