#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages at the wrong time, to real daemons.

The test plays the other side up to a phase, and says what is not legal in it: every message
that the tables (userspace/wire/messages.def) do not have there. The daemon must refuse it by
name, and the guest must stay what it was: running at the source before COMMIT, paused and
resumable after it, running at the destination once that owns it.
"""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import peer  # noqa: E402
from drover import (SANITIZER, SLOW, Tap, World, brief, finish, follow,  # noqa: E402
                    good, listen, port_of, start)
from peer import ONE_WAY, POSTCOPY, Dest, Refused, Source, legal  # noqa: E402

tap = Tap()
SIM, PAGES = "sim:size=16M", (16 << 20) // 4096
NONE = {"verify": "none"}
POST = {"verify": "none", "postcopy-ram": True}
URGENT = {**POST, "postcopy-preempt": True, "postcopy-channels": 1}
MULTI = {"multifd": True, "multifd-channels": 1}
# What was taken before there was a table; each must be among what is tried.
NAMED = {("D", "TWO", "ROUNDS", n) for n in ("DISCARD", "DIGEST", "HELLO", "OWNER_QUERY", "END",
                                            "STATE", "COMMIT", "RECOVER", "PONG")} | \
    {("D", "TWO", "STATE", n) for n in ("PAGES", "COMMIT")} | \
    {("D", "TWO", "OFFERING", "HELLO"), ("D", "TWO", "LOADED", "STATE"),
     ("D", "TWO", "LOADED", "COMMIT"), ("D", "TWO", "ROUNDS/D", "ATTACH"),
     ("D", "POST", "ARMED", "DISCARD"), ("D", "POST", "READY", "ROUND_END"),
     ("D", "TWO", "COMMITTED", "PAGES"), ("D", "TWO", "COMMITTED", "FAIL"),
     ("D", "TWO", "COMMITTED", "COMMIT"), ("D", "POST", "SERVING", "FAIL"),
     ("D", "POST", "SERVING", "STATE"), ("D", "POST", "PROVED", "PAGES")} | \
    {("S", "TWO", "ROUNDS", n) for n in ("RELEASE", "PAGE_REQ", "RECOVER", "PONG", "ROUND_ACK",
                                         "SWITCHOVER_ACK", "HELLO_ACK", "COMMIT_ACK", "PAUSED")} | \
    {("S", "TWO", "LOADING", n) for n in ("COMMIT_ACK", "DIGEST_ACK", "RELEASE", "PAGE_REQ")} | \
    {("S", "POST", "LOADING", "RELEASE"), ("S", "POST", "SERVING", "FAIL"),
     ("S", "TWO", "COMMITTING", "RELEASE"), ("S", "POST", "SERVING", "COMMIT_ACK")}
tried = set()


def wrong(side, mode, phase, channel="M", unasked=()):
    """What may not be said there, in the order of the table."""
    # Who has not said anything may be any channel.
    fine = set().union(*(legal(side, c, mode, phase) for c in
                         ("MDP" if phase == "GREETING" else channel))) - set(unasked)
    names = [n for n in peer.TYPE if n not in fine]
    return names[::4] if SANITIZER else names


def names_it(text, name):
    return f"message {name}: " in text or f"message {name} " in text


def until(ask, within=5):
    end = time.monotonic() + within * SLOW
    while not ask() and time.monotonic() < end:
        time.sleep(0.01)
    return ask()


def verdict(label, side, mode, key, results):
    """results: [(message, what is wrong or None)]"""
    bad = [(n, why) for n, why in results if why]
    for n, _ in results:
        tried.add((side, mode, key, n))
    tap.ok(results and not bad, f"{label}: {len(results) - len(bad)} of {len(results)} messages "
           "are refused by name", "\n".join(f"{n}: {why}" for n, why in bad[:8]))


# ---- to a destination ------------------------------------------------------------------

def stop_at(port, phase, config, flags=0):
    """A source that has come so far; the connection it goes on with."""
    s = Source(port, config=config, flags=flags)
    order = ["GREETING", "OFFERING", "ROUNDS", "FINAL", "DISCARDING", "ARMED", "STATE", "LOADED"]
    at = order.index(phase) if phase in order else len(order)
    post = config.get("postcopy-ram")
    if at == 1:
        s.hello()
    if at >= 2:
        s.accepted()
        for i in range(config.get("multifd-channels", 0)):
            s.attach(i)
        for i in range(config.get("postcopy-channels", 0)):
            s.attach(i, POSTCOPY)
    if at >= 3:
        s.final()
    if post and at >= 4:
        s.discard([(0, PAGES)], last=at > 4)
    if at == 6:
        s.begin_state()
    if at >= 7:
        s.state()
    return s


def before_commit(b, port, phase, mode, config, channel="M", flags=0):
    key = phase if channel == "M" else f"{phase}/{channel}"
    results = []
    for name in wrong("S", mode, phase, channel):
        # The one before may still be ending.
        b.until("failed", "setup")
        log = len(b.text())
        try:
            s = stop_at(port, phase, config, flags)
        except (Refused, OSError) as e:
            results.append((name, f"the stage: {e!r}"))
            continue
        (s.main if channel == "M" else s.others[0]).send(name)
        said = s.main.refusal() if phase != "GREETING" and not flags else ""
        if flags or phase == "GREETING":
            until(lambda: names_it(b.text()[log:] + b.info().get("error-desc", ""), name))
            said = b.text()[log:] + b.info().get("error-desc", "")
        s.close()
        results.append((name, None if names_it(said, name) and not b.running() else said or
                        brief(b.info())))
    way = {"TWO": "two-way", "ONE": "one-way", "POST": "postcopy"}[mode]
    verdict(f"destination in {key}, {way}", "D", mode, key, results)


def destination(world):
    """Before COMMIT: the session fails, the source is told why, the next is welcome."""
    a = world.daemon("a", "sim:size=16M,dirty=2M")
    b = world.daemon("b", SIM, "--verbose")
    uri = listen(b)
    port = port_of(uri)
    for phase in ("GREETING", "OFFERING", "ROUNDS", "FINAL", "STATE", "READY"):
        before_commit(b, port, phase, "TWO", NONE)
    before_commit(b, port, "LOADED", "TWO", {})
    before_commit(b, port, "ROUNDS", "TWO", {**NONE, **MULTI}, "D")
    before_commit(b, port, "ROUNDS", "TWO", URGENT, "P")
    for phase in ("DISCARDING", "ARMED", "STATE", "READY"):
        before_commit(b, port, phase, "POST", POST)
    before_commit(b, port, "LOADED", "POST", {"postcopy-ram": True})
    before_commit(b, port, "ARMED", "POST", URGENT, "P")
    for phase in ("ROUNDS", "FINAL", "STATE", "READY"):
        before_commit(b, port, phase, "ONE", {**NONE, "one-way": True}, flags=ONE_WAY)
    follow(tap, "a good one", a, b, uri)


def final_only(world):
    """After a final round another may follow, and no other kind."""
    b = world.daemon("b", SIM)
    port = port_of(listen(b))
    s = stop_at(port, "FINAL", NONE)
    s.main.send("PAGES", peer.pages(2, [(5, 1, False)]), bytes(4096))
    s.main.send("ROUND_END", struct.pack("<II", 2, 1))
    s.main.until("ROUND_ACK")
    s.main.send("PAGES", peer.pages(3, [(5, 1, False)]), bytes(4096))
    s.main.send("ROUND_END", struct.pack("<II", 3, 0))
    said = s.main.refusal()
    tap.ok("not final" in said, f"a late write is taken, a round that is not final is not: {said}")
    s.close()
    # With a payload of its own a refused message leaves nothing behind either.
    b.until("failed")
    s = stop_at(port, "STATE", NONE)
    s.main.send("PAGES", peer.pages(2, [(5, 1, False)]), bytes(4096))
    said = s.main.refusal()
    tap.ok(names_it(said, "PAGES") and "phase STATE" in said,
           f"PAGES after the final round: {said}")
    s.close()


def owned(world, phase):
    """A fresh destination that owns the guest; the daemon and the source."""
    post = phase != "COMMITTED"
    b = world.daemon("b", "sim:size=16M,zero=100", "--verbose")
    s = stop_at(port_of(listen(b)), "READY", POST if post else NONE)
    s.commit()
    if phase == "PROVED":
        s.main.send("PAGES", peer.pages(2, [(0, PAGES, True)]))
        s.main.send("ROUND_END", struct.pack("<II", 2, 0))
        s.main.until("ROUND_ACK")
    return b, s


def after_commit(world):
    """The guest runs there: whatever is said, it goes on, or waits for its pages."""
    for phase, mode in (("COMMITTED", "TWO"), ("SERVING", "POST"), ("PROVED", "POST")):
        results = []
        for name in wrong("S", mode, phase):
            with World() as w:
                b, s = owned(w, phase)
                log = len(b.text())
                s.main.send(name)
                until(lambda: names_it(b.text()[log:] + b.info().get("error-desc", ""), name))
                info = b.info()
                said = b.text()[log:] + info.get("error-desc", "")
                status = {"SERVING": ("postcopy-paused",)}.get(phase, ("completed",))
                s.close()
                good_end = b.until(*status, within=5 * SLOW)["status"] in status and b.running()
                results.append((name, None if names_it(said, name) and good_end else
                                f"{said} {brief(b.info())} runs: {b.running()}"))
                if phase == "SERVING":
                    b.kill()
                    w.started.remove(b)
        verdict(f"destination in {phase}", "D", mode, phase, results)


# ---- to a source -----------------------------------------------------------------------

def play(d, phase, post):
    """A destination that has come so far; the connection it goes on with."""
    c = d.accept()
    if phase == "OFFERED":
        d.question(c)
        return c
    d.accept_hello(c)
    if phase == "ROUNDS":
        d.answer_until(c, "PAGES")
        return c
    if phase == "JOINING":
        data = d.accept(1)
        data.until("ATTACH")
        return data
    while not struct.unpack_from("<II", d.answer_until(c, "ROUND_END"))[1] & 1:
        pass
    if phase == "LOADING":
        # All that it says before it waits: the last DIGEST has flag 1.
        while not struct.unpack_from("<IHH", c.until("DIGEST"))[2] & 1:
            pass
        return c
    while not struct.unpack_from("<II", c.until("STATE"))[1] & 1:
        pass
    c.send("STATE_ACK", struct.pack("<I", 0))
    if phase == "LOADED":
        return c
    c.until("COMMIT")
    if phase == "SERVING":
        c.send("COMMIT_ACK", d.token)
    return c


def migrate_to(a, d, config, phase):
    slow = {"max-bandwidth": 1 << 20} if phase == "ROUNDS" else {}
    post = config.get("postcopy-ram") and {"postcopy-from-start": True} or {}
    start(a, d.uri, {**config, **slow, **post})


def source_phase(a, phase, mode, config, unasked=(), channel="M"):
    results = []
    for name in wrong("D", mode, phase, channel, unasked):
        d = Dest()
        migrate_to(a, d, config, phase)
        try:
            c = play(d, phase, mode == "POST")
            c.send(name)
            info = a.until("failed", "completed", within=10 * SLOW)
        except (Refused, OSError) as e:
            info = {"error-desc": repr(e)}
            a.until("failed", "completed", within=10 * SLOW)
        d.close()
        said = info.get("error-desc", "")
        results.append((name, None if names_it(said, name) and info["status"] == "failed" and
                        a.until_runs(within=5) else f"{brief(info)} runs: {a.running()}"))
    verdict(f"source in {phase}, {'postcopy' if mode == 'POST' else 'two-way'}", "S", mode,
            phase, results)


def source(world):
    """Before COMMIT: the migration fails, the guest runs on."""
    a, b = world.sims("sim:size=16M", SIM)
    source_phase(a, "OFFERED", "TWO", NONE)
    source_phase(a, "JOINING", "TWO", {**NONE, **MULTI}, channel="D")
    source_phase(a, "ROUNDS", "TWO", NONE, ("PONG", "ROUND_ACK", "SWITCHOVER_ACK"))
    source_phase(a, "LOADING", "TWO", {}, ("PONG", "ROUND_ACK"))
    source_phase(a, "LOADED", "TWO", {}, ("PONG",))
    source_phase(a, "LOADING", "POST", {"postcopy-ram": True, "release-ram": True},
                 ("PONG", "ROUND_ACK"))
    uri = listen(b)
    start(a, uri)
    good(tap, "a good one follows", a, b, finish(a, b))


def in_doubt(world):
    """After COMMIT the source asks, and the answer alone decides."""
    results = []
    for name in wrong("D", "TWO", "COMMITTING", unasked=("PONG",)):
        with World() as w:
            a, d = w.daemon("a", SIM), Dest()
            migrate_to(a, d, NONE, "COMMITTING")
            c = play(d, "COMMITTING", False)
            c.send(name)
            until(lambda: a.info().get("drover", {}).get("in-doubt"))
            said = a.info().get("error-desc", "")
            c.close()
            paused = not a.running()
            d.settle(0)
            info = a.until("failed")
            results.append((name, None if names_it(said, name) and paused and a.until_runs()
                            else f"{said} {brief(info)} paused: {paused}"))
            d.close()
    verdict("source in COMMITTING", "S", "TWO", "COMMITTING", results)


def another_session(world):
    """COMMIT_ACK of another session's token hands nothing over: the source asks."""
    for token in (bytes(15) + b"\1", b"token of another"):
        with World() as w:
            a, d = w.daemon("a", SIM), Dest()
            migrate_to(a, d, NONE, "COMMITTING")
            c = play(d, "COMMITTING", False)
            c.send("COMMIT_ACK", token)
            until(lambda: a.info().get("drover", {}).get("in-doubt") or a.status() == "completed")
            said, status = a.info().get("error-desc", ""), a.status()
            c.close()
            d.settle(0)
            info = a.until("failed", "completed")
            tap.ok("COMMIT_ACK: it is about another session" in said and status != "completed" and
                   info["status"] == "failed" and a.until_runs(),
                   "COMMIT_ACK of another session is no answer", f"{said} {brief(info)}")
            d.close()


