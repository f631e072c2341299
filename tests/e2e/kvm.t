#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A KVM guest moves between two drover-vmm, and proves that nothing of it was lost.

Its vCPUs, its device, its disk and its balloon write while it moves. Skipped where /dev/kvm is
missing or refuses.
"""
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, SANITIZER, Tap, beats_joined, brief, finish, good,  # noqa: E402
                    listen, migrate, no_kvm, skip_all, start)

tap = Tap()
MEM = ["--mem", "64M", "--dirty", "20M"]
FOREIGN = "ram0:160"    # the page that only --foreign-writer writes
MULTIFD = {"multifd": True, "zero-copy-send": True}


def pair(world, src=(), dst=()):
    """(VMM, VMM, daemon, daemon); the two share a disk, which writes to the guest's RAM"""
    disk = ["--disk", world.file("disk")]
    va = world.vmm("vm-a", *MEM, *disk, *src)
    vb = world.vmm("vm-b", *MEM, *disk, "--incoming", *dst)
    return va, vb, world.daemon("a", "agent:" + va.agent), world.daemon("b", "agent:" + vb.agent)


def beating(vmm, within=DEADLINE):
    """Does its guest run?"""
    before, end = len(vmm.beats()), time.monotonic() + within
    while time.monotonic() < end:
        if len(vmm.beats()) > before:
            return True
        time.sleep(0.02)
    return False


def whole(vmms, check):
    """The guest's own verdict and its heartbeats."""
    joined = beats_joined(*(v.beats() for v in vmms))
    h = check.get("heartbeats", {})
    return check.get("verdict") == "passed" and check.get("registers") == "ok" and \
        h.get("gaps") == 0 and h.get("repeats") == 0 and joined is None


def there_and_back(world):
    va, vb, a, b = pair(world)
    tap.ok(beating(va), "the guest runs before it moves")
    # Each move's beats, in the order in which the guest lived in the two VMMs.
    for config in ({"verify": "full"}, MULTIFD, {"verify": "audit"}, {**MULTIFD, "verify": "none"}):
        verify = config.get("verify", "digest")
        marks = len(va.beats()), len(vb.beats())
        ends = migrate(a, b, config=config)
        good(tap, f"{a.name} to {b.name}, {config}", a, b, ends, verify)
        check = b.verdict()
        tap.ok(beating(vb) and not beating(va, within=0.5), "beats there, and here no more")
        gone, new = va.beats()[marks[0]:], vb.beats()[marks[1]:]
        tap.ok(check.get("registers") == "ok" and check["heartbeats"]["gaps"] == 0 and
               check["heartbeats"]["repeats"] == 0 and beats_joined(gone, new) is None,
               "registers, pages and heartbeats go on where they were",
               f"{check}\n{beats_joined(gone, new)}")
        va, vb, a, b = vb, va, b, a


def trackers(world, src, tracker, want):
    va, vb, a, b = pair(world, src)
    ends = migrate(a, b, config={"tracker": tracker, "verify": "full"})
    good(tap, f"{src}: tracker={tracker}", a, b, ends)
    tap.ok(whole((va, vb), b.verdict()), "the guest is whole", b.verdict())
    used = ends[0]["drover"].get("tracker", "")
    tap.ok(want in used, f"it was tracked by {used}", ends[0]["drover"])


def by_log(world):
    trackers(world, ["--dirty-log"], "kvm-log", "kvm-log+pagemap-scan")


def by_ring(world):
    trackers(world, ["--dirty-ring", "65536"], "kvm-log", "kvm-log+pagemap-scan")


def by_small_ring(world):
    """A ring that is full all the time loses nothing."""
    trackers(world, ["--dirty-ring", "8192", "--dirty", "60M"], "kvm-log", "kvm-log")


def no_log(world):
    _, _, a, b = pair(world)
    start(a, listen(b), {"tracker": "kvm-log"})
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and "kvm-log" in info["error-desc"] and a.running(),
           f"tracker=kvm-log where there is no log: {info.get('error-desc')}", brief(info))


def foreign(world, how, verify):
    """A writer no tracker here can see: the alarm names its page."""
    _, _, a, b = pair(world, ["--foreign-writer", how])
    start(a, listen(b), {"verify": verify})
    info = a.until("completed", "failed")
    if verify == "full":
        tap.ok(info["status"] == "failed" and FOREIGN in info["error-desc"] and
               a.until_runs() and not b.running(),
               f"{how}, verify=full: refused before the guest is handed over", brief(info))
        return
    event = a.qmp.event("DROVER_LATE_WRITER", within=DEADLINE)
    done = a.qmp.event("DROVER_AUDIT", within=DEADLINE)
    tap.ok(event and event["data"] == {"block": "ram0", "page": 160},
           f"{how}, verify=audit: an event names the page", event)
    tap.ok(done and done["data"]["differences"] == 1, "and only that page", done)
    info = a.info()
    tap.ok(info["status"] == "completed" and info["drover"]["bad-pages"] == [FOREIGN] and
           info["drover"]["audit-differences"] == 1 and "audit" in info["drover"]["digest"],
           "query-migrate, too", brief(info))


