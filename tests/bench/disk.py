#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration costs the guest's disk: bytes it read and wrote a second, alone and moving.

drover-vmm's disk, 16 threads, one request at a time each and 10 ms between two. The migration is
held at 20 MB/s, so that it lasts; bytes are those of /proc/PID/io.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import World, listen, start  # noqa: E402

SECONDS = 5


def moved(pid):
    with open(f"/proc/{pid}/io") as f:
        io = dict(line.split(": ") for line in f.read().splitlines())
    return int(io["read_bytes"]) + int(io["write_bytes"])


def rate(pid):
    before, begin = moved(pid), time.monotonic()
    time.sleep(SECONDS)
    return (moved(pid) - before) / (time.monotonic() - begin) / 1e6


def main():
    for how in ("wrote", "count"):
        with World() as w:
            disk = ["--mem", "512M", "--dirty", "5M", "--disk",
                    f"{w.file('disk')},threads=16,report={how}"]
            va, vb = w.vmm("vm-a", *disk), w.vmm("vm-b", *disk, "--incoming")
            a, b = w.daemon("a", "agent:" + va.agent), w.daemon("b", "agent:" + vb.agent)
            alone = rate(va.pid)
            start(a, listen(b), {"max-bandwidth": 20 << 20, "downtime-limit": 1})
            a.until("active")
            time.sleep(0.5)
            during = rate(va.pid)
            assert a.status() == "active", a.info()
            a.call("migrate_cancel")
            a.until("cancelled")
            after = rate(va.pid)
        print(f"report={how}: {alone:.0f} MB/s alone, {during:.0f} MB/s moving "
              f"({during / alone:.2f}), {after:.0f} MB/s afterwards", flush=True)


main()
