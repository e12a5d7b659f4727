# SPDX-License-Identifier: AGPL-3.0-or-later
"""Converts all .pt files of a folder with PyTorch and safetensors, and prints the seconds it took.

usage: torch_speed.py DIR
"""
import glob
import os
import sys
import time

import safetensors.torch
import torch

torch.set_num_threads(1)
files = sorted(glob.glob(os.path.join(sys.argv[1], "*.pt")))
torch.load(files[0], weights_only=False)  # what is imported at the first use does not count
start = time.perf_counter()
for path in files:
    tensor = torch.load(path, map_location="cpu", weights_only=False)["string_to_param"]["*"]
    safetensors.torch.save_file({"emb_params": tensor}, path[:-3] + ".safetensors", metadata={"format": "pt"})
print(time.perf_counter() - start)
