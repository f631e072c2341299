#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Steering a migration: rates, cancel in each state, pauses, limits, when not to converge."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, SANITIZER, Tap, brief, finish, good, listen, migrate,  # noqa: E402
                    port_of, start)
from proxy import Fault, Proxy  # noqa: E402

tap = Tap()
MIB = 1 << 20
SLOW_LINE = {"max-bandwidth": 8 * MIB}


def moved(daemon):
    return daemon.info()["ram"]["transferred"]


def until(condition, within=DEADLINE):
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def rate(world):
    """max-bandwidth holds, and what is set while it runs counts at once."""
    a, b = world.sims("sim:size=64M", "sim:size=64M")
    uri = listen(b)
    start(a, uri, SLOW_LINE)
    a.until("active")
    until(lambda: moved(a) > MIB)
    before, begin = moved(a), time.monotonic()
    time.sleep(1.5)
    got = (moved(a) - before) / (time.monotonic() - begin) / MIB
    tap.ok(5 < got < 10.5, f"max-bandwidth=8M: {got:.1f} MiB/s")
    a.call("migrate-set-config", **{"max-bandwidth": 20 * MIB})
    time.sleep(0.2)
    before, begin = moved(a), time.monotonic()
    time.sleep(1)
    got = (moved(a) - before) / (time.monotonic() - begin) / MIB
    tap.ok(13 < got < 26, f"raised to 20M while it runs: {got:.1f} MiB/s")
    tap.ok(a.call("query-migrate-config")["max-bandwidth"] == 20 * MIB, "and shown")
    refused = a.error("migrate-set-config", **{"multifd": True, "max-bandwidth": 1})
    tap.ok(refused and "multifd" in refused, "what is not RUNTIME is refused by name", refused)
    tap.ok(a.call("query-migrate-config")["max-bandwidth"] == 20 * MIB, "and nothing of it is set")
    a.call("migrate-set-config", **{"max-bandwidth": 0})
    good(tap, "0: the rest at full speed", a, b, finish(a, b))


def again(a, b, uri, name):
    """After a cancel: the guest runs, the listener listens, a good one follows."""
    info = a.until("cancelled", "failed", "completed")
    tap.ok(info["status"] == "cancelled" and a.running() and not b.running(),
           f"cancelled in {name}: the source's guest runs", brief(info))
    info = b.until("failed", "setup")
    tap.ok(b.call("query-status")["status"] == "inmigrate", "the destination waits", brief(info))
    start(a, uri)
    ends = finish(a, b)
    good(tap, "and a good one follows", a, b, ends)


def cancel_setup(world):
    """In setup: the peer accepts and never answers."""
    a, b = world.sims()
    uri = listen(b)
    with Proxy(port_of(uri), Fault("stall", 0, direction="back")) as p:
        start(a, p.uri)
        time.sleep(0.3)
        tap.ok(a.status() == "setup", "no answer: setup", a.info())
        begin = time.monotonic()
        a.call("migrate_cancel")
        a.until("cancelled")
        tap.ok(time.monotonic() - begin < 3, "cancel does not wait for the peer")
    again(a, b, uri, "setup")


def cancel_active(world):
    a, b = world.sims()
    for config in (SLOW_LINE, {**SLOW_LINE, "multifd": True}):
        uri = listen(b)
        start(a, uri, config)
        a.until("active")
        until(lambda: moved(a) > MIB)
        a.call("migrate_cancel")
        again(a, b, uri, f"active {config}")
        a, b = b, a
    tap.ok(a.call("migrate_cancel") == {}, "nothing to cancel is a success")


def cancel_waiting(world):
    a, b = world.sims()
    uri = listen(b)
    start(a, uri, {"pause-before-switchover": True})
    info = a.until("pre-switchover", "completed", "failed")
    tap.ok(info["status"] == "pre-switchover" and not a.running() and not b.running(),
           "pause-before-switchover: the guest stands still on both sides", brief(info))
    a.call("migrate_cancel")
    again(a, b, uri, "pre-switchover")


def cancel_stalled(world):
    """A network that has stopped does not keep anybody from cancelling."""
    a, b = world.sims()
    uri = listen(b)
    with Proxy(port_of(uri), Fault("stall", 20 * MIB)) as p:
        start(a, p.uri)
        until(lambda: p.stalled.is_set())
        a.call("migrate_cancel")
        info = a.until("cancelled", "failed", "completed")
        tap.ok(info["status"] == "cancelled" and a.running(), "cancelled on a dead line",
               brief(info))
    info = b.until("failed")
    tap.ok(info["status"] == "failed", "the destination learns of it when the line is cut",
           brief(info))
    again(a, b, uri, "a dead line")


