#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Postcopy: the guest runs at the destination before its memory is there, and gets it."""
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, DROVERCTL, Tap, beats_joined, brief, good, listen, no_kvm,  # noqa: E402
                    port_of, start)
from postcopy import Operator, begin, handed_over  # noqa: E402
from proxy import Fault, Proxy  # noqa: E402

tap = Tap()
MIB = 1 << 20
ON = {"postcopy-ram": True, "events": True}
# Precopy at this rate has hardly begun when postcopy does.
SLOW_LINE = {**ON, "max-bandwidth": 8 * MIB}
# And this keeps the postcopy phase from being over before one has looked.
SLOW_PUSH = {**SLOW_LINE, "max-postcopy-bandwidth": 4 * MIB}
PREEMPT = {"postcopy-preempt": True}
MULTIFD = {"multifd": True}
CANNOT = "Postcopy migration in progress, cannot cancel."
SIM_A, SIM_B = "sim:size=64M,dirty=20M", "sim:size=64M"


def until(condition, within=DEADLINE):
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def completed(src, dst, within=DEADLINE):
    a = src.until("completed", "failed", "postcopy-paused", within=within)
    return a, dst.until("completed", "failed", "postcopy-paused", within=within)


def went(daemon, *states):
    """Did MIGRATION tell of these, in this order?"""
    told = [e["data"]["status"] for e in daemon.qmp.events if e["event"] == "MIGRATION"]
    at = 0
    for s in told:
        at += at < len(states) and s == states[at]
    return at == len(states), told


def moved(name, src, dst, asked=1):
    """From where the guest runs at the destination to the end, all of it right."""
    ends = completed(src, dst)
    good(tap, name, src, dst, ends)
    a, b = ends
    tap.ok(a["ram"]["postcopy-bytes"] > 0 and a["ram"]["postcopy-requests"] >= asked and
           b["drover"].get("fault-handler") in ("userfaultfd", "kmod"),
           f"{a['ram']['postcopy-requests']} pages were asked for, "
           f"{a['ram']['postcopy-bytes']} bytes sent after the switch", [a["ram"], brief(b)])
    return ends


def matrix(world):
    """Each kind of channel, there and back in one pair of daemons."""
    a, b = world.sims(SIM_A, SIM_B)
    for uri in ("tcp:127.0.0.1:0", "unix:" + world.file("stream")):
        for extra in ({}, PREEMPT, MULTIFD, {**PREEMPT, **MULTIFD, "postcopy-channels": 4}):
            start(a, listen(b, uri, {"events": True}), {**SLOW_LINE, **extra})
            begin(a, b)
            moved(f"{a.name} to {b.name}, {uri.split(':')[0]}, {extra}", a, b)
            # Where one has listened is free once all is settled.
            until(lambda: not os.path.exists(world.file("stream")))
            a, b = b, a


