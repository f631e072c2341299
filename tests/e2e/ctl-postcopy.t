#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs of postcopy by droverctl alone: after some time, paused, gone on with; by hand."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DEADLINE, DONE, DROVERCTL, Tap, no_kvm  # noqa: E402

tap = Tap()


def ctl(d, *args):
    p = subprocess.run([DROVERCTL, "-s", d.path, *args], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, timeout=2 * DEADLINE)
    return p.returncode, p.stdout + p.stderr


def works(d, *args):
    r = ctl(d, *args)
    return tap.ok(r[0] == 0, " ".join(args[:1]) + " on " + d.name, r)


def arrived(name, a, b):
    check = b.until("completed") and b.verdict()
    tap.ok(a.status() == b.status() == "completed" and check.get("verdict") == "passed", name,
           f"{a.info()}\n{b.info()}\n{check}")


def paused(world):
    a, b = world.sims("sim:size=96M,dirty=20M,hot=32M", "sim:size=96M")
    uri, again = "unix:" + world.file("m"), "unix:" + world.file("again")
    works(b, "incoming", uri)
    works(a, "migrate", uri, "--postcopy-after", "1", "--set", "max-bandwidth=16M", "--set",
          "max-postcopy-bandwidth=8M")
    info = a.until("postcopy-active", *DONE)
    tap.ok(info["status"] == "postcopy-active", "postcopy after 1 s", info)
    d = info["drover"]
    tap.ok("expected-pages-us" not in d or d["expected-pages-us"] == 0,
           "the pages that follow are not in the expected downtime", d)
    works(a, "pause")
    tap.ok(a.until("postcopy-paused", *DONE)["status"] == "postcopy-paused" and
           b.until("postcopy-paused", *DONE)["status"] == "postcopy-paused", "both are paused")
    for side, order in ((a, "at the destination, then here"), (b, "here, then at the source")):
        r = ctl(side, "status")
        tap.ok(r[0] == 0 and re.search(f"droverctl recover URI' {order}", r[1]),
               f"{side.name} says what to do", r)
    works(b, "recover", again)
    r = ctl(a, "recover", again, "--wait")
    tap.ok(r[0] == 0 and r[1].startswith("completed in "), "recover --wait on a", r)
    arrived("all of it has arrived", a, b)


def by_hand(world):
    a, b = world.sims("sim:size=64M,dirty=20M,hot=32M", "sim:size=64M")
    uri = "unix:" + world.file("m")
    r = ctl(a, "postcopy")
    tap.ok(r[0] == 1 and r[1].startswith("droverctl: "), "postcopy of nothing is refused", r)
    works(b, "incoming", uri)
    works(a, "migrate", uri, "--set", "postcopy-ram=on", "--set", "max-bandwidth=8M")
    a.until("active", *DONE)
    works(a, "postcopy")
    r = ctl(a, "watch")
    tap.ok(r[0] == 0 and "completed in" in r[1],
           "watch to the end", r)
    arrived("all of it has arrived", a, b)


def new_source(world):
    """A new daemon of the source knows of no migration, and is told with the same verb."""
    vmms = world.vmm("vm-a", "--mem", "32M"), world.vmm("vm-b", "--mem", "32M", "--incoming")
    a, b = (world.daemon(n, "agent:" + v.agent) for n, v in zip("ab", vmms))
    uri = "unix:" + world.file("m")
    works(b, "incoming", uri)
    works(a, "migrate", uri, "--postcopy-after", "0", "--set", "max-postcopy-bandwidth=2M")
    # The source last: until it has heard of the commit it is in doubt, which is settled, not
    # recovered from.
    b.until("postcopy-active", *DONE)
    a.until("postcopy-active", *DONE)
    a.kill()
    a.restart()
    b.until("postcopy-paused", *DONE)
    r = ctl(a, "recover", uri, "--wait")
    tap.ok(r[0] == 0 and r[1].startswith("completed in "), "recover on a new daemon of a", r)
    arrived("all of it has arrived", a, b)


tap.run(paused, by_hand, *([] if no_kvm() else [new_source]))
