#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs what the tests of the hordeling run against, into the directory that is given (default: .parts): the real
# PyTorch and safetensors (hordeling-python/bin/python) and an S3 server (bin/versitygw). May be run again; what is there
# stays. Needs root where Debian's packages are missing.
set -euo pipefail

parts=${1:-$(cd "$(dirname "$0")/.." && pwd)/.parts}
mkdir -p "$parts/bin"
parts=$(cd "$parts" && pwd)

# Debian's PyTorch is built for the CPU alone and a tenth of the size of the one on PyPI.
if ! /usr/bin/python3 -c 'import torch, numpy, venv, ensurepip' 2>/dev/null; then
  apt-get -o DPkg::Lock::Timeout=600 update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends python3-torch python3-venv >/dev/null
fi
if ! "$parts/hordeling-python/bin/python" -c 'import torch, safetensors.torch' 2>/dev/null; then
  rm -rf "$parts/hordeling-python"
  /usr/bin/python3 -m venv --system-site-packages "$parts/hordeling-python"
  "$parts/hordeling-python/bin/pip" install -q --no-deps safetensors==0.8.0
fi

if [ ! -x "$parts/bin/versitygw" ]; then
  GOFLAGS= GOBIN="$parts/bin" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
fi