def states(world):
    """What both sides say on the way, and what they refuse."""
    a, b = world.sims(SIM_A, SIM_B)
    start(a, listen(b, config={"events": True, "postcopy-blocktime": True}), SLOW_PUSH)
    ends = begin(a, b)
    tap.ok(ends[0]["status"] == ends[1]["status"] == "postcopy-active", "postcopy-active, both",
           f"{brief(ends[0])}\n{brief(ends[1])}")
    here, there = a.call("query-status"), b.call("query-status")
    tap.ok(here["status"] == "finish-migrate" and there["status"] == "running",
           "source: finish-migrate, destination: running", (here, there))
    for d in (a, b):
        text = d.error("migrate_cancel")
        tap.ok(text == CANNOT, f"{d.name}: no cancel: {text}")
        text = d.error("migrate", uri="tcp:127.0.0.1:1")
        tap.ok(text == "There's a migration process in progress", f"{d.name}: {text}")
        text = d.error("migrate-incoming", uri="tcp:127.0.0.1:0")
        tap.ok(text == "There's a migration process in progress", f"{d.name}: {text}")
    tap.ok(a.call("migrate-start-postcopy") == {}, "asked for twice is no harm")
    tap.ok(a.error("migrate", uri="tcp:127.0.0.1:1", resume=True) ==
           "Cannot resume if there is no paused migration", "nothing to resume yet")
    tap.ok(b.error("migrate-recover", uri="tcp:127.0.0.1:0") ==
           "Migrate recover can only be run when postcopy is paused.", "nor to recover")
    a.call("migrate-set-config", **{"max-postcopy-bandwidth": 0})
    ends = moved("the limit is lifted while it runs", a, b)
    for d, names in ((a, ("setup", "active", "device", "postcopy-active", "completed")),
                     (b, ("setup", "active", "postcopy-active", "completed"))):
        ok, told = went(d, *names)
        tap.ok(ok, f"{d.name}: {', '.join(names)}", told)
    info = ends[1]
    dist = info.get("postcopy-latency-dist", [])
    tap.ok(info["drover"].get("postcopy-waits", 0) == sum(dist) > 0 and len(dist) == 24 and
           info["postcopy-latency"] > 0 and
           len(info["postcopy-vcpu-blocktime"]) == len(info["postcopy-vcpu-latency"]) ==
           len(info["drover"]["postcopy-threads"]), "postcopy-blocktime", info)
    tap.ok("postcopy-latency" not in ends[0], "only where it was asked for", ends[0])
    pages = [subprocess.run([DROVERCTL, "-s", d.path, "report"], capture_output=True, text=True,
                            check=False).stdout for d in (a, b)]
    tap.ok("Waits for missing pages" in pages[1] and pages[0] and "Waits" not in pages[0],
           "the report draws them, too", pages[1])


def from_start(world):
    """No page is sent before the guest runs there."""
    a, b = world.sims(SIM_A, SIM_B)
    for extra in ({}, {**PREEMPT, **MULTIFD}):
        start(a, listen(b), {**ON, "postcopy-from-start": True, **extra})
        handed_over(a, b)
        ends = moved(f"postcopy-from-start {extra}", a, b)
        sent = ends[0]["ram"]
        tap.ok(sent["precopy-bytes"] < MIB and sent["postcopy-bytes"] > 48 * MIB,
               "nothing went before", sent)
        a, b = b, a


def no_converge(world):
    """A guest that writes too fast for precopy."""
    a, b = world.sims("sim:size=32M,dirty=100M,hot=8M", "sim:size=32M")
    start(a, listen(b), {**ON, "max-bandwidth": 24 * MIB, "downtime-limit": 1, "max-rounds": 2,
                         "on-no-converge": "postcopy"})
    handed_over(a, b)
    ends = moved("on-no-converge=postcopy", a, b)
    tap.ok(2 <= ends[0]["drover"]["round"] <= 6, "after its rounds", brief(ends[0]))


def precopy_suffices(world):
    """postcopy-ram alone changes nothing."""
    a, b = world.sims("sim:size=32M", "sim:size=32M")
    start(a, listen(b), ON)
    ends = completed(a, b)
    good(tap, "postcopy-ram on, never asked to start", a, b, ends)
    tap.ok(ends[0]["ram"]["postcopy-bytes"] == 0, "it stayed a precopy", ends[0]["ram"])


def paused(src, dst, why):
    a, b = src.until("postcopy-paused"), dst.until("postcopy-paused")
    tap.ok(a["status"] == b["status"] == "postcopy-paused" and not a["drover"]["in-doubt"] and
           a.get("error-desc") and b.get("error-desc") and dst.running() and not src.running(),
           f"{why}: paused on both sides: {a.get('error-desc')}", f"{brief(a)}\n{brief(b)}")


def resumed(name, src, dst, uri):
    src.call("migrate", uri=uri, resume=True)
    src.until("postcopy-active", "completed")
    src.call("migrate-set-config", **{"max-postcopy-bandwidth": 0}) \
        if src.status() == "postcopy-active" else None
    moved(name, src, dst)


