// SPDX-License-Identifier: AGPL-3.0-or-later

// Package dotenv reads files of environment variables.
package dotenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// File is the name of the file for a profile: ".env_PROFILE", or ".env" for none.
func File(profile string) string {
	if profile == "" {
		return ".env"
	}
	return ".env_" + profile
}

// Load takes variables that are not set from a file of NAME=value lines, which may begin with "export" and have their values in
// quotes. What a value is in is not expanded. A file that does not exist is no error.
func Load(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("environment variables of a file: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export "))
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}
