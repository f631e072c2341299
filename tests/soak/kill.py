#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""N migrations of a KVM guest, in each of which one droverd is killed at a random moment.

After each the killed daemon is started again with the same arguments. Then the guest must
run on exactly one side, now and (by the heartbeats, which name every tenth beat) at every
moment before; nobody may be left in doubt; and the guest must be whole: it is moved once
more, and checks itself. N and SEED come from the command line or the environment.
"""
import collections
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, SLOW, Tap, World, beats_joined, brief, good, listen, migrate,  # noqa: E402
                    no_kvm, skip_all, start)

MEM = "64M"
SETTLE = 30 * SLOW
ADVANCE = 10 * SLOW
# States to aim at; both sides pass through them within the last milliseconds.
AIMED = ("setup", "active", "device", "completed")


def argument(i, name, default):
    return int(sys.argv[i] if len(sys.argv) > i else os.environ.get(name, default))


class Watch(threading.Thread):
    """Follows a daemon's MIGRATION events on a connection of its own."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.client = daemon.client()
        self.state, self.changed = "none", threading.Condition()
        self.start()

    def run(self):
        try:
            while True:
                m = self.client.message()
                if m is None:
                    return
                if m.get("event") == "MIGRATION":
                    with self.changed:
                        self.state = m["data"]["status"]
                        self.changed.notify_all()
        except OSError:
            return

    def reach(self, state, within):
        """Until this state is entered, or the time is up."""
        end = time.monotonic() + within
        with self.changed:
            while self.state != state and time.monotonic() < end:
                self.changed.wait(max(0, end - time.monotonic()))


class Side:
    def __init__(self, world, name, incoming):
        args = ["--mem", MEM, "--dirty", "20M"] + (["--incoming"] if incoming else [])
        self.name = name
        self.vmm = world.vmm("vm-" + name, *args)
        self.daemon = world.daemon(name, "agent:" + self.vmm.agent)

    def last(self):
        """The number of heartbeats written down so far: it grows while the guest runs."""
        return len(self.vmm.beats())


def config(rng):
    c = {"events": True, "verify": rng.choice(["none", "digest", "audit"])}
    if rng.random() < 0.5:
        c["multifd"] = True
    return c


def undisturbed(world, tap):
    """How long a migration takes here, in seconds."""
    src, dst = Side(world, "src", False), Side(world, "dst", True)
    time.sleep(0.2)
    begin = time.monotonic()
    ends = migrate(src.daemon, dst.daemon, config={"events": True})
    took = time.monotonic() - begin
    good(tap, f"undisturbed: {took * 1000:.0f} ms", src.daemon, dst.daemon, ends)
    return took


def strike(rng, took, victim, watches):
    """Wait for the moment; the states of both sides when it had come."""
    if rng.random() < 0.5:
        watches[rng.choice(["src", "dst"])].reach(rng.choice(AIMED), 1.5 * took)
        time.sleep(rng.choice([0, 0, rng.random() * 0.004]))
    else:
        time.sleep(rng.random() * 1.5 * took)
    victim.daemon.process.kill()
    states = watches["src"].state, watches["dst"].state
    victim.daemon.process.wait()
    return states


def settled(sides):
    """Query both until nobody is moving or in doubt; run states, or None in time."""
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        states = [s.daemon.call("query-status") for s in sides]
        infos = [s.daemon.info() for s in sides]
        busy = any(i.get("status") in ("cancelling", "failing", "device", "pre-switchover") or
                   i.get("drover", {}).get("in-doubt") for i in infos)
        runs = sum(s["running"] for s in states)
        moving = infos[0].get("status") in ("setup", "active") or infos[1].get("status") == "active"
        if not busy and not moving and runs == 1:
            return states
        if runs > 1:
            return states
        time.sleep(0.02)
    return None