def foreign_pwrite(world):
    foreign(world, "pwrite", "audit")


def foreign_process(world):
    foreign(world, "process", "audit")


def foreign_full(world):
    foreign(world, "pwrite", "full")


def digest_is_blind(world):
    """Digests alone prove the way, not the tracker: why audit exists."""
    va, vb, a, b = pair(world, ["--foreign-writer", "pwrite"])
    ends = migrate(a, b)
    good(tap, "verify=digest does not see a foreign writer", a, b, ends)


def failures(world):
    """The guest goes on where it is when the move fails, and can be moved later."""
    va, vb, a, b = pair(world)
    uri = listen(b)
    start(a, uri, {"max-bandwidth": 4 << 20})
    a.until("active")
    a.call("migrate_cancel")
    info = a.until("cancelled", "failed", "completed")
    tap.ok(info["status"] == "cancelled" and beating(va), "cancelled: the guest runs on",
           brief(info))
    b.until("failed")
    start(a, uri, {"pause-before-switchover": True})
    a.until("pre-switchover")
    tap.ok(not beating(va, within=0.3), "pre-switchover: it stands still")
    a.call("migrate_cancel")
    a.until("cancelled")
    tap.ok(beating(va), "cancelled: it runs on")
    b.until("failed")
    tap.ok("running" in (a.error("migrate-incoming", uri="tcp:127.0.0.1:0") or ""),
           "a running guest can't become a destination")
    start(a, uri)
    ends = finish(a, b)
    good(tap, "and moves in the end", a, b, ends)
    tap.ok(whole((va, vb), b.verdict()), "whole", b.verdict())


def without_daemon(world):
    """VMMs outlive their daemons; daemons outlive nothing they need."""
    va, vb, a, b = pair(world)
    a.kill()
    tap.ok(beating(va), "its daemon was killed: the guest runs")
    a.restart()
    ends = migrate(a, b)
    good(tap, "and moves with a new one", a, b, ends)
    b.kill()
    tap.ok(beating(vb), "the destination's daemon was killed: the guest runs")
    b.restart()
    tap.ok(b.running(), "the new one knows it")
    va.kill()
    end = time.monotonic() + DEADLINE
    while a.call("query-status")["status"] != "shutdown" and time.monotonic() < end:
        time.sleep(0.02)
    tap.ok(a.call("query-status")["status"] == "shutdown", "a VMM that died is noticed")
    tap.ok("gone" in (a.error("migrate-incoming", uri="tcp:127.0.0.1:0") or ""),
           "and commands say so")
    va.spawn()      # so that it can be ended like the others
    time.sleep(0.2)


def takes_over(world):
    """A second VMM on the same host goes on with the RAM in place."""
    on = {"x-ignore-shared": True}
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="drover-test-") as d:
        va, vb, a, b = pair(world, ["--share", d], ["--share", d])
        tap.ok(beating(va), "the guest runs before it is taken over")
        ends = migrate(a, b, config=on, dst_config=on)
        good(tap, "x-ignore-shared", a, b, ends)
        tap.ok(whole([va, vb], b.verdict()) and not ends[0]["ram"]["normal"],
               "whole, and no page was sent", brief(ends[0]))
        world.over()


def uuids(world):
    va = world.vmm("vm-a", *MEM, "--seed", "1")
    vb = world.vmm("vm-b", *MEM, "--seed", "2", "--incoming")
    a, b = world.daemon("a", "agent:" + va.agent), world.daemon("b", "agent:" + vb.agent)
    start(a, listen(b), {"validate-uuid": True})
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and "validate-uuid" in info["error-desc"] and a.running(),
           f"validate-uuid: {info.get('error-desc')}", brief(info))


if __name__ == "__main__":
    why = no_kvm()
    if why:
        skip_all(why)
    if SANITIZER:
        MEM = ["--mem", "32M", "--dirty", "5M"]
    tap.run(there_and_back, by_log, by_ring, by_small_ring, no_log, foreign_pwrite,
            foreign_process, foreign_full, digest_is_blind, failures, without_daemon, takes_over, uuids)
