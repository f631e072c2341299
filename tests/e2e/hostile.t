#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Strangers, garbage, cut, stalled and flipped streams.

Whatever happens on the wire: the guest runs on exactly one side, both sides say what went
wrong, and the incoming side still listens: a good migration to the same address follows.
The seed of the random offsets is SEED.
"""
import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, SANITIZER, Tap, brief, finish, follow, good, listen,  # noqa: E402
                    migrate, port_of, start)
from proxy import Fault, Proxy  # noqa: E402
from wire import ATTACH, FRAME, HELLO  # noqa: E402

tap = Tap()
MIB = 1 << 20
SEED = int(os.environ.get("SEED", "1"))
SIM = "sim:size=16M,dirty=2M"
ROUNDS = 3 if SANITIZER else 10


def connect(uri):
    s = socket.create_connection(("127.0.0.1", port_of(uri)))
    s.settimeout(DEADLINE)
    return s


def ended(s):
    """Does the other side close it?"""
    try:
        while s.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def refused(daemon):
    return daemon.info()["drover"].get("refused-connections", 0)


def until_refused(daemon, n):
    end = time.monotonic() + DEADLINE
    while refused(daemon) < n and time.monotonic() < end:
        time.sleep(0.02)
    return refused(daemon)


def strangers(world):
    """Connections that are no migration, before one and during one."""
    a, b = world.sims(SIM, "sim:size=16M")
    uri = listen(b, config={"handshake-timeout": 700})
    rng = random.Random(SEED)
    garbage = [b"", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 40, b"\xff" * 4096, rng.randbytes(65536),
               b"DRVR" + rng.randbytes(36), b"{\"execute\": \"quit\"}\n"]
    for data in garbage:
        s = connect(uri)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        tap.ok(ended(s), f"{len(data)} bytes {data[:16]!r}: closed")
        s.close()
    n = until_refused(b, len(garbage))
    tap.ok(n == len(garbage), f"all of them are counted: {n}")
    silent = connect(uri)
    begin = time.monotonic()
    tap.ok(ended(silent) and time.monotonic() - begin < 5 + DEADLINE - 30,
           "who says nothing is dropped after handshake-timeout")
    scan = [connect(uri) for _ in range(100)]
    for s in scan:
        s.close()
    tap.ok(b.call("query-status")["status"] == "inmigrate" and b.status() == "setup",
           "the incoming side waits as if nothing had been", brief(b.info()))
    idle = [connect(uri) for _ in range(3)]
    start(a, uri, {"max-bandwidth": 8 * MIB})
    a.until("active")
    s = connect(uri)
    s.sendall(b"\xff" * 64)
    tap.ok(ended(s), "garbage while a migration runs: closed")
    a.call("migrate-set-config", **{"max-bandwidth": 0})
    good(tap, "and the migration is not disturbed", a, b, finish(a, b))
    for s in idle:
        s.close()


def frame_types(data):
    """[(offset, type)] of the frames at the start of a recorded stream."""
    out, at = [], 0
    while at + FRAME <= len(data):
        kind = int.from_bytes(data[at + 6:at + 8], "little")
        body = int.from_bytes(data[at + 16:at + 20], "little")
        payload = int.from_bytes(data[at + 24:at + 32], "little")
        out.append((at, kind))
        at += FRAME + body + payload
    return out


def tokens(world):
    """An ATTACH that does not know the session's token; an old stream replayed."""
    a, b = world.sims(SIM, "sim:size=16M")
    multifd = {"multifd": True, "multifd-channels": 2}
    uri = listen(b)
    # Data connections are the second and third; their first message is ATTACH.
    with Proxy(port_of(uri), Fault("flip", FRAME + 3, connection=1)) as p:
        start(a, p.uri, multifd)
        info = a.until("failed", "completed")
        tap.ok(info["status"] == "failed" and "data/0: refused" in info["error-desc"] and
               a.running(), f"ATTACH with a wrong token: {info.get('error-desc')}", brief(info))
        # Its sibling may come when the session has ended already, and is refused as well.
        tap.ok(until_refused(b, 1) >= 1, "the destination counts it", brief(b.info()))
    follow(tap, "a good one", a, b, uri, multifd)
    a, b = b, a
    uri = listen(b)
    with Proxy(port_of(uri)) as p:
        start(a, p.uri, {**multifd, "max-bandwidth": 4 * MIB})
        a.until("active")
        hello, attach = bytes(p.data[0, "out"]), bytes(p.data[1, "out"])
        tap.ok(frame_types(hello)[0] == (0, HELLO) and frame_types(attach)[0] == (0, ATTACH),
               "what the streams begin with", (frame_types(hello), frame_types(attach)))
        for name, data in (("HELLO", hello), ("ATTACH of the same index", attach[:FRAME + 20])):
            s = connect(uri)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            tap.ok(ended(s), f"a second {name} while it runs: closed")
            s.close()
        tap.ok(until_refused(b, 2) >= 2, "and counted", brief(b.info()))
        a.call("migrate-set-config", **{"max-bandwidth": 0})
        good(tap, "the migration is not disturbed", a, b, finish(a, b))
    a, b = b, a
    uri = listen(b)
    s = connect(uri)
    s.sendall(attach[:FRAME + 20])
    tap.ok(ended(s), "an ATTACH of a session that is over: closed")
    s.close()
    tap.ok(until_refused(b, 1) == 1, "and counted")
    follow(tap, "a good one", a, b, uri, multifd)


