#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The handshake: every option that both sides must agree on, and peers of another version.

The options come from the table (gen-tables). Where this build would not let a value be set,
a proxy puts it into the source's HELLO, or the test plays the source itself: what a newer
build may say must be refused by name all the same.
"""
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import wire  # noqa: E402
from drover import (BUILD, DEADLINE, DROVERD, Tap, brief, finish, follow, good,  # noqa: E402
                    listen, migrate, port_of, start)
from proxy import Proxy  # noqa: E402

tap = Tap()
SIM = "sim:size=16M"
OLDER, NEWER = "sim:size=16M,dirty=1M", os.path.join(BUILD, "tests", "peer", "droverd-minor")
STRANGER = os.path.join(BUILD, "tests", "peer", "droverd-major")
TABLES = json.loads(subprocess.check_output([os.path.join(BUILD, "tests", "docs", "gen-tables")]))
AGREE = [o for o in TABLES["options"] if o["must-agree"]]
# What no rule forbids beside it.
COMPANIONS = {"x-colo": {"return-path": True}, "postcopy-preempt": {"postcopy-ram": True},
              "switchover-ack": {"return-path": True}}


def default(o):
    if o["type"] == "enum":
        return o["values"][o["default"]]["name"]
    return bool(o["default"]) if o["json-type"] == "boolean" else o["default"]


def other(o):
    """Another value, one that this build has if there is any."""
    if o["type"] == "enum":
        rest = [v for v in o["values"] if v["name"] != default(o)]
        return next((v["name"] for v in rest if "missing" not in v), rest[0]["name"])
    if o["json-type"] == "boolean":
        return not o["default"]
    return o["max"] if o["default"] != o["max"] else o["min"]


def known(o, value):
    return not any(v["name"] == value and "missing" in v for v in o["values"])


def until_error(daemon, says):
    """Poll until the error is what this accepts; the last answer."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        info = daemon.info()
        if says(info.get("error-desc", "")):
            break
        time.sleep(0.01)
    return info


def differ(world):
    """Given there, another value in HELLO: refused in HELLO_ACK, in error-desc on both sides."""
    a, b = world.sims(OLDER, SIM)
    tap.ok(len(AGREE) >= 15, f"{len(AGREE)} options must be agreed on")
    for o in AGREE:
        name, theirs = o["name"], other(o)
        uri = listen(b, config={name: default(o)})

        def rewrite(frame, config={**COMPANIONS.get(name, {}), name: theirs}):
            kind, body = wire.split(frame)
            assert kind == wire.HELLO and wire.hello_config(body) == {}, "a HELLO of defaults"
            return wire.frame(wire.HELLO, wire.hello_with(body, config))

        with Proxy(port_of(uri), rewrite=rewrite) as p:
            start(a, p.uri)
            ai = a.until("failed", "completed")
            kind, body = wire.split(bytes(p.data.get((0, "back"), b""))) if p.bytes(0, "back") \
                else (None, b"")
        why = f"{name}: the destination was told {json.dumps(default(o))}, the source has " \
              f"{json.dumps(theirs)}" if known(o, theirs) else f"{name}: Parameter '{name}'"
        said = {}
        if kind == wire.HELLO_ACK:
            length = int.from_bytes(p.data[0, "back"][16:20], "little")
            status, _, refusals = wire.hello_ack(body[:length])
            said = {r["option"]: r["desc"] for r in refusals} if status == 1 else {}
        bi = until_error(b, lambda text, why=why: why in text)
        tap.ok(name in said, f"HELLO_ACK refuses {name}: {said.get(name)}", (kind, body[:400]))
        tap.ok(ai["status"] == "failed" and a.running() and why in ai["error-desc"],
               f"source: {ai.get('error-desc')}", brief(ai))
        tap.ok(bi["status"] == "setup" and why in bi.get("error-desc", ""),
               f"destination, which waits on: {bi.get('error-desc')}", brief(bi))
        b.call("migrate_cancel")
        b.until("failed", "cancelled")
    uri = listen(b, config={"verify": "full"})
    start(a, uri)
    a.until("failed")
    start(a, uri, {"verify": "full"})
    ends = finish(a, b)
    good(tap, "a good one follows", a, b, ends)
    tap.ok("error-desc" not in ends[1], "and of the refusal nothing is left", brief(ends[1]))


def ask(uri, config):
    """Play the source up to HELLO_ACK: (status, version, text)."""
    with socket.create_connection(("127.0.0.1", port_of(uri)), DEADLINE) as s:
        s.sendall(wire.frame(wire.HELLO, wire.hello(config, [("ram0", 0, 16 << 20)])) +
                  wire.frame(wire.RANGES, wire.ranges_end(), seq=1))
        kind, body = wire.split(wire.read_frame(s))
        return wire.hello_ack(body) if kind == wire.HELLO_ACK else (kind, 0, {})


