# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs commands one after the other and reports for each its exit status, wall time and peak memory.

The commands come as a JSON list of lists on standard input, the reports go as a JSON list to standard output. It is this
small process that starts them, for Linux counts the memory of whoever starts a process towards the peak of that process.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

reports = []
for argv in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        reports.append({"status": child.returncode, "seconds": seconds, "kib": usage.ru_maxrss,
                        "output": out.read(2000).decode(errors="replace")})
json.dump(reports, sys.stdout)