def reference(world, config):
    """Bytes of an undisturbed stream, out and back."""
    a, b = world.sims(SIM, "sim:size=16M")
    with Proxy(port_of(listen(b))) as p:
        start(a, p.uri, config)
        a.until("completed")
        b.until("completed")
        total = p.bytes(0, "out"), p.bytes(0, "back")
    world.over()
    return total


def offsets(rng, total, n):
    """Some anywhere, some at the start (handshake), some at the end (state, COMMIT)."""
    out = []
    for i in range(n):
        span = min(total, 3000)
        low = (0, 0, max(0, total - span))[i % 3]
        out.append(rng.randrange(low, (total, span, total)[i % 3]))
    return out


def one_side(a, b):
    """Settled: exactly one guest runs. (who, source's info, destination's info)"""
    ai = a.until("failed", "completed", "cancelled")
    a.until_runs(ai.get("status") != "completed", within=5)
    if ai.get("status") == "completed":
        b.until_runs(within=10)
    bi = b.until("failed", "completed", "setup", within=10)
    return (a.running(), b.running()), ai, bi


def harm(world, kind, rng, total, direction, config=None):
    """One migration with one fault; then a good one to whoever was the destination."""
    a, b = world.sims(SIM, "sim:size=16M")
    for at in offsets(rng, total, ROUNDS):
        uri = listen(b)
        fault = Fault(kind, at, direction=direction, bit=rng.randrange(8))
        with Proxy(port_of(uri), fault) as p:
            # What is awaited and never comes is found out by this, and not at our own deadline.
            start(a, p.uri, {"stall-timeout": 5000, **(config or {})})
            runs, ai, bi = one_side(a, b)
        why = f"runs {runs}\nsource {brief(ai)}\ndestination {brief(bi)}"
        if runs == (False, True):
            check = b.verdict()
            tap.ok(ai["status"] == "completed" and check.get("verdict") == "passed",
                   f"{fault}: it arrived all the same, whole", f"{why}\n{check}")
            a, b = b, a
            continue
        told = ai.get("error-desc") and (bi.get("error-desc") or
                                         bi["drover"].get("refused-connections"))
        tap.ok(runs == (True, False) and ai["status"] == "failed" and told,
               f"{fault}: {ai.get('error-desc')}", why)
        if follow(tap, "a good one", a, b, uri, config):
            a, b = b, a
        else:
            return


def cut(world):
    total = reference(world, {})
    rng = random.Random(f"{SEED} cut")
    harm(world, "cut", rng, total[0], "out")
    world.over()
    harm(world, "cut", rng, total[1], "back")


