// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"

	"horde/internal/certificate"
)

// tlsFlags let the server speak TLS itself.
type tlsFlags struct {
	TLSCert        string `name:"tls-cert" env:"HORDE_TLS_CERT" type:"path" placeholder:"FILE" help:"Speak TLS with the certificate in this file, in PEM, followed by those that vouch for it. It is read again when it changes, and at SIGHUP."`
	TLSKey         string `name:"tls-key" env:"HORDE_TLS_KEY" type:"path" placeholder:"FILE" help:"Its key, in PEM."`
	RedirectListen string `env:"HORDE_REDIRECT_LISTEN" placeholder:"ADDR" help:"With TLS: send people who come without it, to this address, to https. 0.0.0.0:80 for example."`
}

// secured is the listener with TLS, if that is wanted. It closes l where it fails. stop ends what runs beside; call it when
// the server has stopped.
func (f *tlsFlags) secured(ctx context.Context, l net.Listener, log *slog.Logger) (secured net.Listener, stop func(), err error) {
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	switch {
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return nil, nil, errors.New("--tls-cert and --tls-key go together")
	case f.TLSCert == "" && f.RedirectListen != "":
		return nil, nil, errors.New("--redirect-listen needs --tls-cert")
	case f.TLSCert == "":
		return l, func() {}, nil
	}
	keeper, err := certificate.Load(f.TLSCert, f.TLSKey, log)
	if err != nil {
		return nil, nil, err
	}
	var plain net.Listener
	if f.RedirectListen != "" {
		if plain, err = net.Listen("tcp", f.RedirectListen); err != nil {
			return nil, nil, listenError(f.RedirectListen, err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	beside.Go(func() { keeper.Run(ctx) })
	if plain != nil {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		beside.Go(func() {
			if err := certificate.Redirect(ctx, plain, port, log); err != nil {
				log.Error("people who come without TLS are not redirected any more", "err", err)
			}
		})
	}
	return tls.NewListener(l, keeper.Config()), func() { cancel(); beside.Wait() }, nil
}
