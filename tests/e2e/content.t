#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What arrives is what was there: poisoned destinations, holes, writers, every proof."""
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DEADLINE, SANITIZER, Tap, brief, finish, good, listen, migrate, start  # noqa: E402
from proxy import Fault, Proxy  # noqa: E402

tap = Tap()
MIB = 1 << 20
CHANNELS = [{}] + [{"multifd": True, "multifd-channels": n, "zero-copy-send": zc}
                   for n in (1, 2, 4) for zc in (False, True)]
AGAIN = 3


def channels(world):
    """Every way to send, with holes in the source and junk in the destination."""
    for config in CHANNELS:
        a, b = world.sims("sim:size=64M,dirty=30M,zero=50,seed=7", "sim:size=64M,poison=on")
        config = {**config, "verify": "full"}
        ends = migrate(a, b, config=config)
        good(tap, f"zero=50 into poison: {config}", a, b, ends)
        names = [c["name"] for c in ends[0]["drover"]["channels"]]
        want = ["main"] + [f"data/{i}" for i in range(config.get("multifd-channels", 0))]
        tap.ok(names == want, "the channels asked for", names)
        world.over()


def holes(world):
    """A hole is told, not sent, and stays one."""
    a, b = world.sims("sim:size=64M,zero=50", "sim:size=64M,poison=on,prefault=on")
    ends = migrate(a, b, config={"verify": "full"})
    good(tap, "zero=50, nobody writes, poisoned and prefaulted destination", a, b, ends)
    ram = ends[0]["ram"]
    data = ram["normal-bytes"]
    tap.ok(31 * MIB < data < 33 * MIB, f"half of it was sent: {data >> 20} MiB", ram)
    tap.ok(ram["transferred"] < data + MIB, "and little else", ram)


def zeros(world):
    """All of it zero, or none; without zero-page detection too."""
    for zero, config in ((100, {}), (0, {}), (50, {"zero-page-detection": "none"}),
                         (50, {"zero-page-detection": "legacy"})):
        a, b = world.sims(f"sim:size=16M,zero={zero},dirty=5M", "sim:size=16M,poison=on")
        good(tap, f"zero={zero} {config}", a, b, migrate(a, b, config={"verify": "full", **config}))
        world.over()


def verify(world):
    """Each proof with a guest that writes as fast as it moves, there and back."""
    dirty = "20M" if SANITIZER else "200M"      # one that slow hardly ever catches up with more
    a, b = world.sims(f"sim:size=64M,dirty={dirty}", "sim:size=64M,poison=on")
    for how in ("none", "digest", "audit", "full"):
        for config in ({}, {"multifd": True}):
            ends = migrate(a, b, config={"verify": how, **config})
            good(tap, f"verify={how} {config or ''}, dirty={dirty}", a, b, ends, how)
            digest = ends[1]["drover"].get("digest")
            if how == "none":
                tap.ok(digest in (None, "none"), "no digest is claimed", digest)
            if how == "audit":
                audited(a)
            a, b = b, a


def audited(source):
    end_info = source.info()
    for _ in range(int(DEADLINE * 100)):
        end_info = source.info()
        if not end_info["drover"]["auditing"]:
            break
    d = end_info["drover"]
    tap.ok(d.get("audited-pages") == 64 * MIB // 4096 and d.get("audit-differences") == 0,
           "audit: every page was looked at, none differs", brief(end_info))


def digest_finds(world):
    """A bit flipped on the wire is named by the digest, and by the guest when there is none."""
    a, b = world.sims("sim:size=32M", "sim:size=32M")
    uri = listen(b)
    with Proxy(int(uri.rsplit(":", 1)[1]), Fault("flip", 20 * MIB + 5, bit=3)) as p:
        start(a, p.uri)
        ai, bi = a.until("failed"), b.until("failed")
        tap.ok(ai["status"] == "failed" and a.running() and "igest" in ai["error-desc"],
               "source: the digests differ, the guest runs on", brief(ai))
        named = ai["drover"]["bad-pages"] + bi["drover"]["bad-pages"]
        tap.ok(named and all(n.startswith("ram0:") for n in named), f"the page is named: {named}",
               brief(bi))
    good_again(a, b, uri, "after it a good one, to the same listener")
    a, b = b, a
    uri = listen(b)
    with Proxy(int(uri.rsplit(":", 1)[1]), Fault("flip", 20 * MIB + 5, bit=3)) as p:
        start(a, p.uri, {"verify": "none"})
        a.until("completed", "failed")
        check = b.verdict()
        tap.ok(check.get("verdict") == "failed" and check.get("bad-pages") == 1,
               "verify=none: only the guest itself notices", check)


def good_again(a, b, uri, name):
    start(a, uri)
    ends = finish(a, b)
    good(tap, name, a, b, ends)


def identity(world):
    """A guest is its state: what a destination was started with does not shine through."""
    a, b = world.sims("sim:size=16M,seed=5,dirty=10M", "sim:size=16M,seed=6,dirty=10M")
    for i in range(AGAIN):
        good(tap, f"the guest brings its seed along, move {i + 1}", a, b, migrate(a, b))
        a, b = b, a


def shared(world):
    """RAM that both sides hold is not sent; whose it is, is clear at every moment."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="drover-test-") as d:
        a, b = world.sims(f"sim:size=64M,dirty=30M,seed=9,file={d}/ram",
                          f"sim:size=64M,file={d}/ram")
        tap.ok(a.running() and not b.running(), "who finds the file waits")
        why = b.error("migrate-incoming", uri="tcp:127.0.0.1:0") or ""
        tap.ok("x-ignore-shared is off" in why, f"nobody empties RAM of another: {why}")
        on = {"x-ignore-shared": True}
        for i in range(AGAIN):
            ends = migrate(a, b, config=on, dst_config=on)
            good(tap, f"x-ignore-shared, move {i + 1}", a, b, ends)
            sent = ends[0]["ram"]["transferred"]
            tap.ok(sent < MIB and not ends[0]["ram"]["normal"], f"{sent} bytes were sent", ends)
            a, b = b, a
        c = world.daemon("c", "sim:size=64M")
        why = c.error("migrate-incoming", uri="tcp:127.0.0.1:0", config=on) or ""
        tap.ok("no RAM block of this guest is shared" in why, f"nothing is shared: {why}")
        good(tap, "from a file to memory of one's own, RAM sent", a, c, migrate(a, c))


tap.run(channels, holes, zeros, verify, digest_finds, identity, shared)
