#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-downtime: how far the expected downtime is from the achieved one.

N (50) migrations over loopback TCP, each of a simulated guest of its own, drawn from SEED
(1): size, dirty rate, hot part, downtime-limit, channels, verify. The error of one is
|achieved - expected| over the larger of achieved and 5 ms; its median is the budget. The
parts of both are compared too, so that a bad estimate says which part it is. The table
goes between the marks in Documentation/performance.rst; BENCH_QUICK=1 for a look.
"""
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import World, finish, listen, start  # noqa: E402
from bench import machine, progress, table, write  # noqa: E402

QUICK = bool(os.environ.get("BENCH_QUICK"))
N = int(os.environ.get("N", "8" if QUICK else "50"))
SEED = int(os.environ.get("SEED", "1"))
FLOOR = 5000        # us: below this an error is one of the clock, not of the estimate
BUDGET = 0.25
PARTS = ("pause", "harvest", "pages", "state", "digest", "commit")


def draw(rng):
    """One migration: (LINK of the guest, config, what to call it)."""
    size = rng.choice((256, 512, 1024))
    dirty = rng.choice((0, rng.uniform(0, 20), rng.uniform(20, 200), rng.uniform(20, 200)))
    hot = max(1, int(size * rng.choice((0.02, 0.1, 0.5, 1))))
    limit = int(10 ** rng.uniform(1, 2.7))
    channels = rng.randint(1, 4)
    verify = rng.choice(("none", "digest"))
    config = {"multifd": True, "multifd-channels": channels, "verify": verify,
              "downtime-limit": limit, "max-rounds": 20, "on-no-converge": "switchover"}
    link = f"sim:size={size}M,dirty={int(dirty * 1024)}K,hot={hot}M,seed={rng.randrange(1 << 30)}"
    name = f"{size} MiB, {dirty:.0f} MB/s in {hot} MiB, limit {limit}, {channels} ch, {verify}"
    return size, link, config, name


def migrate(world, i, size, link, config):
    src = world.daemon(f"a{i}", link + ",prefault=on")
    dst = world.daemon(f"b{i}", f"sim:size={size}M,prefault=on")
    start(src, listen(dst), config)
    a, b = finish(src, dst, within=120)
    if a["status"] != "completed" or b["status"] != "completed":
        raise RuntimeError(f"{link} {config}: {a} {b}")
    if dst.verdict(within=120).get("verdict") != "passed":
        raise RuntimeError(f"{link} {config}: the guest's own check: {dst.verdict()}")
    for d in (src, dst):
        d.stop()
        world.started.remove(d)
    return a["drover"]


def figures(d):
    """{part: (expected, achieved)} in us, and the whole."""
    row = {p: (d.get(f"expected-{p}-us", 0), d[f"downtime-{p}-us"]) for p in PARTS}
    row["whole"] = d["expected-downtime-us"], d["downtime-us"] - d.get("downtime-continue-us", 0)
    return row


def error(row):
    expected, achieved = row["whole"]
    return abs(achieved - expected) / max(achieved, FLOOR)


def run(world):
    rng = random.Random(SEED)
    rows = []
    for i in range(N):
        size, link, config, name = draw(rng)
        d = migrate(world, i, size, link, config)
        row = figures(d)
        row["config"], row["rounds"] = config, d["round"]
        rows.append(row)
        parts = " ".join(f"{p} {row[p][0] / 1000:.1f}/{row[p][1] / 1000:.1f}"
                         for p in PARTS + ("whole",))
        progress(f"{i + 1}/{N} {name}: {d['round']} rounds; {parts}: {100 * error(row):.0f} %")
    return rows


def quantiles(values):
    values = sorted(values)
    return [values[min(len(values) - 1, int(len(values) * q))] for q in (0.1, 0.5, 0.9)]


def part_rows(rows):
    """Each part's medians, and what it adds to the error of the whole."""
    out = []
    for p in PARTS + ("whole",):
        expected = statistics.median(r[p][0] for r in rows) / 1000
        achieved = statistics.median(r[p][1] for r in rows) / 1000
        signed = quantiles([(r[p][1] - r[p][0]) / max(r["whole"][1], FLOOR) * 100 for r in rows])
        out.append((p, f"{expected:.2f}", f"{achieved:.2f}",
                    " ".join(f"{v:+.0f}" for v in signed)))
    return out


def group_rows(rows):
    groups = (("verify=none", lambda c, r: c["verify"] == "none"),
              ("verify=digest", lambda c, r: c["verify"] == "digest"),
              *((f"{n} channel{'s' * (n > 1)}", lambda c, r, n=n: c["multifd-channels"] == n)
                for n in range(1, 5)),
              ("achieved < 10 ms", lambda c, r: r["whole"][1] < 10000),
              ("10 to 50 ms", lambda c, r: 10000 <= r["whole"][1] < 50000),
              ("50 ms and more", lambda c, r: r["whole"][1] >= 50000))
    out = []
    for name, member in groups:
        errors = [100 * error(r) for r in rows if member(r["config"], r)]
        if errors:
            out.append((name, len(errors), f"{statistics.median(errors):.0f}",
                        f"{max(errors):.0f}"))
    return out


def report(rows):
    errors = [error(r) for r in rows]
    med = statistics.median(errors)
    within = sum(e <= BUDGET for e in errors)
    return f"""{machine()}; {N} migrations, SEED={SEED},
{time.strftime('%Y-%m-%d')}. Source and destination share these CPUs with the guest's writers.

Median error of the expected downtime: **{100 * med:.0f} %** of the larger of achieved and 5 ms
(budget {100 * BUDGET:.0f} %: {"met" if med <= BUDGET else "MISSED"}); {within} of {N} are within the budget;
nine of ten are below {100 * quantiles(errors)[2]:.0f} %.

Medians in ms; the last column is achieved less expected in % of the whole downtime: one in ten is
below the first figure, one in ten above the last, the median is between.

{table(("part", "expected", "achieved", "off by, %"), part_rows(rows))}

{table(("migrations with", "runs", "median error, %", "worst, %"), group_rows(rows))}
"""


def main():
    with World() as world:
        rows = run(world)
    text = report(rows)
    print(text)
    if not QUICK:
        write(text, "downtime")


if __name__ == "__main__":
    main()
