#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is told what, when; verify=audit and quit; exit-on-error."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World, match  # noqa: E402

SIZE = "64M"
tap = Tap()


def drain(client):
    """All events that have come."""
    client.call("query-version")
    events, client.events = client.events, []
    return events


def names(events):
    return [e["event"] for e in events]


def statuses(events):
    return [e["data"]["status"] for e in events if e["event"] == "MIGRATION"]


def two_clients(world, a, b):
    uri = "unix:" + world.dir + "/e1"
    one, two, mute, there = a.client(), a.client(), a.client(negotiate=False), b.client()
    before = time.time()
    tap.ok(there.call("migrate-incoming", uri=uri, config={"events": True}) == {"return": {}},
           "incoming")
    one.call("migrate", uri=uri, config={"events": True, "verify": "audit"})
    info = one.status("completed", "failed")
    tap.ok(info["status"] == "completed", "completed", info)
    tap.ok(one.event("DROVER_AUDIT", differences=0) is not None, "DROVER_AUDIT: no differences")
    there.status("completed")
    one.events, two.events = [], drain(two)
    got = two.events
    tap.ok(statuses(got) == ["setup", "active", "device", "completed"],
           "the source's states, in order, to the other client, too", statuses(got))
    passes = [e["data"]["pass"] for e in got if e["event"] == "MIGRATION_PASS"]
    tap.ok(passes and passes == list(range(1, len(passes) + 1)), "MIGRATION_PASS counts", passes)
    tap.ok(names(got).count("STOP") == 1 and "RESUME" not in names(got), "STOP once", names(got))
    stamps = [e["timestamp"]["seconds"] + e["timestamp"]["microseconds"] / 1e6 for e in got]
    tap.ok(stamps == sorted(stamps) and before - 1 <= stamps[0] <= stamps[-1] <= time.time() + 1 and
           all(0 <= e["timestamp"]["microseconds"] < 1000000 for e in got), "timestamps")
    got = drain(there)
    tap.ok(statuses(got)[:1] == ["setup"] and statuses(got)[-1:] == ["completed"],
           "the destination's states", statuses(got))
    tap.ok(names(got).count("RESUME") == 1, "RESUME there", names(got))
    tap.ok(there.event("DROVER_CHECK") is not None or "DROVER_CHECK" in names(got),
           "DROVER_CHECK after the move")
    tap.ok(match({"guest-check": {"verdict": "passed"}}, there.call("query-migrate")["return"]),
           "the guest says that it is whole")
    mute.raw('{"execute": "qmp_capabilities"}')
    tap.ok(mute.message() == {"return": {}}, "a client that has not negotiated was told nothing")


def without_option(world, a, b):
    """b -> a, without `events`."""
    uri = "unix:" + world.dir + "/e2"
    here, there = a.client(), b.client()
    here.call("migrate-incoming", uri=uri)
    there.call("migrate", uri=uri)
    there.status("completed", "failed")
    here.status("completed", "failed")
    got = drain(there)
    tap.ok("STOP" in names(got) and not statuses(got) and "MIGRATION_PASS" not in names(got),
           "without the option: STOP, but no MIGRATION", names(got))
    tap.ok("RESUME" in names(drain(here)), "and RESUME")


def exit_on_error(world, a):
    d = world.start("x", "sim:size=32M")
    uri = "unix:" + world.dir + "/e3"
    d.client().call("migrate-incoming", uri=uri, exit_on_error=True)
    c = a.client()
    started = c.call("migrate", uri=uri)
    info = c.status("failed", "completed")
    tap.ok(info["status"] == "failed", "sizes differ: it fails", [started, info])
    tap.ok(c.call("query-status")["return"]["status"] == "running", "the source runs on")
    refused = d.wait(3) is None
    tap.ok(refused and match({"status": "setup"}, d.client().call("query-migrate")["return"]),
           "a refused HELLO is no failure: the destination listens on")
    d2 = world.start("y", "sim:size=" + SIZE)
    uri = "unix:" + world.dir + "/e4"
    d2.client().call("migrate-incoming", uri=uri, exit_on_error=True)
    c.call("migrate", uri=uri, config={"max-bandwidth": 1 << 20})
    c.status("active")
    c.call("migrate_cancel")
    c.status("cancelled")
    tap.ok(d2.wait() == 1, "exit-on-error: a failed migration ends the process with status 1",
           d2.text())
    del world.daemons["y"]


def quit_waits(world):
    """An audit is finished before the process ends."""
    a, b = world.start("qa", "sim:size=256M"), world.start("qb", "sim:size=256M")
    uri = "unix:" + world.dir + "/e5"
    b.client().call("migrate-incoming", uri=uri)
    c = a.client()
    c.call("migrate", uri=uri, config={"verify": "audit", "max-bandwidth": 0})
    info = c.status("completed", "failed")
    c.call("quit")
    told = c.event("DROVER_AUDIT", 15)
    tap.ok(info["status"] == "completed" and (told is not None) and
           told["data"]["differences"] == 0, "quit waits for the audit", [info, told])
    tap.ok(a.wait() == 0, "and ends with status 0")


with World() as w:
    da, db = w.start("a", "sim:size=" + SIZE + ",seed=5"), w.start("b", "sim:size=" + SIZE)
    for part, args in ((two_clients, (w, da, db)), (without_option, (w, da, db)),
                       (exit_on_error, (w, da)), (quit_waits, (w,))):
        try:
            part(*args)
        except (OSError, KeyError, TypeError, RuntimeError) as e:
            tap.ok(False, part.__name__, repr(e))
tap.ok(not any(w.statuses.values()), "every daemon ends with status 0", w.statuses)
sys.exit(tap.done())
