#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the conversations of corpus/sends.jsonl with QEMU and writes them, with its answers,
into corpus/qemu-7.2.jsonl. make record-qmp; $QEMU names another program."""
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
import droverqmp  # noqa: E402

# QEMU reads a byte at a time: 2 MiB take long beside other work.
droverqmp.DEADLINE = 200

QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
COMMON = ["-nodefaults", "-nographic"]
GUEST = ["-machine", "pc", "-accel", "tcg", "-m", "16M"]
SERVERS = {
    "none": ["-machine", "none", "-S"],
    "guest": GUEST,
    "incoming": GUEST + ["-incoming", "defer"],
}


class Qemu:
    def __init__(self, directory, number, which):
        self.path = os.path.join(directory, f"qmp-{number}")
        self.process = subprocess.Popen(
            [QEMU, *COMMON, *SERVERS[which], "-qmp", f"unix:{self.path},server=on,wait=off"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + corpus.DEADLINE
        while True:
            try:
                corpus.Talk(self.path).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()


def record(directory, out, servers):
    default, number = None, 0
    version = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True)
    print(json.dumps({"#": "by record.py: " + version.stdout.splitlines()[0]}), file=out)
    for line in corpus.lines(corpus.SENDS):
        if "servers" in line:
            for s in servers.values():
                s.stop()
            servers.clear()
            for name, which in line["servers"].items():
                number += 1
                servers[name] = Qemu(directory, number, which)
            default = next(iter(servers))
        else:
            line["got"] = corpus.hold(line, servers[line.get("on", default)].path, directory)
            if {"closed": True} in line["got"] and "ends" not in line:
                print(f"{line['name']}: no answer to the last request", file=sys.stderr)
        print(json.dumps(line), file=out)


with tempfile.TemporaryDirectory(prefix="drover-qmp-") as tmp:
    new = corpus.RECORD + ".new"
    running = {}
    try:
        with open(new, "w", encoding="ascii") as f:
            record(tmp, f, running)
    finally:
        for qemu in running.values():
            qemu.stop()
    os.rename(new, corpus.RECORD)
