# SPDX-License-Identifier: AGPL-3.0-or-later
"""Loads converted files with the real safetensors and PyTorch and compares them with the manifest and their sources.

usage: torch_check.py SOURCES CONVERTED
"""
import json
import os
import sys

import safetensors
import safetensors.torch
import torch

NAMES = {
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}


def raw(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def tensors_of(obj):
    """All tensors of a loaded source, by their bytes, shape and dtype."""
    if isinstance(obj, torch.Tensor):
        yield raw(obj), tuple(obj.shape), obj.dtype
    elif isinstance(obj, dict) or hasattr(obj, "items"):
        for _, v in obj.items():
            yield from tensors_of(v)
    elif isinstance(obj, (list, tuple)):
        for v in obj:
            yield from tensors_of(v)


def main(sources, converted):
    with open(os.path.join(sources, "manifest.json")) as f:
        manifest = json.load(f)
    compared = 0
    for entry in manifest["files"]:
        path = os.path.join(converted, os.path.splitext(entry["file"])[0] + ".safetensors")
        got = safetensors.torch.load_file(path)
        assert set(got) == set(entry["tensors"]), (path, set(got))
        try:
            loaded = torch.load(os.path.join(sources, entry["file"]), map_location="cpu", weights_only=False)
            source = set(tensors_of(loaded))
        except ModuleNotFoundError:  # numpy scalars of a newer numpy than the one at hand
            source = None
        for name, want in entry["tensors"].items():
            t = got[name]
            assert t.dtype == NAMES[want["dtype"]] and list(t.shape) == want["shape"], (path, name, t.dtype, t.shape)
            assert raw(t).hex() == want["hex"], (path, name)
            assert source is None or (raw(t), tuple(t.shape), t.dtype) in source, (path, name, "differs from torch.load")
            compared += 1
        with safetensors.safe_open(path, framework="pt") as f:
            assert f.metadata() == {"format": "pt"}, (path, f.metadata())
        # The standard writer makes the same bytes of what it read.
        with open(path, "rb") as f:
            assert f.read() == safetensors.torch.save(got, metadata={"format": "pt"}), (path, "bytes differ")
    print("%d files of PyTorch %s, %d tensors equal bit for bit; loaded by PyTorch %s and safetensors %s" % (
        len(manifest["files"]), manifest["torch"], compared, torch.__version__, safetensors.__version__))


main(*sys.argv[1:])
