#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's recorded conversations, held with droverd: every difference is in the table
corpus/differences.jsonl, and what is there does differ. One of each case is a test."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus  # noqa: E402
from droverqmp import Tap, World  # noqa: E402

GUEST = "sim:size=16M"
LEAST = 100

tap = Tap()
table = corpus.Table()


def compare(case, ours):
    found = list(corpus.differences(case, ours))
    bad = [d for d in found if not table.explains(case["name"], d)]
    tap.ok(not bad, case["name"], "not in differences.jsonl:\n" + "\n".join(bad) +
           "\nQEMU said " + json.dumps(case["got"])[:1000] + "\nwe said " +
           json.dumps(ours)[:1000])
    if os.environ.get("VERBOSE"):
        for d in found:
            print("#    ", d)


def replay(world):
    servers, default, number, cases = {}, None, 0, 0
    for line in corpus.lines(corpus.RECORD):
        if "servers" in line:
            for s in servers.values():
                s.stop()
            servers = {}
            for name in line["servers"]:
                number += 1
                servers[name] = world.start(f"{name}{number}", GUEST)
            default = next(iter(servers))
            continue
        cases += 1
        try:
            ours = corpus.hold(line, servers[line.get("on", default)].path, world.dir)
            compare(line, ours)
        except (OSError, TypeError, KeyError, IndexError) as e:
            tap.ok(False, line["name"], repr(e))
    return cases


with World() as world:
    n = replay(world)
tap.ok(n >= LEAST, f"the corpus has at least {LEAST} cases", n)
recorded = [{k: v for k, v in line.items() if k != "got"} for line in corpus.lines(corpus.RECORD)]
tap.ok(recorded == list(corpus.lines(corpus.SENDS)), "it was recorded from sends.jsonl as it is",
       "run make record-qmp")
stale = table.stale()
tap.ok(not stale, "every difference of the table is still one",
       "take these rows out of differences.jsonl:\n" + "\n".join(map(json.dumps, stale)))
tap.ok(not any(world.statuses.values()), "every droverd ended with status 0", world.statuses)
sys.exit(tap.done())
