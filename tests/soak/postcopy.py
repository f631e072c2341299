#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""N postcopy migrations of a KVM guest, each with one to three faults at random moments.

A fault is a cut of all channels, a network that is gone for up to 3 s, kill -9 of either
droverd, or either one stopped for up to 2 s; all after the guest has begun to run at the
destination. Then an operator does what the manual says (migrate-recover, migrate with
resume) until it goes on. Every guest must end at the destination, whole by the digests of
its pages and by its own check, and at every moment have run on one side only, by its
heartbeats. N and SEED come from the command line or the environment; with ROUND, only that
one of the N is run.
"""
import collections
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, SLOW, Tap, World, beats_joined, brief, no_kvm, skip_all)  # noqa: E402
from netns import Cable, no_netns  # noqa: E402
from postcopy import AFTER, Operator, addresses  # noqa: E402
from proxy import Proxy  # noqa: E402

MEM = "64M"
MIB = 1 << 20
ADVANCE = 10 * SLOW
TRIES = 20
STALL = {"stall-timeout": 1500 * SLOW}


def argument(i, name, default):
    return int(sys.argv[i] if len(sys.argv) > i else os.environ.get(name, default))


class Side:
    def __init__(self, world, name, end, incoming):
        args = ["--mem", MEM, "--dirty", "20M", "--disk", world.file("disk")]
        args += ["--incoming"] if incoming else []
        self.name = name
        self.vmm = world.vmm("vm-" + name, *args)
        place = {"preexec_fn": end.enter} if end else {}
        self.daemon = world.daemon(name, "agent:" + self.vmm.agent, **place)


class Pair:
    """Two hosts, a cable between them (when there can be one), a proxy at the source's end."""

    def __init__(self, world, rng, cable):
        self.rng, self.cable = rng, cable
        self.src = Side(world, "src", cable and cable.a, False)
        self.dst = Side(world, "dst", cable and cable.b, True)
        self.host = cable.b.address if cable else "127.0.0.1"
        self.dst.daemon.call("migrate-incoming", uri=f"tcp:{self.host}:0",
                             config={"events": True, "postcopy-blocktime": True, **STALL})
        port = self.listening()
        self.proxy = Proxy(port, host=self.host, netns=cable and cable.a.fd)
        self.away = []

    def listening(self):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            for _, port in addresses(self.dst.daemon):
                return port
            time.sleep(0.005)
        raise RuntimeError("the destination does not listen")

    def resume(self):
        """Any of the addresses will do."""
        known = addresses(self.dst.daemon)
        if known:
            self.proxy.target = self.host, self.rng.choice(known)[1]
        return self.proxy.uri

    def recover(self):
        return f"tcp:{self.host}:0" if self.rng.random() < 0.3 else None

    def operator(self):
        return Operator(self.src.daemon, self.dst.daemon, self.resume, self.recover)

    def close(self):
        for t in self.away:
            t.join()
        self.proxy.close()


# ---- faults: each returns when it has happened, a partition perhaps before it is over ----

def cut(pair):
    pair.proxy.cut()


def partition(pair):
    seconds = pair.rng.random() * 3

    def away():
        pair.cable.pull()
        time.sleep(seconds)
        pair.cable.plug()

    t = threading.Thread(target=away)
    t.start()
    pair.away.append(t)
    # The operator may try while the network is gone, or come later.
    if pair.rng.random() < 0.5:
        t.join()


def kill(side):
    def kill_it(pair):
        daemon = getattr(pair, side).daemon
        daemon.kill()
        time.sleep(pair.rng.choice([0, 0.3]) * pair.rng.random())
        daemon.restart()
    return kill_it


def stop(side):
    def stop_it(pair):
        daemon = getattr(pair, side).daemon
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(pair.rng.random() * 2)
        daemon.process.send_signal(signal.SIGCONT)
    return stop_it


FAULTS = {"cut": cut, "partition": partition, "kill src": kill("src"), "kill dst": kill("dst"),
          "stop src": stop("src"), "stop dst": stop("dst")}


def config(rng):
    c = {"events": True, "postcopy-ram": True, "max-bandwidth": 0, **STALL,
         "max-postcopy-bandwidth": rng.choice([8, 16, 32]) * MIB}
    if rng.random() < 0.5:
        c.update({"multifd": True, "multifd-channels": rng.choice([1, 2, 4])})
    if rng.random() < 0.6:
        c.update({"postcopy-preempt": True, "postcopy-channels": rng.choice([1, 2, 4])})
    if rng.random() < 0.2:
        c["release-ram"] = True
    if rng.random() < 0.3:
        c["postcopy-from-start"] = True
    return c


def hand_over(pair, cfg):
    """Until the guest runs at the destination, by either side's word; how it got there."""
    src, dst = pair.src.daemon, pair.dst.daemon
    src.call("migrate", uri=pair.proxy.uri, config=cfg)
    if not cfg.get("postcopy-from-start"):
        src.until("active", *AFTER)
        time.sleep(pair.rng.random() * 0.2)
        src.call("migrate-start-postcopy")
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        a, b = src.info(), dst.info()
        if a.get("status") in AFTER or b.get("status") in AFTER:
            return
        if a.get("status") in ("failed", "cancelled"):
            break
        time.sleep(0.001)
    raise RuntimeError(f"no postcopy: {brief(src.info())} {brief(dst.info())}")