def cancel_incoming(world):
    a, b = world.sims()
    uri = listen(b)
    b.call("migrate_cancel")
    info = b.until("failed", "cancelled")
    tap.ok(info["status"] in ("failed", "cancelled"), "an incoming side that waits", brief(info))
    time.sleep(0.5)
    begin = time.monotonic()
    start(a, uri)
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and a.running() and time.monotonic() - begin < 5,
           "does not listen any more", brief(info))
    good(tap, "and can be asked to again", a, b, migrate(a, b))
    uri = listen(a)
    start(b, uri, SLOW_LINE)
    b.until("active")
    until(lambda: moved(b) > MIB)
    a.call("migrate_cancel")
    info = b.until("failed", "completed")
    tap.ok(info["status"] == "failed" and b.running() and info.get("error-desc"),
           "an incoming side that receives: the source's guest runs on", brief(info))


def continues(world):
    a, b = world.sims()
    start(a, listen(b), {"pause-before-switchover": True})
    a.until("pre-switchover")
    refused = a.error("migrate-continue", state="active")
    tap.ok(refused and "pre-switchover" in refused, "migrate-continue: the wrong state", refused)
    time.sleep(0.3)
    a.call("migrate-continue", state="pre-switchover")
    ends = finish(a, b)
    good(tap, "pause-before-switchover, migrate-continue", a, b, ends)
    tap.ok(a.error("migrate-continue", state="pre-switchover"), "once over it is an error")


def switchover_ack(world):
    a, b = world.sims()
    for given in (None, {"return-path": True, "switchover-ack": True}):
        ends = migrate(a, b, config={"return-path": True, "switchover-ack": True}, dst_config=given)
        good(tap, f"switchover-ack, the destination given {given}", a, b, ends)
        a, b = b, a
    uri = listen(b)
    start(a, uri, {"switchover-ack": True, "return-path": True, **SLOW_LINE})
    a.until("active")
    a.call("migrate-set-config", **{"max-bandwidth": 0})
    good(tap, "and with a rate that changed", a, b, finish(a, b))


# A guest that writes faster than can be sent never comes within 1 ms.
NEVER = {"max-bandwidth": 24 * MIB, "downtime-limit": 1}


def no_converge(world):
    a, b = world.sims("sim:size=32M,dirty=100M,hot=8M", "sim:size=32M")
    uri = listen(b)
    start(a, uri, {**NEVER, "max-rounds": 3, "on-no-converge": "cancel"})
    info = a.until("failed", "cancelled", "completed")
    tap.ok(info["status"] == "failed" and "max-rounds" in info["error-desc"] and a.running(),
           "max-rounds, cancel: the error names the limit, the guest runs on", brief(info))
    b.until("failed")
    start(a, uri, {**NEVER, "max-rounds": 3, "on-no-converge": "switchover"})
    ends = finish(a, b)
    good(tap, "max-rounds, switchover", a, b, ends)
    # The first rounds, the last one, and at most one tried again
    tap.ok(4 <= ends[0]["drover"]["round"] <= 6, "after as many rounds", brief(ends[0]))
    a, b = b, a
    uri = listen(b)
    start(a, uri, {**NEVER, "total-timeout": 3, "on-no-converge": "cancel"})
    begin = time.monotonic()
    info = a.until("failed", "cancelled", "completed")
    tap.ok(info["status"] == "failed" and "total-timeout" in info["error-desc"] and
           2 < time.monotonic() - begin < 10 + DEADLINE - 30 and a.running(),
           "total-timeout, cancel", brief(info))
    b.until("failed")
    start(a, uri, {**NEVER, "max-rounds": 2})
    until(lambda: a.info()["drover"].get("round", 0) >= 5)
    tap.ok(a.status() == "active", "wait: goes on beyond max-rounds", brief(a.info()))
    a.call("migrate-set-config", **{"on-no-converge": "switchover"})
    good(tap, "until told otherwise while it runs", a, b, finish(a, b))


def downtime(world):
    """downtime-limit is waited for; what was expected is close to what came."""
    a, b = world.sims("sim:size=64M,dirty=40M", "sim:size=64M,prefault=on")
    uri = listen(b)
    start(a, uri, {"max-bandwidth": 16 * MIB, "downtime-limit": 10})
    until(lambda: a.info()["drover"].get("round", 0) >= 2)
    info = a.info()
    tap.ok(info["status"] == "active" and info.get("expected-downtime", 0) > 10,
           f"a guest that is too fast: another round ({info.get('expected-downtime')} ms expected)",
           brief(info))
    a.call("migrate-set-config", **{"max-bandwidth": 0, "downtime-limit": 300})
    ends = finish(a, b)
    good(tap, "a line that is fast enough", a, b, ends)
    took, expected = ends[0]["drover"]["downtime-us"], ends[0]["drover"]["expected-downtime-us"]
    limit = 300000
    name = f"downtime {took} us, expected {expected} us"
    if SANITIZER:
        tap.skip(name, "a sanitizer changes the times")
    else:
        tap.ok(expected <= limit and took < limit + 100000, name)
    off = ends[0]["drover"]["expected-downtime-error-us"]
    tap.ok(off == took - expected, f"and by how much it was wrong: {off} us", ends[0]["drover"])
    a, b = b, a
    config = {"avail-switchover-bandwidth": 1 << 40, "downtime-limit": 30,
              "max-bandwidth": 32 * MIB}
    ends = migrate(a, b, config=config)
    good(tap, "avail-switchover-bandwidth decides instead of what was measured", a, b, ends)