def serving(world):
    """Postcopy: it is paused, says why, and nothing is lost."""
    results = []
    for name in wrong("D", "POST", "SERVING", unasked=("PONG",)):
        with World() as w:
            a, d = w.daemon("a", SIM), Dest()
            migrate_to(a, d, POST, "SERVING")
            c = play(d, "SERVING", True)
            c.send(name)
            info = a.until("postcopy-paused", "failed", "completed", within=10 * SLOW)
            said = info.get("error-desc", "")
            results.append((name, None if names_it(said, name) and not a.running() and
                            info["status"] == "postcopy-paused" else brief(info)))
            d.close()
            a.kill()
            w.started.remove(a)
    verdict("source in SERVING", "S", "POST", "SERVING", results)


def round_numbers(world):
    """An answer to a round that was never sent."""
    a, d = world.daemon("a", SIM), Dest()
    start(a, d.uri, NONE)
    c = d.accept()
    d.accept_hello(c)
    while True:
        name, body, _ = c.recv()
        if name == "PING":
            c.send("PONG", body)
        if name == "ROUND_END":
            break
    c.send("ROUND_ACK", struct.pack("<IIQ", 99, 0, 0))
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and "ROUND_ACK(99) in round" in info["error-desc"] and
           a.until_runs(), f"{info.get('error-desc')}", brief(info))
    d.close()


def complete(world):
    missing = NAMED - tried
    tap.ok(SANITIZER or not missing, f"{len(tried)} messages at a wrong time, the {len(NAMED)} "
           "that are known by name among them", sorted(missing))


tap.run(destination, final_only, after_commit, source, in_doubt, another_session, serving,
        round_numbers, complete)