def advancing(vmm):
    before, end = len(vmm.beats()), time.monotonic() + ADVANCE
    while time.monotonic() < end:
        if len(vmm.beats()) > before:
            return True
        time.sleep(0.02)
    return False


def judge(pair, operator, a, b):
    """None, or what is wrong."""
    src, dst = pair.src, pair.dst
    told = b if "status" in b else a
    digest = told.get("drover", {}).get("digest", "")
    here, there = src.daemon.call("query-status"), dst.daemon.call("query-status")
    if not operator.over(a, b):
        return "not over: " + operator.story()
    if here["running"] or not there["running"]:
        return f"source: {here}, destination: {there}"
    if not digest.startswith("equal"):
        return f"digest: {digest}; bad pages: {told['drover']['bad-pages']}"
    # A daemon that came when all was over is told of no check.
    check = dst.daemon.verdict() if told is b else {"verdict": "passed"}
    if check.get("verdict") != "passed":
        return f"the guest's own check: {check}"
    if not advancing(dst.vmm):
        return "the guest does not run at the destination"
    return beats_joined(src.vmm.beats(), dst.vmm.beats())


def once(world, rng, cable, phase):
    """One migration: (names of its faults, config, operator's work, what is wrong or None)"""
    pair, cfg = Pair(world, rng, cable), config(rng)
    names = []
    try:
        hand_over(pair, cfg)
        operator = pair.operator()
        marks = len(pair.src.vmm.beats())
        for _ in range(rng.randint(1, 3)):
            if not operator.work(rng.random() * phase):
                break
            name = rng.choice([n for n in FAULTS if cable or n != "partition"])
            names.append(name)
            FAULTS[name](pair)
        a, b = operator.finish()
        wrong = judge(pair, operator, a, b)
        if not wrong and len(pair.src.vmm.beats()) != marks:
            wrong = "the guest ran at the source after it had been handed over"
        return names, cfg, operator, wrong
    finally:
        pair.close()


def undisturbed(world, tap, rng, cable):
    """How long the postcopy phase takes here, in seconds."""
    pair = Pair(world, rng, cable)
    cfg = {"postcopy-ram": True, "max-bandwidth": 0, "max-postcopy-bandwidth": 32 * MIB,
           "events": True, **STALL}
    try:
        hand_over(pair, cfg)
        begin = time.monotonic()
        operator = pair.operator()
        a, b = operator.finish()
        took = time.monotonic() - begin
        wrong = judge(pair, operator, a, b)
        tap.ok(not wrong, f"undisturbed: {took * 1000:.0f} ms of postcopy", wrong)
        return took
    finally:
        pair.close()


def one_round(seed, cable, phase, tap):
    """From the seed alone, so that it can be repeated: names of faults, what is lost, resumed."""
    rng, names, resumed = random.Random(seed), ["?"], 0
    with World() as world:
        try:
            names, cfg, operator, lost = once(world, rng, cable, phase)
            resumed = operator.resumed
            lost = lost and f"{lost}\n{operator.story()}\n{cfg}"
        except (OSError, RuntimeError, KeyError, TypeError, IndexError) as e:
            lost = repr(e)
        for p in world.started if lost else ():
            tap.note(f"log of {p.name}:\n{p.text()[-3000:]}")
    return names, lost, resumed


def main():
    n, seed = argument(1, "N", 10), argument(2, "SEED", 1)
    reason = no_kvm()
    if reason:
        skip_all(reason)
    tap, tally, resumed = Tap(), collections.Counter(), 0
    tap.note(f"N={n} SEED={seed}")
    reason = no_netns()
    if reason:
        tap.note(f"no network namespaces ({reason}): no partitions")
    cable = None if reason else Cable()
    try:
        with World(tap) as world:
            phase = undisturbed(world, tap, random.Random(f"{seed}"), cable)
        one = int(os.environ.get("ROUND", 0))
        for i in range(one - 1, one) if one else range(n):
            names, lost = [], None
            # One that is over before its first fault says nothing: it is drawn again.
            for again in range(TRIES):
                names, lost, more = one_round(f"{seed}/{i}/{again}", cable, phase, tap)
                resumed += more
                if names or lost:
                    break
            tally.update(names)
            if not names and not lost:
                lost = f"{TRIES} migrations were over before any fault"
            tap.ok(not lost, f"{i + 1}: {', '.join(names)}", lost)
    finally:
        if cable:
            cable.close()
    tap.note(f"{n} migrations, {sum(tally.values())} faults, resumed {resumed} times, "
             f"{tap.bad} lost; SEED={seed}")
    for name, times in sorted(tally.items()):
        tap.note(f"  {name}: {times}")
    return tap.done()


sys.exit(main())
