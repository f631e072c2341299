#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""32 migrations leave one host at once, under one host limit: all end, none is starved.

Fair is Jain's index of the rates while all of them run: 1 when all are equal, 1/n when one
has everything.
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DONE, DROVERCTL, SANITIZER, SLOW, Tap, World  # noqa: E402

PAIRS = 4 if SANITIZER else 32
RATE = PAIRS * (8 << 20) // SLOW
SIZE = "64M"


def jain(x):
    return sum(x) ** 2 / (len(x) * sum(v * v for v in x)) if any(x) else 0.0


def ctl(path, *args):
    return subprocess.run([DROVERCTL, "host-limit", *args, "--file", path], capture_output=True,
                          text=True, check=False)


def sent(daemons):
    return [d.info()["ram"]["transferred"] for d in daemons]


def many(w):
    path = os.path.join(w.dir, "limit")
    r = ctl(path)
    w.tap.ok(r.returncode == 0 and r.stdout == "no limit\n", "host-limit: none", r)
    r = ctl(path, str(RATE))
    w.tap.ok(r.returncode == 0 and not r.stderr, "host-limit RATE", r)
    src, dst = [], []
    for i in range(PAIRS):
        src.append(w.daemon(f"a{i}", f"sim:size={SIZE},seed={i}", "--host-limit", path))
        dst.append(w.daemon(f"b{i}", f"sim:size={SIZE}"))
        dst[i].call("migrate-incoming", uri=f"unix:{w.dir}/{i}")
    for i, s in enumerate(src):
        # Without a limit of its own; every third one wants several connections.
        s.call("migrate", uri=f"unix:{w.dir}/{i}",
               config={"max-bandwidth": 0, "multifd": i % 3 == 0, "multifd-channels": 2})
    time.sleep(1.5)
    begin, at = time.monotonic(), sent(src)
    r = ctl(path, "--json")
    w.tap.ok(f'"migrations": {PAIRS}' in r.stdout, f"host-limit: {PAIRS} share it", r.stdout)
    time.sleep(2.5 * SLOW)
    rates = [b - a for a, b in zip(at, sent(src))]
    total = sum(rates) / (time.monotonic() - begin)
    w.tap.ok(jain(rates) >= 0.9, f"Jain's index {jain(rates):.3f} is 0.9 or more", rates)
    w.tap.ok(total < RATE * 1.1, f"{total / RATE:.2f} of the limit is used in all", total)
    w.tap.note(f"slowest {min(rates)}, fastest {max(rates)} bytes")
    # Nobody waits for the rest of it.
    w.tap.ok(ctl(path, "off").returncode == 0, "host-limit off")
    ends = [s.until(*DONE)["status"] for s in src]
    w.tap.ok(ends == ["completed"] * PAIRS, f"{PAIRS} migrations complete", ends)
    w.tap.ok(all(d.until("completed")["status"] == "completed" and d.running() for d in dst),
             "and all guests run where they belong")
    w.tap.ok('"rate": 0' in ctl(path, "--json").stdout, "no limit any more")


def bad(w):
    r = ctl(os.path.join(w.dir, "x"), "many")
    w.tap.ok(r.returncode == 2 and "many" in r.stderr, "host-limit: no rate", r)
    r = ctl(os.path.join(w.dir, "no", "x"), "1G")
    w.tap.ok(r.returncode == 1 and "No such file" in r.stderr, "host-limit: no directory", r)


Tap().run(many, bad)
