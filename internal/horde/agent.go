// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// Agent is a parsed bridge agent: the program that a worker says it is.
type Agent struct {
	Name    string
	Version Version
	Contact string
}

// UnknownAgent is what an absent or unreadable bridge agent counts as.
const UnknownAgent = "unknown:0:unknown"

// ParseAgent splits "name:version:contact" at the first two colons. With fewer parts, or a version that cannot be read,
// the agent is "unknown", version 0.
func ParseAgent(s string) Agent {
	parts := strings.SplitN(s, ":", 3)
	if len(parts) == 3 {
		if v, ok := ParseVersion(parts[1]); ok {
			return Agent{Name: parts[0], Version: v, Contact: parts[2]}
		}
	}
	return Agent{Name: "unknown"}
}

// Version is a semantic version whose minor and patch parts may be left out.
type Version struct {
	Major, Minor, Patch uint64
	// Pre is the pre-release part, without the hyphen. A version with one precedes the same version without.
	Pre string
}

var versionSyntax = regexp.MustCompile(`^(0|[1-9]\d*)(?:\.(0|[1-9]\d*))?(?:\.(0|[1-9]\d*))?` +
	`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
	`(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$`)

// ParseVersion reads "13", "13.1", "13.0.0-rc1" and the like.
func ParseVersion(s string) (Version, bool) {
	m := versionSyntax.FindStringSubmatch(s)
	if m == nil {
		return Version{}, false
	}
	v := Version{Pre: m[4]}
	for i, part := range []*uint64{&v.Major, &v.Minor, &v.Patch} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseUint(m[i+1], 10, 64)
		if err != nil {
			return Version{}, false
		}
		*part = n
	}
	return v, true
}

// Compare orders versions by semantic-versioning precedence.
func (v Version) Compare(w Version) int {
	if c := cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch)); c != 0 {
		return c
	}
	switch {
	case v.Pre == w.Pre:
		return 0
	case v.Pre == "":
		return 1
	case w.Pre == "":
		return -1
	}
	a, b := strings.Split(v.Pre, "."), strings.Split(w.Pre, ".")
	for i := range min(len(a), len(b)) {
		x, errX := strconv.ParseUint(a[i], 10, 64)
		y, errY := strconv.ParseUint(b[i], 10, 64)
		c := 0
		switch {
		case errX == nil && errY == nil:
			c = cmp.Compare(x, y)
		case errX == nil:
			c = -1
		case errY == nil:
			c = 1
		default:
			c = strings.Compare(a[i], b[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
