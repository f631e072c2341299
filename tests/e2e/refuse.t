#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused, by name: at the command, or by the other side in the handshake."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DROVERCTL, Tap, brief, finish, good, listen, start  # noqa: E402

tap = Tap()
# Not built in: value that asks for it, and what must go with it.
NOT_BUILT_IN = {
    "tls-creds": "tls0", "xbzrle": True, "x-colo": True, "background-snapshot": True,
    "mapped-ram": True, "direct-io": True, "dirty-bitmaps": True, "late-block-activate": True,
    "rdma-pin-all": True, "dirty-limit": True, "mode": "cpr-reboot",
    "multifd-compression": "zstd", "tracker": "kmod", "fault-handler": "kmod",
    "xbzrle-cache-size": 8192, "multifd-zlib-level": 5, "x-rdma-chunk-size": 2 << 20,
    "announce-rounds": 3,
}
COMPANIONS = {"x-colo": {"return-path": True}}
DEST_ONLY = {"late-block-activate", "fault-handler", "announce-rounds"}
# kmod is there where its device is; but a simulated guest's RAM is no region of it.
if os.path.exists("/dev/drover"):
    del NOT_BUILT_IN["tracker"]


def ram(world):
    """Guests that are not alike."""
    a, b = world.sims("sim:size=32M,dirty=10M", "sim:size=64M")
    uri = listen(b)
    start(a, uri)
    info = a.until("failed", "completed")
    text = info.get("error-desc", "")
    tap.ok(info["status"] == "failed" and "ram0" in text and str(32 << 20) in text and
           str(64 << 20) in text and a.running(), f"sizes differ: {text}", brief(info))
    tap.ok(b.call("query-status")["status"] == "inmigrate" and b.status() == "setup" and
           b.info()["drover"]["refused-connections"] == 1, "the destination waits on",
           brief(b.info()))
    c = world.daemon("c", "sim:size=64M,dirty=10M")
    start(c, uri)
    good(tap, "for the right one", c, b, finish(c, b))


AGREE = [("verify", "none", "digest"), ("multifd", True, False), ("multifd-channels", 4, 2),
         ("switchover-ack", True, False), ("validate-uuid", True, False), ("one-way", True, False)]


def options(world):
    """What the incoming side was told must be met; each name, all in one answer."""
    a, b = world.sims("sim:size=16M", "sim:size=16M")
    for name, theirs, ours in AGREE:
        given = {name: theirs, **({"return-path": True} if name == "switchover-ack" else {})}
        uri = listen(b, config=given)
        start(a, uri, {name: ours})
        info = a.until("failed", "completed")
        tap.ok(info["status"] == "failed" and name in info["error-desc"] and a.running(),
               f"{name}: {info.get('error-desc')}", brief(info))
        b.call("migrate_cancel")
        b.until("failed", "cancelled")
    uri = listen(b, config={"verify": "full", "multifd": True, "multifd-channels": 8})
    start(a, uri, {"multifd": False})
    info = a.until("failed", "completed")
    tap.ok(all(n in info["error-desc"] for n in ("verify", "multifd", "multifd-channels")),
           "all of them at once", brief(info))
    start(a, uri, {"verify": "full", "multifd": True, "multifd-channels": 8})
    good(tap, "and met, to the same listener", a, b,
         finish(a, b))
    a, b = b, a
    uri = listen(b)
    start(a, uri, {"verify": "full", "multifd": True, "multifd-channels": 3})
    good(tap, "what was not given is taken from the source", a, b,
         finish(a, b))
    shown = b.call("query-migrate-config")
    tap.ok(shown["multifd"] is False and shown["verify"] == "digest",
           "and the stored settings stay as they were", (shown["multifd"], shown["verify"]))


def feasible(world):
    """What this build lacks is refused where it is asked for, by name, with what is missing."""
    a, b = world.sims("sim:size=16M", "sim:size=16M")
    before = a.call("query-migrate-config")
    for name, value in NOT_BUILT_IN.items():
        config = {name: value, **COMPANIONS.get(name, {})}
        side, command = (b, "migrate-incoming") if name in DEST_ONLY else (a, "migrate")
        text = side.error(command, uri="tcp:127.0.0.1:1" if side is a else "tcp:127.0.0.1:0",
                          config=config)
        tap.ok(text is not None and any(n in text for n in config), f"{name}: {text}")
    tap.ok(a.status() == "none" and a.running() and b.status() == "none" and b.running(),
           "nothing has happened", (a.info(), b.info()))
    tap.ok(a.call("query-migrate-config") == before, "and no setting has changed")


TRANSPORT = [
    ({"multifd": True}, "exec:cat", "multi"),
    ({"multifd": True}, "file:/nonexistent/x", "multi"),
    ({"multifd": True, "zero-copy-send": True}, "unix:/nonexistent/x", "zero-copy-send"),
    ({"switchover-ack": True, "return-path": True}, "file:/nonexistent/x", "switchover-ack"),
    ({}, "rdma:127.0.0.1:1", "rdma"),
    ({}, "ftp:127.0.0.1:1", "ftp"),
    ({}, "tcp:127.0.0.1", "127.0.0.1"),
    ({}, "fd:nobody", "nobody"),
]


def transport(world):
    """Transport against config, before anything is opened."""
    a = world.daemon("a", "sim:size=16M")
    for config, uri, word in TRANSPORT:
        text = a.error("migrate", uri=uri, config=config)
        tap.ok(text is not None and word in text, f"{uri} {config}: {text}")
    main = {"channel-type": "main", "addr": {"transport": "file", "filename": "/x", "offset": 0}}
    data = {"channel-type": "data", "addr": main["addr"]}
    post = {"channel-type": "postcopy", "addr": {"transport": "socket", "type": "inet",
                                                 "host": "::1", "port": "1"}}
    for channels, word in (([], "need either"), ([data], "main"), ([main, main], "main"),
                           ([main, post], "postcopy"), ([{"channel-type": "cpr"}], "")):
        text = a.error("migrate", channels=channels)
        tap.ok(text is not None and word in text, f"{len(channels)} channels: {text}")
    text = a.error("migrate", uri="tcp:127.0.0.1:1", channels=[main])
    tap.ok(text is not None, f"uri and channels: {text}")
    tap.ok(a.status() == "none" and a.running(), "nothing has happened")


def by_ctl(world):
    """droverctl says it too, and its exit status."""
    a = world.daemon("a", "sim:size=16M")
    p = subprocess.run([DROVERCTL, "-s", a.path, "migrate", "tcp:127.0.0.1:1", "--set",
                        "tls-creds=tls0"], capture_output=True, text=True, timeout=30,
                       stdin=subprocess.DEVNULL)
    tap.ok(p.returncode == 1 and "tls-creds" in p.stderr, "droverctl: status 1, the option's name",
           p)
    p = subprocess.run([DROVERCTL, "-s", a.path, "--json", "set", "max-bandwidth=nonsense"],
                       capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    tap.ok(p.returncode in (1, 2) and "max-bandwidth" in p.stdout + p.stderr, "a bad value", p)
    p = subprocess.run([DROVERCTL, "-s", a.path, "--json", "get"], capture_output=True, text=True,
                       timeout=30, stdin=subprocess.DEVNULL)
    tap.ok(p.returncode == 0 and len(json.loads(p.stdout)) > 60, "all options can be read", p)


tap.run(ram, options, feasible, transport, by_ctl)
