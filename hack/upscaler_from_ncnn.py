# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes the weights of an ncnn RealESRGAN animevideov3 model (fp16) as a .pth file that ComfyUI loads.

Usage: python upscaler_from_ncnn.py MODEL_WITHOUT_SUFFIX OUT.pth   (numpy, torch)

The ncnn weight file holds, for each convolution, a tag 0x01306B47 and fp16 weights padded to four bytes, then float32
biases; for each PReLU the float32 slopes alone. The order of the entries matters to ComfyUI of 2024, and safetensors does
not keep it.
"""
import struct
import sys

import numpy as np
import torch

FP16_TAG = 0x01306B47


def weights(path):
    out, index = {}, 0
    with open(path + ".param") as f:
        layers = f.read().split("\n")[2:]
    with open(path + ".bin", "rb") as b:
        for line in layers:
            fields = line.split()
            if not fields:
                continue
            args = dict(x.split("=") for x in fields if "=" in x)
            if fields[0] == "Convolution":
                outputs, count = int(args["0"]), int(args["6"])
                tag = struct.unpack("<I", b.read(4))[0]
                if tag == FP16_TAG:
                    w = np.frombuffer(b.read(count * 2), np.float16).astype(np.float32)
                    b.read((4 - (count * 2) % 4) % 4)
                elif tag == 0:
                    w = np.frombuffer(b.read(count * 4), np.float32)
                else:
                    sys.exit("unknown weight tag %x" % tag)
                out["body.%d.weight" % index] = w.reshape(outputs, -1, 3, 3)
                out["body.%d.bias" % index] = np.frombuffer(b.read(outputs * 4), np.float32)
                index += 1
            elif fields[0] == "PReLU":
                out["body.%d.weight" % index] = np.frombuffer(b.read(int(args["0"]) * 4), np.float32)
                index += 1
    return {k: torch.from_numpy(np.array(v)) for k, v in out.items()}


torch.save(weights(sys.argv[1]), sys.argv[2])
