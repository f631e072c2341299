#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""N migrations of a guest whose disk reads straight into its RAM, from a slow disk.

16 threads of 64 KiB O_DIRECT reads, the disk held at 30 MB/s, tracker=pagemap-scan: most
requests are submitted before a harvest and end after it. A VMM that reports its device
writes loses none, in either form; one that does not is refused; and where that is allowed,
pages are lost, which is the control: this test is able to see them. N and SEED come
from the command line or the environment.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import Tap, World, brief, good, listen, migrate, no_kvm, skip_all, start  # noqa: E402
from throttle import Throttle  # noqa: E402

RATE = 30 << 20
MEM = ["--mem", "64M", "--dirty", "5M"]
# Rounds beside a running guest: a page of the last harvest is sent while its guest is stopped,
# and until then the disk has caught up.
CONFIG = {"tracker": "pagemap-scan", "downtime-limit": 1, "max-rounds": 5,
          "on-no-converge": "switchover"}


def argument(i, name, default):
    return int(sys.argv[i] if len(sys.argv) > i else os.environ.get(name, default))


N, SEED = argument(1, "N", 10), argument(2, "SEED", 1)
tap = Tap()
throttles = []


def pair(world, report):
    throttle = Throttle(world.dir, RATE)
    throttles.append(throttle)
    disk = ["--disk", f"{world.file('disk')},threads=16,report={report}", "--seed", str(SEED)]
    va = world.vmm("vm-a", *MEM, *disk, preexec_fn=throttle.enter)
    vb = world.vmm("vm-b", *MEM, *disk, "--incoming", preexec_fn=throttle.enter)
    return world.daemon("a", "agent:" + va.agent), world.daemon("b", "agent:" + vb.agent)


def moves(world, report, n):
    a, b = pair(world, report)
    whole, reads = 0, 0
    for i in range(n):
        ends = migrate(a, b, config=CONFIG)
        check = b.verdict()
        ok = ends[0].get("status") == "completed" and check.get("verdict") == "passed"
        whole += ok
        if not ok:
            tap.note(f"{report}, move {i}: {brief(ends[0])} {check}")
            break
        reads = check["disk"]["reads"]
        if i == 0:
            used = ends[0]["drover"]["tracker"]
            tap.ok(used == "pagemap-scan+holes+wrote", f"tracked by {used}", used)
        a, b = b, a
    tap.ok(whole == n, f"report={report}: {whole} of {n} moves, 0 pages lost, {reads} reads")


def reported(world):
    moves(world, "wrote", N)


def counted(world):
    moves(world, "count", max(2, N // 4))


def refused(world):
    a, b = pair(world, "none")
    uri = listen(b)
    for tracker in ("auto", "pagemap-scan"):
        start(a, uri, {"tracker": tracker})
        info = a.until("failed", "completed")
        text = info.get("error-desc", "")
        tap.ok(info["status"] == "failed" and "O_DIRECT" in text and
               "unsafe-device-writes=allow" in text and a.until_runs(),
               f"not reported, tracker={tracker}: {text}", brief(info))


def allowed(world):
    """The control: what is not reported is lost, and the migration says that it may be."""
    a, b = pair(world, "none")
    for i in range(max(N, 10)):
        ends = migrate(a, b, config={**CONFIG, "unsafe-device-writes": "allow"})
        check = b.verdict()
        ours = ends[0].get("drover", {})
        if i == 0:
            tap.ok(ours.get("tracker") == "pagemap-scan+holes+unsafe-device-writes" and
                   "LOST when late" in ours.get("tracker-report", ""),
                   "query-migrate says for ever that writes may be lost", ours)
        if check.get("verdict") == "failed":
            break
        a, b = b, a
    tap.ok(check.get("verdict") == "failed" and check["first-bad-page"].startswith("disk:"),
           f"control: lost in move {i + 1}: {check.get('bad-pages')} pages, the first "
           f"{check.get('first-bad-page')}", check)


why = no_kvm()
with World() as w:
    probe = Throttle(w.dir, RATE)
    why = why or probe.missing
    probe.end()
if why:
    skip_all(why)
try:
    tap.note(f"N={N} SEED={SEED}")
    tap.run(refused, reported, counted, allowed)
finally:
    for t in throttles:
        t.end()