def advancing(sides):
    """Which guests' heartbeats grow."""
    before = [s.last() for s in sides]
    end = time.monotonic() + ADVANCE
    while time.monotonic() < end:
        time.sleep(0.1)
        grown = [s.last() > b for s, b in zip(sides, before)]
        if any(grown):
            time.sleep(0.2)
            return [s.last() > b for s, b in zip(sides, before)]
    return [False, False]


def once(world, rng, took):
    """One kill. (state at kill, victim, outcome, what is wrong or None)"""
    src, dst = Side(world, "src", False), Side(world, "dst", True)
    sides = [src, dst]
    watches = {"src": Watch(src.daemon), "dst": Watch(dst.daemon)}
    cfg = config(rng)
    uri = listen(dst.daemon, config={"events": True})
    victim = rng.choice(sides)
    start(src.daemon, uri, cfg)
    states = strike(rng, took, victim, watches)
    # In doubt? Seen from the survivor before the killed one is back.
    doubt = victim is dst and in_doubt(src.daemon)
    victim.daemon.restart()
    if victim is src and src.daemon.info().get("drover", {}).get("in-doubt"):
        doubt = True
    result = settled(sides)
    grown = advancing(sides)
    wrong = judge(sides, result, grown)
    outcome = ("in doubt, then " if doubt else "") + \
        {(True, False): "source runs", (False, True): "destination runs",
         (True, True): "BOTH RUN", (False, False): "LOST"}[tuple(grown)]
    if not wrong:
        wrong = whole(sides, grown)
    return f"{states[0]}/{states[1]}", victim.name, outcome, wrong, cfg


def in_doubt(daemon):
    info = daemon.until("failed", "completed", "postcopy-paused", within=SETTLE)
    return bool(info.get("drover", {}).get("in-doubt"))


def judge(sides, result, grown):
    if not result:
        return "not settled: " + "; ".join(
            f"{s.name}: {s.daemon.call('query-status')} {brief(s.daemon.info())}" for s in sides)
    running = [s["running"] for s in result]
    if sum(grown) != 1 or grown != running:
        return f"query-status says {result}, heartbeats grow: {grown}"
    first, second = sides[0].vmm.beats(), sides[1].vmm.beats()
    return beats_joined(first, second)


def whole(sides, grown):
    """Move the survivor once more; it checks every page, register and beat."""
    here, there = sides if grown[0] else reversed(sides)
    ends = migrate(here.daemon, there.daemon)
    check = there.daemon.verdict()
    if ends[0].get("status") != "completed" or check.get("verdict") != "passed":
        return f"the next migration: {brief(ends[0])} {brief(ends[1])} {check}"
    return None


def tell(tap, tally):
    tap.note("state at kill (source/destination), victim: outcome, times")
    for key in sorted(tally):
        tap.note(f"  {key[0]:<24} {key[1]}: {key[2]}, {tally[key]}")


def main():
    n, seed = argument(1, "N", 10), argument(2, "SEED", 1)
    reason = no_kvm()
    if reason:
        skip_all(reason)
    tap, tally = Tap(), collections.Counter()
    tap.note(f"N={n} SEED={seed}")
    with World(tap) as world:
        took = undisturbed(world, tap)
    for i in range(n):
        # Each round from the seed alone, so that one can be repeated.
        rng = random.Random(f"{seed}/{i}")
        quiet = Tap()
        with World() as world:
            try:
                state, victim, outcome, wrong, cfg = once(world, rng, took)
            except (OSError, RuntimeError, KeyError, TypeError) as e:
                state, victim, outcome, wrong, cfg = "?", "?", "?", repr(e), {}
            if wrong:
                quiet.bad = 1
                for p in world.started:
                    tap.note(f"log of {p.name}:\n{p.text()[-3000:]}")
        tally[state, victim, outcome] += 1
        tap.ok(not wrong, f"{i + 1}: {victim} killed in {state}: {outcome}", f"{wrong}\n{cfg}")
    tell(tap, tally)
    return tap.done()


assert DEADLINE
sys.exit(main())
