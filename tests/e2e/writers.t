#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writers of guest RAM that trackers of page tables do not see, with real processes.

Refused with what to do; or allowed, and then the migration says so for ever. What is seen, and
what an audit reports, is in kvm.t; row by row it is in tests/unit/track-writers.c. Skipped
where /dev/kvm is missing or refuses.
"""
import mmap
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DROVERCTL, Tap, brief, finish, good, listen, migrate, no_kvm,  # noqa: E402
                    skip_all, start)

tap = Tap()
MEM = ["--mem", "32M", "--dirty", "5M"]
ALLOW = {"unsafe-device-writes": "allow"}


def pair(world, *args):
    va, vb = world.vmm("vm-a", *MEM, *args), world.vmm("vm-b", *MEM, *args, "--incoming")
    return va, vb, world.daemon("a", "agent:" + va.agent), world.daemon("b", "agent:" + vb.agent)


def refused(a, uri, parts, **config):
    start(a, uri, config)
    info = a.until("failed", "completed")
    text = info.get("error-desc", "")
    tap.ok(info["status"] == "failed" and all(p in text for p in parts) and a.until_runs(),
           f"refused, {config}: {text}", brief(info))


def says_so(a, what):
    """query-migrate, droverctl status and the report's page."""
    for verb, *args in (("status",), ("report", a.path + ".html")):
        p = subprocess.run([DROVERCTL, "-s", a.path, verb, *args], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=60)
        out = p.stdout
        if verb == "report" and p.returncode == 0:
            with open(a.path + ".html") as f:
                out = f.read()
        tap.ok(p.returncode == 0 and "unsafe-device-writes" in out, f"droverctl {verb} says so",
               p.stdout + p.stderr)
    report = a.info()["drover"]["tracker-report"]
    tap.ok(what in report, "the tracker's report has what it is", report)


def disk(world):
    _, _, a, b = pair(world, "--disk", world.file("disk") + ",report=none")
    uri = listen(b)
    parts = ("O_DIRECT", "drover_agent_wrote", "tracker=kmod", "unsafe-device-writes=allow")
    refused(a, uri, parts)
    refused(a, uri, parts, tracker="pagemap-scan")
    start(a, uri, ALLOW)
    ends = finish(a, b)
    good(tap, "a disk that is not reported, allowed", a, b, ends)
    says_so(a, "LOST when late")


def reported(world, how):
    _, _, a, b = pair(world, "--disk", world.file("disk") + ",report=" + how)
    ends = migrate(a, b, config={"verify": "full"})
    good(tap, f"a disk, report={how}", a, b, ends, "full")
    ours, check = ends[0]["drover"], b.verdict()
    tap.ok(ours["tracker"].endswith("+wrote") and check.get("verdict") == "passed" and
           check["disk"]["reads"] > 0 and check["disk"]["writes"] > 0,
           f"{ours['tracker']}, {check.get('disk')}", check)


def wrote(world):
    reported(world, "wrote")


def counted(world):
    reported(world, "count")


def none(world):
    """The control: without a disk nobody asks for anything."""
    _, _, a, b = pair(world)
    ends = migrate(a, b)
    good(tap, "no disk", a, b, ends)
    tap.ok("no direct I/O" in ends[0]["drover"]["tracker-report"] and
           "unsafe" not in ends[0]["drover"]["tracker"], "and it is said", ends[0]["drover"])


def process(world):
    """Another process maps the RAM, as a vhost-user backend does."""
    va, _, a, b = pair(world)
    fds = f"/proc/{va.pid}/fd"
    ram = next(n for n in os.listdir(fds) if os.readlink(f"{fds}/{n}").startswith("/memfd:ram0"))
    uri = listen(b)
    with open(f"{fds}/{ram}", "r+b") as f:
        m = mmap.mmap(f.fileno(), 1 << 20)
        refused(a, uri, (f"process {os.getpid()} maps RAM ram0", "unsafe-device-writes=allow"))
        m.close()
        m = mmap.mmap(f.fileno(), 1 << 20, prot=mmap.PROT_READ)
        start(a, uri)
        ends = finish(a, b)
        good(tap, "one that only reads is no writer", a, b, ends)
        m.close()


why = no_kvm()
if why:
    skip_all(why)
tap.run(disk, wrote, counted, none, process)
