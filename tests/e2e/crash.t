#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A droverd dies between any two steps of postcopy; the next one goes on, and nothing is lost.

The daemon is tests/peer/droverd-crash, which kills itself at a named place (base/crash.h): each
step of the order in which a page is placed, and each step of the handover. The VMMs live on.
Skipped where /dev/kvm is missing or refuses.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import BUILD, DEADLINE, DROVERD, Tap, listen, no_kvm, skip_all, start  # noqa: E402

tap = Tap()
CRASH = os.path.join(BUILD, "tests", "peer", "droverd-crash")
MEM = ["--mem", "64M", "--dirty", "20M"]
CONFIG = {"postcopy-ram": True, "postcopy-from-start": True, "multifd": True,
          "max-postcopy-bandwidth": 30 << 20}
PREEMPT = {**CONFIG, "postcopy-preempt": True}
RELEASE = {**CONFIG, "release-ram": True}
SIDE = {"a": "source", "b": "destination"}
# While a page is placed, and which time it is
PLACING = [(p, n) for p in ("claimed", "received", "digested", "arrived", "published")
           for n in (1, 40)]
# Steps of the handover that the destination can die in, and of the end
DEST = [("owned", 1), ("resumed", 1), ("all-here", 1)]
SOURCE = [("request", 1), ("request", 30), ("all-sent", 1), ("proved", 1), ("commit-sent", 1),
          ("commit-acked", 1), ("recorded", 1)]


def pair(world, victim, point, n):
    disk = ["--disk", world.file("disk")]
    va, vb = world.vmm("vm-a", *MEM, *disk), world.vmm("vm-b", *MEM, *disk, "--incoming")
    env = dict(os.environ, DROVER_CRASH=f"{point}:{n}")
    ends = []
    for name, vmm in (("a", va), ("b", vb)):
        ends.append(world.daemon(name, "agent:" + vmm.agent, env=env, program=CRASH)
                    if name == victim else world.daemon(name, "agent:" + vmm.agent))
    return (va, vb, *ends)


def died(d):
    return d.wait(DEADLINE) is not None


def replace(d):
    """What an operator, or systemd, does: start it again."""
    d.argv[0] = DROVERD
    d.popen.pop("env", None)
    d.restart()


def go_on(a, b, uri, within=DEADLINE):
    """migrate resume=true until both are completed."""
    end = time.monotonic() + within
    said = None
    while time.monotonic() < end:
        x, y = a.info(), b.info()
        if y.get("status") == "completed" and x.get("status") == "completed":
            return x, y
        if y.get("status") == "failed" and not_committed(a, b):
            break
        if x.get("status") == "postcopy-paused" and not x["drover"]["in-doubt"]:
            said = a.qmp.call("migrate", uri=uri, resume=True)
        time.sleep(0.1)
    return {"said": said, **a.info()}, b.info()


def not_committed(a, b):
    """The destination saw the connection break before it read COMMIT: it never owned the guest."""
    return a.info().get("status") == b.info().get("status") == "failed" and a.running() and \
        not b.running()


def whole(name, x, y, b):
    tap.ok(x.get("status") == "completed" and y.get("status") == "completed", f"{name}: completed",
           f"{x}\n{y}")
    # With release-ram: of what the dead one has sent nothing may be left to compare with.
    equal = ("equal",) if "release-ram" not in name else \
        ("equal", "equal; what another droverd has freed is not compared")
    tap.ok(y.get("drover", {}).get("digest") in equal, f"{name}: every page is as it was",
           y.get("drover"))
    check = b.verdict()
    tap.ok(check.get("verdict") == "passed", f"{name}: the guest's own check", check)


def dies(victim, point, n, config):
    def part(world):
        name = (f"{SIDE[victim]} dies at {point}:{n}, "
                f"preempt {'on' if config is PREEMPT else 'off'}"
                f"{', release-ram' if config is RELEASE else ''}")
        _, _, a, b = pair(world, victim, point, n)
        uri = listen(b)
        start(a, uri, config)
        d = a if victim == "a" else b
        tap.ok(died(d), f"{name}: it dies", d.text())
        replace(d)
        x, y = go_on(a, b, uri)
        if point == "commit-sent" and not_committed(a, b):
            tap.ok(True, f"{name}: before COMMIT was read, so the guest runs on at the source")
        else:
            whole(name, x, y, b)
    return part


def both_die(world):
    """All has arrived, nobody has said so, and each side is told by its VMM alone."""
    name = "source dies at proved, then the destination"
    _, _, a, b = pair(world, "a", "proved", 1)
    uri = listen(b)
    start(a, uri, PREEMPT)
    tap.ok(died(a), f"{name}: the source dies", a.text())
    b.until("completed")
    b.kill()
    replace(b)
    replace(a)
    info = a.until("postcopy-paused")
    error = a.error("migrate-incoming", uri="tcp:127.0.0.1:0")
    tap.ok(error and "serving" in error, f"{name}: its RAM may be needed: {error}", info)
    a.call("migrate", uri=uri, resume=True)
    info = a.until("completed")
    tap.ok(info.get("status") == "completed" and b.running() and not a.running(),
           f"{name}: the destination's record says that it is not", info)
    listen(a)
    tap.ok(a.call("query-status")["status"] == "inmigrate", f"{name}: and it is free for others")


def before_commit(victim, point):
    """Then it is as if nothing had been: the guest runs on at the source."""
    def part(world):
        name = f"{SIDE[victim]} dies at {point}"
        va, _, a, b = pair(world, victim, point, 1)
        start(a, listen(b), CONFIG)
        d = a if victim == "a" else b
        tap.ok(died(d), f"{name}: it dies", d.text())
        replace(d)
        tap.ok(a.until_runs(), f"{name}: the guest runs on at the source", a.info())
        beats = len(va.beats())
        end = time.monotonic() + DEADLINE
        while len(va.beats()) <= beats and time.monotonic() < end:
            time.sleep(0.02)
        tap.ok(len(va.beats()) > beats and not b.running(), f"{name}: there and nowhere else")
    return part


if no_kvm():
    skip_all(no_kvm())
parts = [dies("b", *p, c) for p in PLACING for c in (CONFIG, PREEMPT)]
parts += [dies("b", *p, PREEMPT) for p in DEST] + [dies("a", *p, PREEMPT) for p in SOURCE]
parts += [dies("a", p, n, RELEASE) for p, n in (("request", 30), ("all-sent", 1), ("proved", 1))]
parts += [both_die, before_commit("b", "armed"), before_commit("a", "in-doubt")]
for i, p in enumerate(parts):
    p.__name__ = f"part {i}"
tap.run(*parts)