def cut(world):
    """Every connection ends, and the source comes again."""
    a, b = world.sims(SIM_A, SIM_B)
    for extra in ({}, PREEMPT, {**PREEMPT, **MULTIFD}):
        uri = listen(b)
        with Proxy(port_of(uri)) as p:
            start(a, p.uri, {**SLOW_PUSH, **extra})
            begin(a, b)
            p.cut()
            paused(a, b, f"cut, {extra}")
            resumed("resumed, by the same way", a, b, p.uri)
        a, b = b, a


def elsewhere(world):
    """migrate-recover names another address."""
    a, b = world.sims(SIM_A, SIM_B)
    with Proxy(port_of(listen(b))) as p:
        start(a, p.uri, SLOW_PUSH)
        begin(a, b)
        p.cut()
        paused(a, b, "cut")
        path = "unix:" + world.file("recover")
        tap.ok(b.error("migrate-recover", uri="unix:/nonexistent/x") is not None,
               "an address that can't be listened on is an error, and it stays paused")
        tap.ok(b.error("migrate-recover", uri="exec:cat") is not None, "so is one of no use")
        b.call("migrate-recover", uri=path)
        b.call("migrate-recover", uri=path)
        resumed("resumed, over another transport", a, b, path)


def by_hand(world):
    """migrate-pause on either side."""
    a, b = world.sims(SIM_A, SIM_B)
    for extra in ({}, {**PREEMPT, **MULTIFD}):
        for at_source in (True, False):
            uri = listen(b)
            start(a, uri, {**SLOW_PUSH, **extra})
            begin(a, b)
            (a if at_source else b).call("migrate-pause")
            paused(a, b, f"migrate-pause, {'source' if at_source else 'destination'}")
            resumed("resumed", a, b, uri)
            a, b = b, a


def again_and_again(world):
    """What fails while it recovers leaves it paused, any number of times."""
    a, b = world.sims(SIM_A, SIM_B)
    uri = listen(b, config={"handshake-timeout": 1000})
    with Proxy(port_of(uri)) as p:
        start(a, p.uri, {**SLOW_PUSH, **PREEMPT, **MULTIFD, "handshake-timeout": 1000})
        begin(a, b)
        p.cut()
        paused(a, b, "cut")
    a.call("migrate", uri="tcp:127.0.0.1:1", resume=True)
    time.sleep(0.2)
    paused(a, b, "resume to where nobody listens")
    with Proxy(port_of(uri), Fault("stall", 0, direction="back")) as p:
        a.call("migrate", uri=p.uri, resume=True)
        time.sleep(1.5)
        info = a.until("postcopy-paused")
        tap.ok(info["status"] == "postcopy-paused", "no answer in handshake-timeout: paused",
               brief(info))
    paused(a, b, "when the line is gone")
    for connection, at, direction in ((0, 20, "out"), (0, 1000, "out"), (0, 100, "back"),
                                      (0, 4000, "back"), (1, 10, "out"), (2, 10, "out"),
                                      (3, 10, "back")):
        fault = Fault("cut", at, connection, direction)
        with Proxy(port_of(uri), fault) as p:
            a.call("migrate", uri=p.uri, resume=True)
            until(lambda: p.hit or a.status() == "completed", 5)
            p.cut()
            paused(a, b, f"resume, {fault}")
    resumed("and then it goes on", a, b, uri)


def blocks_of(daemon):
    """Bytes of memory files that a simulated guest's daemon holds."""
    fds = f"/proc/{daemon.pid}/fd"
    files = {}
    for fd in os.listdir(fds):
        try:
            if "memfd:" in os.readlink(f"{fds}/{fd}"):
                st = os.stat(f"{fds}/{fd}")
                files[st.st_ino] = st.st_blocks * 512
        except OSError:
            pass
    return sum(files.values())


