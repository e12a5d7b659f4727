// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"fmt"
	"runtime/debug"
)

// The product as it appears in agent strings. A horde that knows the names grants what these workers can do; others
// treat them as unknown programs.
const (
	product = "horde"
	contact = "https://horde.invalid"
)

// Version is the program's own, from the build information.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && len(info.Main.Version) > 1 && info.Main.Version[0] == 'v' {
		return info.Main.Version[1:]
	}
	return "1.0.0"
}

// DreamerAgent is the default bridge agent of the image worker.
func DreamerAgent() string { return fmt.Sprintf("%s Dreamer:%s:%s", product, Version(), contact) }

// AlchemistAgent is the default bridge agent of the worker for forms.
func AlchemistAgent() string { return fmt.Sprintf("%s Alchemist:%s:%s", product, Version(), contact) }

// ScribeAgent is the default bridge agent of the text worker in front of a kind of server.
func ScribeAgent(kind string) string {
	return fmt.Sprintf("%s Scribe~%s:%s:%s", product, kind, Version(), contact)
}
