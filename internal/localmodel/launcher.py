# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs llama.cpp's HTTP server, which the wheel xllamacpp carries, for one parent process.

usage: python -I launcher.py SITE JSON

SITE is the directory the wheels were unpacked to, JSON the options (see launchOptions in server.go). One line of JSON
with the server's address goes to standard output once the model is loaded; the log goes to standard error. The process
ends when its standard input does: the parent holds the other end and never writes, so it cannot be outlived.
"""
import json
import os
import sys
import threading


def end_with_parent():
    while os.read(0, 4096):
        pass
    os._exit(0)


def main():
    site, options = sys.argv[1], json.loads(sys.argv[2])
    threading.Thread(target=end_with_parent, daemon=True).start()
    # What native code prints to standard output must not be taken for the address: keep the pipe, and let
    # descriptor 1 go to the log.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, site)
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = options["gguf"]
    p.model_alias = {options["name"]}
    p.port = options["port"]
    p.n_parallel = options["parallel"]
    p.n_ctx = options["context"] * options["parallel"]
    p.cpuparams.n_threads = options["threads"]
    p.cpuparams_batch.n_threads = options["threads"]
    p.cache_ram_mib = options["cache_mib"]
    # Without a key any page in a browser may call a server on loopback whose CORS allows all origins.
    p.cors_origins = "http://127.0.0.1"
    p.ui = False
    p.endpoint_slots = False
    server = xllamacpp.Server(p)
    print(json.dumps({"url": server.listening_address}), file=out, flush=True)
    threading.Event().wait()


main()