def release(world):
    """What has arrived is freed at the source, when asked for."""
    a, b = world.sims(SIM_A, SIM_B)
    for extra in ({}, {"release-ram": True}, {"release-ram": True, **PREEMPT, **MULTIFD}):
        start(a, listen(b), {**SLOW_LINE, **extra})
        begin(a, b)
        moved(f"{extra}", a, b)
        left = blocks_of(a)
        tap.ok(left < 32 * MIB if extra else left >= 60 * MIB,
               f"{left >> 20} MiB of 64 are left at the source")
        a, b = b, a
    uri = listen(b)
    with Proxy(port_of(uri)) as p:
        start(a, p.uri, {**SLOW_PUSH, "release-ram": True})
        begin(a, b)
        until(lambda: a.info()["ram"]["postcopy-bytes"] > 4 * MIB)
        p.cut()
        paused(a, b, "release-ram, cut")
        resumed("release-ram keeps what has not arrived", a, b, p.uri)


def limited(world):
    """max-postcopy-bandwidth holds back what nobody waits for, and nothing else."""
    a, b = world.sims("sim:size=64M", "sim:size=64M")
    rate = 8 * MIB
    start(a, listen(b), {**SLOW_LINE, "max-postcopy-bandwidth": rate})
    begin(a, b)
    begun = time.monotonic()
    ends = moved("max-postcopy-bandwidth=8M", a, b, asked=0)
    took, ram = time.monotonic() - begun, ends[0]["ram"]
    unasked = ram["postcopy-bytes"] - ram["postcopy-requests"] * 4200
    tap.ok(unasked < rate * (took + 1), f"{unasked} bytes unasked in {took:.1f} s", ram)


KVM = ["--mem", "64M", "--dirty", "20M"]


def kvm_pair(world):
    disk = ["--disk", world.file("disk")]
    va, vb = world.vmm("vm-a", *KVM, *disk), world.vmm("vm-b", *KVM, *disk, "--incoming")
    return va, vb, world.daemon("a", "agent:" + va.agent), world.daemon("b", "agent:" + vb.agent)


def kvm_whole(name, va, vb, dst):
    check = dst.verdict()
    h = check.get("heartbeats", {})
    joined = beats_joined(va.beats(), vb.beats())
    tap.ok(check.get("verdict") == "passed" and check.get("registers") == "ok" and
           h.get("gaps") == h.get("repeats") == 0 and joined is None,
           f"{name}: registers, pages and heartbeats go on where they were",
           f"{check}\n{joined}")


def kvm(world, config, unix=False):
    va, vb, a, b = kvm_pair(world)
    start(a, listen(b, "unix:" + world.file("stream") if unix else "tcp:127.0.0.1:0"),
          {**SLOW_LINE, **config})
    begin(a, b)
    moved(f"KVM guest, {'unix' if unix else 'tcp'}, {config}", a, b)
    kvm_whole("KVM guest", va, vb, b)


def kvm_plain(world):
    kvm(world, {})


def kvm_unix(world):
    kvm(world, PREEMPT, unix=True)


def kvm_all(world):
    kvm(world, {**PREEMPT, **MULTIFD, "postcopy-channels": 4})


def kvm_cut(world):
    va, vb, a, b = kvm_pair(world)
    with Proxy(port_of(listen(b))) as p:
        start(a, p.uri, {**SLOW_PUSH, **PREEMPT})
        begin(a, b)
        p.cut()
        paused(a, b, "KVM guest, cut")
        resumed("KVM guest, resumed", a, b, p.uri)
    kvm_whole("KVM guest", va, vb, b)


def killed(world, side):
    """kill -9; another droverd finds what the VMM has kept."""
    va, vb, a, b = kvm_pair(world)
    uri = listen(b)
    start(a, uri, {**SLOW_LINE, **PREEMPT, **MULTIFD, "max-postcopy-bandwidth": 16 * MIB})
    begin(a, b)
    victim = a if side == "source" else b
    victim.kill()
    survivor = b if victim is a else a
    info = survivor.until("postcopy-paused")
    tap.ok(info["status"] == "postcopy-paused", f"{side} killed: the other side is paused",
           brief(info))
    victim.restart()
    operator = Operator(a, b, lambda: uri)
    ends = operator.finish()
    tap.ok(operator.resumed >= 1, "a new one goes on", operator.story())
    good(tap, f"{side} killed with -9", a, b, ends)
    kvm_whole(f"{side} killed", va, vb, b)