def flip(world):
    total = reference(world, {})
    rng = random.Random(f"{SEED} flip")
    harm(world, "flip", rng, total[0], "out")
    world.over()
    harm(world, "flip", rng, total[1], "back")


def flip_multifd(world):
    """On a data channel: the header of a frame, and payload."""
    config = {"multifd": True, "multifd-channels": 2}
    a, b = world.sims(SIM, "sim:size=16M")
    for at in (FRAME + 20 + 2, FRAME + 20 + FRAME + 5, 3 * MIB):
        uri = listen(b)
        fault = Fault("flip", at, connection=2)
        with Proxy(port_of(uri), fault) as p:
            start(a, p.uri, config)
            runs, ai, bi = one_side(a, b)
        tap.ok(p.hit and runs == (True, False) and ai.get("error-desc") and bi.get("error-desc"),
               f"{fault}: {ai.get('error-desc')}", f"{runs} {brief(ai)}\n{brief(bi)}")
        follow(tap, "a good one", a, b, uri, config)
        a, b = b, a


def stall(world):
    """A peer that stops reading and writing, in each phase, on each kind of channel."""
    a, b = world.sims(SIM, "sim:size=16M")
    limit = {"stall-timeout": 1000}
    cases = [("handshake", Fault("stall", 10), {"handshake-timeout": 400}, "handshake-timeout"),
             ("pages", Fault("stall", 6 * MIB), limit, "stall-timeout"),
             ("data channel", Fault("stall", 3 * MIB, connection=1),
              {**limit, "multifd": True}, "stall-timeout")]
    for name, fault, config, text in cases:
        uri = listen(b, config={**limit, "handshake-timeout": 800})
        with Proxy(port_of(uri), fault) as p:
            begin = time.monotonic()
            start(a, p.uri, config)
            ai = a.until("failed", "completed")
            took = time.monotonic() - begin
            tap.ok(ai["status"] == "failed" and text in ai["error-desc"] and a.running(),
                   f"stalled, {name}: {ai.get('error-desc')}", brief(ai))
            tap.ok(took < 6 + DEADLINE - 30, f"found out after {took:.1f} s")
            if name == "handshake":
                tap.ok(until_refused(b, 1) >= 1, "the destination drops it, too")
            else:
                bi = b.until("failed", within=DEADLINE)
                tap.ok(bi["status"] == "failed" and bi.get("error-desc"),
                       f"and the destination: {bi.get('error-desc')}", brief(bi))
        config.pop("handshake-timeout", None)
        follow(tap, "a good one", a, b, uri, config)
        a, b = b, a


def deaf(world):
    """A reader that stops while digests are written to it, the guest being stopped."""
    a = world.daemon("a", "sim:size=256M,zero=100")
    start(a, "exec:head -c 1000 > /dev/null; exec sleep 60",
          {"one-way": True, "stall-timeout": 1000})
    begin = time.monotonic()
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and info.get("error-desc") and a.until_runs(within=5),
           f"a one-way reader that stops reading: {info.get('error-desc')}", brief(info))
    tap.ok(time.monotonic() - begin < 6 + DEADLINE - 30, "found out in time")


def vanishing(world):
    """The peer's process is killed: the other side learns it at once."""
    a, b = world.sims(SIM, "sim:size=16M")
    start(a, listen(b), {"max-bandwidth": 4 * MIB})
    a.until("active")
    b.kill()
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and info.get("error-desc") and a.running(),
           f"destination killed: {info.get('error-desc')}", brief(info))
    b.restart()
    good(tap, "a good one to a new daemon", a, b, migrate(a, b))
    uri = listen(a)
    start(b, uri, {"max-bandwidth": 4 * MIB})
    a.until("active")
    b.kill()
    info = a.until("failed", "completed")
    tap.ok(info["status"] == "failed" and info.get("error-desc") and not a.running(),
           f"source killed: {info.get('error-desc')}", brief(info))
    b.restart()
    follow(tap, "a good one from a new daemon", b, a, uri)


tap.run(strangers, tokens, cut, flip, flip_multifd, stall, deaf, vanishing)
