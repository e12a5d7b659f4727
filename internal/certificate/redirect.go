// SPDX-License-Identifier: AGPL-3.0-or-later

package certificate

import (
	"net"
	"net/http"
	"strings"
)

// httpsPort is what an address under https need not name.
const httpsPort = "443"

// apiPrefix and ratingsPrefix are below what programs send keys to: the horde, and its ratings service.
const (
	apiPrefix     = "/api/"
	ratingsPrefix = "/ratings/api/"
)

func redirect(port string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		if !plainHost(host) {
			http.Error(w, "What host?", http.StatusBadRequest)
			return
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if port != httpsPort {
			host += ":" + port
		}
		if strings.HasPrefix(r.URL.Path, apiPrefix) || strings.HasPrefix(r.URL.Path, ratingsPrefix) || r.Header.Get("apikey") != "" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"Use https: a key must not be sent in the clear."}` + "\n"))
			return
		}
		w.Header().Set("Connection", "close")
		http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
	})
}

// plainHost tells whether a host is a name or an address and nothing else.
func plainHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for _, c := range []byte(host) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '.' && c != ':' && c != '_' {
			return false
		}
	}
	return true
}