SERVING = (r"guest: it is serving: where it runs now its RAM is needed still \(postcopy session "
           r"[0-9a-f]{8}, paused\); 'migrate' with resume=true goes on with it, migrate-settle "
           r"with own=false gives it up")


def is_serving(world, name, a):
    """What the guest's RAM is needed for is the record's to say, whoever asks."""
    a.until("postcopy-paused")
    until(lambda: "gone" in a.info().get("error-desc", ""))
    for command, uri in (("migrate-incoming", "tcp:127.0.0.1:0"), ("migrate", "tcp:127.0.0.1:1")):
        text = a.error(command, uri=uri)
        tap.ok(text and re.fullmatch(SERVING, text), f"{name}: {command}: {text}", a.info())
    text = a.error("migrate-settle", own=True)
    tap.ok(text and "of the past" in text and not a.running(), f"{name}: settle own: {text}")


def serving(world):
    """A new source daemon keeps its hands off what the destination needs, until it does not."""
    va, vb, a, b = kvm_pair(world)
    uri = listen(b)
    start(a, uri, {**SLOW_LINE, **PREEMPT, **MULTIFD, "max-postcopy-bandwidth": 4 * MIB})
    begin(a, b)
    beats = len(va.beats())
    a.kill()
    a.restart()
    is_serving(world, "killed source", a)
    a.kill()
    a.restart()
    is_serving(world, "and another one", a)
    a.call("migrate", uri=uri, resume=True)
    a.until("postcopy-active", "completed")
    a.call("migrate-set-config", **{"max-postcopy-bandwidth": 0})
    moved("recovered", a, b)
    kvm_whole("recovered", va, vb, b)
    tap.ok(len(va.beats()) == beats, "the source's guest has never run again")
    a.kill()
    a.restart()
    tap.ok(a.status() == "none" and a.call("query-status")["status"] == "postmigrate",
           "the next source daemon finds it released", a.info())
    start(b, listen(a), SLOW_LINE)
    begin(b, a)
    moved("and back", b, a)


def given_up(world):
    """migrate-settle: the operator knows that there is no destination any more."""
    a, b = world.sims(SIM_A, SIM_B)
    start(a, listen(b), SLOW_PUSH)
    begin(a, b)
    text = a.error("migrate-settle", own=False)
    tap.ok(text == "settle: nothing is in doubt here", f"not while it is under way: {text}")
    a.call("migrate-pause")
    a.until("postcopy-paused")
    text = a.error("migrate-incoming", uri="tcp:127.0.0.1:0")
    tap.ok(text and re.fullmatch(SERVING, text), f"paused: {text}", a.info())
    a.call("migrate-settle", own=False)
    info = a.until("completed")
    tap.ok(info["status"] == "completed" and not a.running(), "given up", brief(info))
    a.call("migrate-incoming", uri="tcp:127.0.0.1:0")
    info = a.until("failed")
    tap.ok("only image" in info["error-desc"], "its RAM may be the only image", brief(info))
    listen(a, discard=True)
    tap.ok(a.call("query-status")["status"] == "inmigrate", "and be given up", a.info())


def killed_source(world):
    killed(world, "source")


def killed_destination(world):
    killed(world, "destination")


parts = [matrix, states, from_start, no_converge, precopy_suffices, cut, elsewhere, by_hand,
         again_and_again, release, limited, given_up]
reason = no_kvm()
if reason:
    tap.skip("with a KVM guest", reason)
else:
    parts += [kvm_plain, kvm_unix, kvm_all, kvm_cut, killed_source, killed_destination, serving]
only = sys.argv[1:]
tap.run(*(p for p in parts if not only or p.__name__ in only))
