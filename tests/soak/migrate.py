#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""N migrations back and forth in one pair of daemons: nothing leaks, nothing is lost.

N and SEED come from the command line or the environment. Descriptors, threads and the
daemons' own memory (RSS without the guests' shared memory) are compared with what they
were after the first there-and-back.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import SANITIZER, Tap, World, good, migrate  # noqa: E402

RSS_GROWTH = 4 << 20
SIM = "sim:size=64M,dirty=20M,seed=%d"


def argument(i, name, default):
    return int(sys.argv[i] if len(sys.argv) > i else os.environ.get(name, default))


def usage(daemon):
    """descriptors, threads, bytes"""
    proc = f"/proc/{daemon.pid}"
    rss = 0
    with open(proc + "/status") as f:
        for line in f:
            if line.startswith(("RssAnon:", "RssFile:")):
                rss += int(line.split()[1]) << 10
    return {"descriptors": len(os.listdir(proc + "/fd")),
            "threads": len(os.listdir(proc + "/task")), "rss": rss}


def settled(daemon):
    """usage, once it has stayed the same for half a second: a migration's threads, and what
    they hold open, end a moment after it is completed."""
    seen, end = [], time.monotonic() + 5
    while time.monotonic() < end and (len(seen) < 10 or len(set(seen[-10:])) > 1):
        use = usage(daemon)
        seen.append((use["descriptors"], use["threads"]))
        time.sleep(0.05)
    return usage(daemon)


def config(rng):
    c = {"verify": rng.choice(["none", "digest", "full"])}
    if rng.random() < 0.6:
        c.update({"multifd": True, "multifd-channels": rng.choice([1, 2, 4]),
                  "zero-copy-send": rng.random() < 0.5})
    if rng.random() < 0.3:
        c["switchover-ack"] = c["return-path"] = True
    return c


WARM_UP = [{"multifd": True, "multifd-channels": 4, "zero-copy-send": True, "verify": "full"},
           {"verify": "digest"}] * 2


def compare(tap, daemon, before):
    # The last migration's threads end a moment after it is completed.
    end = time.monotonic() + 5
    after = usage(daemon)
    while time.monotonic() < end and any(after[w] > before[w] for w in ("descriptors", "threads")):
        time.sleep(0.05)
        after = usage(daemon)
    for what in ("descriptors", "threads"):
        tap.ok(after[what] == before[what], f"{daemon.name}: {what} as before",
               f"before {before[what]}, after {after[what]}")
    grown = after["rss"] - before["rss"]
    name = f"{daemon.name}: RSS grew by less than {RSS_GROWTH >> 20} MiB ({grown >> 10} KiB)"
    if SANITIZER:
        tap.skip(name, "a sanitizer's allocator keeps freed memory")
    else:
        tap.ok(grown < RSS_GROWTH, name, f"before {before['rss']}, after {after['rss']}")


def main():
    n, seed = argument(1, "N", 10), argument(2, "SEED", 1)
    tap, rng = Tap(), random.Random(seed)
    tap.note(f"N={n} SEED={seed}")
    with World(tap) as w:
        there, back = w.daemon("a", SIM % seed), w.daemon("b", SIM % (seed + 1))
        for c in WARM_UP:
            ends = migrate(there, back, config=c)
            good(tap, f"warm-up: {c}", there, back, ends, c["verify"])
            there, back = back, there
        before = {d: settled(d) for d in (there, back)}
        # An even number, so that each daemon ends in the role it was measured in.
        for i in range(n + n % 2):
            c = config(rng)
            ends = migrate(there, back, config=c)
            if not good(tap, f"{i + 1}: {there.name} to {back.name} {c}", there, back, ends,
                        c["verify"]):
                break
            there, back = back, there
        for d in before:
            compare(tap, d, before[d])
    return tap.done()


sys.exit(main())