PARTS = ("pause", "harvest", "pages", "state", "digest", "commit")


def split(world):
    """The downtime's parts are all there and add up to it."""
    a, b = world.sims("sim:size=64M,dirty=20M", "sim:size=64M")
    for config in ({}, {"multifd": True}, {"verify": "full"}, {"verify": "none"},
                   {"pause-before-switchover": True}):
        uri = listen(b)
        start(a, uri, config)
        if config.get("pause-before-switchover"):
            a.until("pre-switchover")
            time.sleep(0.3)
            a.call("migrate-continue", state="pre-switchover")
        ends = finish(a, b)
        x = ends[0]["drover"]
        parts = {p: x.get(f"downtime-{p}-us") for p in PARTS + ("continue",)}
        took = x["downtime-us"]
        tap.ok(all(parts[p] is not None for p in PARTS) and
               abs(sum(v for v in parts.values() if v) - took) <= 20 and
               abs(ends[0]["downtime"] * 1000 - took) <= 500,
               f"the parts of {took} us add up: {config} {parts}", x)
        if parts["continue"] is not None:
            tap.ok(300000 < parts["continue"] < took and
                   abs(x["expected-downtime-error-us"]) < parts["continue"],
                   "the operator's pause is a part, but no error of the estimate", x)
        tap.ok("downtime-resume-us" in ends[1]["drover"], "the destination knows the resume",
               ends[1]["drover"])
        a, b = b, a


def history(world):
    """Each round is told: what it sent adds up, and the last ones are of a stopped guest."""
    a, b = world.sims("sim:size=32M,dirty=40M,hot=8M", "sim:size=32M")
    uri = listen(b)
    start(a, uri, {**NEVER, "max-rounds": 4, "on-no-converge": "switchover"})
    ends = finish(a, b)
    good(tap, "a migration of some rounds", a, b, ends)
    x = ends[0]["drover"]
    rounds = x["rounds"]
    tap.ok([r["round"] for r in rounds] == list(range(1, x["round"] + 1)) and
           all(r["rounds"] == 1 for r in rounds), "every round once", rounds)
    sent = sum(r["sent-bytes"] for r in rounds)
    tap.ok(sent <= ends[0]["ram"]["transferred"] < sent + 4 * MIB,
           f"all pages were sent in one of them: {sent}", ends[0]["ram"])
    stopped = [r["stopped"] for r in rounds]
    tap.ok(stopped == sorted(stopped) and stopped[0] == 0 and stopped[-1] == 1 and
           sum(r["duration-us"] for r in rounds if r["stopped"]) <= x["downtime-us"],
           "in the last ones the guest was stopped", rounds)
    tap.ok(all(p["at-us"] + p["duration-us"] + r["harvest-us"] <= r["at-us"] + 5
               for p, r in zip(rounds, rounds[1:])) and
           rounds[-1]["at-us"] < (ends[0]["total-time"] + 1) * 1000,
           "one after the other, harvests between them", rounds)
    tap.ok(rounds[0]["dirty-bytes"] == 32 * MIB and rounds[2]["dirty-bytes-rate"] > 0 and
           rounds[2]["expected-downtime-us"] > 0 and "rounds" not in ends[1]["drover"],
           "with what was known when they began", rounds)


def same_address(world):
    """Once all is settled the address is free for the way back."""
    a, b = world.sims()
    uri = "unix:" + world.file("stream")
    for way in ("there", "back", "there again"):
        good(tap, f"{way}, over one UNIX path", a, b, migrate(a, b, uri))
        tap.ok(until(lambda: not os.path.exists(world.file("stream"))), "the path goes")
        a, b = b, a


def twice(world):
    """Commands that come at the wrong time."""
    a, b = world.sims()
    uri = listen(b)
    tap.ok("already" in (b.error("migrate-incoming", uri="tcp:127.0.0.1:0") or ""),
           "a second migrate-incoming")
    tap.ok(b.error("migrate", uri="tcp:127.0.0.1:1"), "migrate away from what waits")
    start(a, uri, SLOW_LINE)
    a.until("active")
    tap.ok("progress" in (a.error("migrate", uri=uri) or ""), "a second migrate")
    tap.ok(a.error("migrate-incoming", uri="tcp:127.0.0.1:0"), "migrate-incoming on the source")
    a.call("migrate-set-config", **{"max-bandwidth": 0})
    good(tap, "and the first one is not disturbed", a, b, finish(a, b))
    tap.ok(a.error("migrate", uri=uri), "a guest that was handed over can't be migrated again")


tap.run(rate, cancel_setup, cancel_active, cancel_waiting, cancel_stalled, cancel_incoming,
        continues, switchover_ack, no_converge, downtime, split, history, same_address, twice)
