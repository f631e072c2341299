#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands answer at once while the guest's VMM stands still: droverd's main thread waits for
no VMM and joins no thread that does. A request to a VMM has 10 s, an answer here SOON."""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import wire  # noqa: E402
from drover import SLOW, Tap, listen, no_kvm, skip_all, start  # noqa: E402

OWNER_QUERY = 19

SOON = 2 * SLOW
tap = Tap()


def quick(d, name, command, wanted=None, **args):
    """An answer, of whatever kind unless `wanted` is a part of its error, within SOON."""
    begin = time.monotonic()
    r = d.qmp.call(command, **args)
    took = time.monotonic() - begin
    desc = (r or {}).get("error", {}).get("desc", "")
    tap.ok(r is not None and took < SOON and (wanted is None or wanted in desc),
           f"{name}: {command} answers at once", f"{took:.1f} s, {r}")


class Frozen:
    def __init__(self, vmm):
        self.pid = vmm.pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *exc):
        os.kill(self.pid, signal.SIGCONT)


def source(world):
    vmm = world.vmm("vm", "--mem", "16M")
    d = world.daemon("a", "agent:" + vmm.agent)
    with Frozen(vmm):
        for command, args in (("query-migrate", {}), ("query-status", {}),
                              ("migrate", {"uri": "unix:" + world.file("no"), "resume": True}),
                              ("migrate-recover", {"uri": "unix:" + world.file("r")}),
                              ("query-jobs", {})):
            quick(d, "the VMM of an idle source stands", command, **args)
    start(d, "unix:" + world.file("nobody"))
    d.until("failed")
    with Frozen(vmm):
        quick(d, "after a failure", "migrate", uri="unix:" + world.file("nobody"))
        quick(d, "and again", "query-migrate")


def replaced(world):
    """A thread of the last job is in a request to the VMM when the next job begins."""
    vmm = world.vmm("vm", "--mem", "16M", "--incoming")
    d = world.daemon("b", "agent:" + vmm.agent)
    uri = "unix:" + world.file("m")
    a = world.daemon("a", "agent:" + world.vmm("from", "--mem", "16M").agent)
    start(a, listen(d, uri), {"max-bandwidth": 1 << 20})
    a.until("active")
    a.call("migrate_cancel")
    tap.ok(d.until("failed")["status"] == "failed", "a session failed, and it listens on")
    with Frozen(vmm), socket.socket(socket.AF_UNIX) as s:
        s.connect(world.file("m"))
        s.sendall(wire.frame(OWNER_QUERY, b"token of a test."))
        time.sleep(0.2 * SLOW)
        quick(d, "a question waits for the VMM's record", "query-migrate")
        quick(d, "the next job does not", "migrate-incoming", uri=uri)
        quick(d, "nor this", "query-status")
    tap.ok(d.until("setup")["status"] == "setup", "and it listens again", d.info())


def resumed(world):
    """A record that a dead droverd has left is known without asking again."""
    vmm = world.vmm("vm", "--mem", "16M", "--incoming")
    d = world.daemon("b", "agent:" + vmm.agent)
    with Frozen(vmm):
        quick(d, "no postcopy is known", "migrate-recover", "only be run when postcopy is paused",
              uri="unix:" + world.file("r"))
        quick(d, "nor one to resume", "migrate", "Cannot resume", resume=True,
              uri="unix:" + world.file("r"))


why = no_kvm()
if why:
    skip_all(why)
tap.run(source, replaced, resumed)