def taken(world):
    """Not given: taken from the source if this build and host can, else refused by name."""
    b = world.daemon("b", SIM)
    taken_ones = 0
    for o in AGREE:
        name, theirs = o["name"], other(o)
        status, version, text = ask(listen(b), {**COMPANIONS.get(name, {}), name: theirs})
        if status == 0:
            taken_ones += 1
            tap.ok(version == 0x100 and text.get(name) == theirs,
                   f"{name}: {json.dumps(theirs)} is taken", text)
        else:
            said = {r["option"]: r["desc"] for r in text}
            lacks = ("not built in" in said.get(name, "") or "can't be used" in said.get(name, "")
                     or "no UUID" in said.get(name, "") or "must be given" in said.get(name, ""))
            tap.ok(status == 1 and lacks, f"{name}: refused for what is missing: "
                   f"{said.get(name)}", (status, text))
        b.call("migrate_cancel")
        b.until("failed", "cancelled")
    tap.ok(taken_ones >= 4, f"{taken_ones} of them are taken")
    # A real source, a HELLO of several; and what concerns one side is not talked about.
    a = world.daemon("a", OLDER)
    uri = listen(b, config={"downtime-limit": 77})
    start(a, uri, {"verify": "full", "multifd": True, "multifd-channels": 3,
                   "downtime-limit": 500, "max-bandwidth": 4 << 20})
    b.until("active")
    config = b.call("query-migrate-config")
    tap.ok(config["multifd-channels"] == 3 and config["verify"] == "full" and
           config["downtime-limit"] == 77, "the source's where both must agree, its own elsewhere",
           config)
    a.call("migrate-set-config", **{"max-bandwidth": 0})
    good(tap, "a migration by them", a, b, finish(a, b), verify="full")


def unknown(world):
    """An option of a newer build: refused by name where it is used, and no trouble elsewhere."""
    b = world.daemon("b", SIM)
    status, _, text = ask(listen(b), {"of-tomorrow": True})
    tap.ok(status == 1 and text[0]["option"] == "of-tomorrow", f"unknown: {text}")
    bi = until_error(b, lambda text: "of-tomorrow" in text)
    tap.ok("of-tomorrow" in bi.get("error-desc", ""), f"destination: {bi.get('error-desc')}")


def minors(world):
    """The newest minor version and this one, each way, on one and on several channels."""
    a = world.daemon("a", OLDER)
    b = world.daemon("b", SIM, program=NEWER)
    multifd = {"multifd": True, "multifd-channels": 2, "verify": "full"}
    good(tap, "this version to a newer one", a, b, migrate(a, b))
    good(tap, "a newer one to this", b, a, migrate(b, a, config=multifd))
    good(tap, "and back", a, b, migrate(a, b, config=multifd))
    uri = listen(a)
    with Proxy(port_of(uri)) as p:
        start(b, p.uri)
        good(tap, "through a witness", b, a, finish(b, a))
        sent = wire.HEAD.unpack(bytes(p.data[0, "out"][:36]))
        back = wire.HEAD.unpack(bytes(p.data[0, "back"][:36]))
        _, version, _ = wire.hello_ack(bytes(p.data[0, "back"][40:40 + back[6]]))
    low, high = wire.HELLO_HEAD.unpack(bytes(p.data[0, "out"][40:104]))[:2]
    tap.ok((sent[1], low, high, version) == (0x1ff, 0x100, 0x1ff, back[1]) and version < high,
           f"1.0 to 1.255 was offered, 1.{version & 0xff} chosen", (sent, back, low, high, version))


def majors(world):
    """Another major version: each side's error names both versions, and nothing else happens."""
    for old, new, src, dst in ((DROVERD, STRANGER, 1, 200), (STRANGER, DROVERD, 200, 1)):
        a = world.daemon("a", OLDER, program=old)
        b = world.daemon("b", SIM, program=new)
        uri = listen(b)
        start(a, uri)
        info = a.until("failed", "completed")
        text = re.compile(rf"frame: version {dst}\.\d+, this build speaks {src}\.x")
        tap.ok(info["status"] == "failed" and text.search(info["error-desc"]) and a.running(),
               f"source of {src}: {info.get('error-desc')}", brief(info))
        text = re.compile(rf"frame: version {src}\.\d+, this build speaks {dst}\.x")
        info = until_error(b, text.search)
        tap.ok(info["status"] == "setup" and text.search(info.get("error-desc", "")) and
               info["drover"]["refused-connections"] == 1,
               f"destination of {dst}: {info.get('error-desc')}", brief(info))
        c = world.daemon("c", OLDER, program=new)
        follow(tap, "one of its own version", c, b, uri)
        world.over()


tap.run(differ, taken, unknown, minors, majors)
