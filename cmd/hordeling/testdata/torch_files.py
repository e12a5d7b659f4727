# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes files with the PyTorch at hand, of old and new formats and all dtypes, and a manifest of what is in them.

usage: torch_files.py DIR
"""
import collections
import json
import os
import sys

import numpy
import torch

NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def raw(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def describe(tensor):
    return {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "hex": raw(tensor).hex()}


def values(dtype, *shape):
    if dtype == torch.bool:
        return torch.rand(shape) > 0.5
    if dtype in FLOATS:
        t = torch.randn(shape, dtype=torch.float64) * 3
        flat = t.reshape(-1)
        for i, special in enumerate([float("inf"), float("-inf"), -0.0, 1e-7][: flat.numel() // 2]):
            flat[i] = special
        return t.to(dtype)
    return torch.randint(-100 if dtype != torch.uint8 else 0, 100, shape).to(dtype)


def main(folder):
    torch.manual_seed(1)
    manifest = []

    def save(name, obj, mode, tensors, formats=("zip2", "legacy")):
        for form in formats:
            file = "%s-%s.pt" % (name, form)
            torch.save(obj, os.path.join(folder, file), pickle_protocol=int(form[-1]) if form[-1].isdigit() else 2,
                       _use_new_zipfile_serialization=form.startswith("zip"))
            manifest.append({"file": file, "mode": mode, "tensors": {k: describe(v) for k, v in tensors.items()}})

    every = ("zip2", "zip3", "zip4", "zip5", "legacy", "legacy3", "legacy4", "legacy5")
    for dtype in FLOATS:
        t = values(dtype, 2, 8)
        webui = {"string_to_token": {"*": 265}, "string_to_param": {"*": t}, "name": "cat", "step": 500,
                 "sd_checkpoint": "06c50424", "sd_checkpoint_name": None}
        save("webui-" + NAMES[dtype], webui, "ti", {"emb_params": t}, every)
        save("diffusers-" + NAMES[dtype], {"<cat>": t[0].clone()}, "ti", {"emb_params": t[0]})
        save("bare-" + NAMES[dtype], t, "ti", {"emb_params": t})
        clip_l, clip_g = values(dtype, 3, 4), values(dtype, 3, 6)
        save("sdxl-" + NAMES[dtype], {"clip_l": clip_l, "clip_g": clip_g}, "ti", {"clip_l": clip_l, "clip_g": clip_g}, every)

    t = values(torch.float32, 2, 8)
    save("token-tensor", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": t}}, "ti", {"emb_params": t})
    save("parameter", {"string_to_param": {"*": torch.nn.Parameter(t)}}, "ti", {"emb_params": t})
    save("ordered", {"string_to_param": collections.OrderedDict([("*", t)])}, "ti", {"emb_params": t}, every)
    save("numpy-step", {"string_to_param": {"*": t}, "step": numpy.int64(5), "loss": numpy.float32(0.5)}, "ti", {"emb_params": t})
    save("optimizer", {"string_to_param": {"*": t}, "seen": {1, 2}, "device": torch.device("cpu"), "dtype": torch.float16,
                       "size": torch.Size([1, 2]), "raw": b"\xff\x00"}, "ti", {"emb_params": t}, every)
    save("emb-params", {"emb_params": t, "step": 4}, "ti", {"emb_params": t})
    params = torch.nn.ParameterDict({"*": torch.nn.Parameter(t)})
    save("parameter-dict", {"string_to_param": params}, "ti", {"emb_params": t})

    big = values(torch.float32, 6, 10)
    for name, view in {
        "transposed": big.t(), "rows": big[1:4], "columns": big[:, 2:5], "steps": big[::2, ::3], "expanded": big[0].expand(4, 10),
        "one-row": big[3:4], "one-column": big[:, 3], "as-strided": big.as_strided((2, 4), (1, 3), 5), "offset": big.reshape(-1)[7:],
    }.items():
        save("view-" + name, {"string_to_param": {"*": view}}, "ti", {"emb_params": view})

    everything = {}
    for dtype in NAMES:
        everything[NAMES[dtype]] = values(dtype, 3, 2)
        everything[NAMES[dtype] + "-scalar"] = values(dtype, 1)[0].clone()
        everything[NAMES[dtype] + "-empty"] = values(dtype, 0, 3)
        everything[NAMES[dtype] + "-cube"] = values(dtype, 2, 2, 2).permute(2, 0, 1)
    save("every-dtype", everything, "tensors", everything, every)
    shared = {"whole": big, "row": big[2], "again": big, "column": big[:, 1]}
    save("shared", shared, "tensors", shared)
    nested = {"state_dict": {"a.weight": t, "list": [big[0].clone(), {"x": t[0].clone()}]}, "epoch": 3}
    save("nested", nested, "tensors", {"state_dict.a.weight": t, "state_dict.list.0": big[0], "state_dict.list.1.x": t[0]})

    with open(os.path.join(folder, "manifest.json"), "w") as f:
        json.dump({"torch": torch.__version__, "files": manifest}, f, indent=0)


main(sys.argv[1])
