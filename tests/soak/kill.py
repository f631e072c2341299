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
from drover import (SLOW, Tap, World, beats_joined, brief, good, listen, migrate,  # noqa: E402
                    no_kvm, port_of, skip_all, start)
from proxy import Proxy  # noqa: E402

MEM = "64M"
SETTLE = 30 * SLOW
ADVANCE = 10 * SLOW
# States to aim at; the guest changes hands within milliseconds of the last two.
AIMED = ("setup", "active", "device", "device", "completed")
# A way back this long makes the moment of doubt as long as it is between two cities.
DELAY = 0.008


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
        args = ["--mem", MEM, "--dirty", "20M", "--disk", world.file("disk")]
        args += ["--incoming"] if incoming else []
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


def strike(rng, took, victim, watches, delay):
    """Wait for the moment; the states of both sides when it had come."""
    if rng.random() < 0.6:
        aim = rng.choice(AIMED)
        watches[rng.choice(["src", "dst"])].reach(aim, 2 * took)
        time.sleep(rng.choice([0, rng.random() * (0.003 + (3 * delay if aim == "device" else 0))]))
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
        busy = any(i.get("status") in ("cancelling", "failing", "device", "active") or
                   i.get("drover", {}).get("in-doubt") for i in infos) or \
            infos[0].get("status") == "setup"
        runs = sum(s["running"] for s in states)
        if runs > 1 or (runs == 1 and not busy):
            return states
        time.sleep(0.02)
    return None


def advancing(sides):
    """Which guests' heartbeats grow."""
    before = [s.last() for s in sides]
    end = time.monotonic() + ADVANCE
    while time.monotonic() < end:
        time.sleep(0.1)
        if any(s.last() > b for s, b in zip(sides, before)):
            time.sleep(0.2)
            break
    return [s.last() > b for s, b in zip(sides, before)]


def once(world, rng, took):
    """One kill: (states at the kill, victim, outcome, what is wrong or None)"""
    sides = src, dst = Side(world, "src", False), Side(world, "dst", True)
    watches = {s.name: Watch(s.daemon) for s in sides}
    cfg = config(rng)
    delay = rng.choice([0, DELAY])
    uri = listen(dst.daemon, config={"events": True})
    with Proxy(port_of(uri), delay=delay) as far:
        victim = rng.choice(sides)
        start(src.daemon, far.uri if delay else uri, cfg)
        states = strike(rng, took + 10 * delay, victim, watches, delay)
        # Seen before it is settled: by the survivor, or by the one that comes back.
        doubt = victim is dst and in_doubt(src.daemon)
        victim.daemon.restart()
        result = settled(sides)
        # The one that comes back may be told at once.
        doubt = doubt or "in doubt" in src.daemon.text()
    grown = advancing(sides)
    outcome = {(True, False): "source runs", (False, True): "destination runs",
               (True, True): "BOTH RUN", (False, False): "LOST"}[tuple(grown)]
    wrong = judge(sides, result, grown)
    if not wrong:
        # Who was not killed still listens.
        wrong = whole(sides, grown, uri if victim is src and grown[0] else None)
    return ("/".join(states), victim.name, ("in doubt, then " if doubt else "") + outcome,
            wrong and f"{wrong}\ndelay {delay}, {cfg}")


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
    return beats_joined(*(s.vmm.beats() for s in sides))


def whole(sides, grown, uri):
    """Move the survivor once more; it checks every page, register and beat."""
    here, there = sides if grown[0] else reversed(sides)
    start(here.daemon, uri or listen(there.daemon))
    info = here.daemon.until("completed", "failed", "cancelled")
    check = there.daemon.verdict()
    if info.get("status") != "completed" or check.get("verdict") != "passed":
        return f"the next migration: {brief(info)} {brief(there.daemon.info())} {check}"
    return None


def tell(tap, tally):
    tap.note("states at the kill (source/destination), victim: outcome, times")
    for (states, victim, outcome), times in sorted(tally.items()):
        tap.note(f"  {states:<22} {victim}: {outcome}, {times}")


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
        with World() as world:
            try:
                *what, wrong = once(world, rng, took)
            except (OSError, RuntimeError, KeyError, TypeError) as e:
                what, wrong = ["?", "?", "?"], repr(e)
            for p in world.started if wrong else ():
                tap.note(f"log of {p.name}:\n{p.text()[-3000:]}")
        tally[tuple(what)] += 1
        tap.ok(not wrong, "{0}: {2} killed in {1}: {3}".format(i + 1, *what), wrong)
    tell(tap, tally)
    return tap.done()


sys.exit(main())
