#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# Builds sd-server of stable-diffusion.cpp (it speaks a part of the AUTOMATIC1111 API) and writes a random-weight
# checkpoint for it.
#
#   hack/sdserver.sh PARTS_DIR
#
# Needs cmake, a C++ compiler and, for the checkpoint, the ComfyUI environment of comfyui.sh or any Python with torch.
# The build takes about ten minutes on two cores. The result is PARTS_DIR/sdserver/run HOST PORT.
set -eu
parts=${1:?usage: sdserver.sh PARTS_DIR}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$parts/sdserver"
dir=$(cd "$parts/sdserver" && pwd)
[ -e "$dir/ready" ] && { echo "$dir"; exit 0; }
cd "$dir"

if [ ! -x sd-server ]; then
	if [ ! -d src ]; then
		python3 -m pip download -q --no-deps --no-binary=:all: -d sdist stable-diffusion-cpp-python==0.4.7
		mkdir -p src
		tar xzf sdist/*.tar.gz -C src --strip-components=1
		rm -rf sdist
	fi
	cmake -S src/vendor/stable-diffusion.cpp -B build -DCMAKE_BUILD_TYPE=Release -DSD_BUILD_EXAMPLES=ON \
		-DSD_SERVER_BUILD_FRONTEND=OFF -DSD_WEBM=OFF
	cmake --build build --target sd-server -j2
	cp "$(find build -name sd-server -type f | head -n 1)" sd-server
fi
if [ ! -s taesd.safetensors ]; then
	[ -d venv ] || /usr/bin/python3 -m venv --system-site-packages venv
	venv/bin/pip install -q safetensors 'numpy<2'
	venv/bin/python "$here/sdserver_checkpoint.py" tiny.safetensors taesd.safetensors
fi
mkdir -p lora
cat >run <<'RUN'
#!/bin/sh
# run HOST PORT: sd-server in the foreground
cd "$(dirname "$0")" || exit 1
exec ./sd-server -l "$1" --listen-port "$2" -m tiny.safetensors --taesd taesd.safetensors --lora-model-dir lora -t 2
RUN
chmod +x run
touch ready
echo "$dir"
