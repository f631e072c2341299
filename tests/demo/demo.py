#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make demo: a running KVM guest moves from one process to another over TCP.

Where /dev/kvm is missing or refuses, a simulated guest moves, and it says so. Exit status
0 only when the guest has arrived whole and runs on exactly one side.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import Tap, World, listen, no_kvm, start, finish  # noqa: E402

MEM, DIRTY = "512M", "50M"
CONFIG = {"multifd": True, "verify": "audit", "downtime-limit": 100}
PARTS = ("pause", "harvest", "pages", "state", "digest", "commit")


def say(text=""):
    print(text, flush=True)


def kvm_pair(w):
    """Two VMMs, the source's guest at work, and a daemon for each."""
    a = w.vmm("vm-a", "--mem", MEM, "--dirty", DIRTY)
    b = w.vmm("vm-b", "--mem", MEM, "--incoming")
    return a, b, w.daemon("a", "agent:" + a.agent), w.daemon("b", "agent:" + b.agent)


def sim_pair(w):
    a, b = w.sims(f"sim:size={MEM},dirty={DIRTY},zero=30", f"sim:size={MEM}")
    return None, None, a, b


def continued(before, after):
    """Each vCPU's count goes on where it stopped; None, or what is wrong."""
    for cpu in sorted({c for c, _ in before}):
        old = [n for c, n in before if c == cpu]
        new = [n for c, n in after if c == cpu]
        if len(old) < 2 or not new:
            return f"vcpu {cpu}: {len(old)} beats there, {len(new)} here"
        steps = {y - x for x, y in zip((old + new)[:-1], (old + new)[1:])}
        if len(steps) != 1:
            return f"vcpu {cpu}: steps {sorted(steps)}"
    return None if before else "no heartbeat"


def summary(a, b):
    ram, d = a["ram"], a["drover"]
    moved = (a["total-time"] - a.get("setup-time", 0)) / 1000
    say(f"  time            {a['total-time'] / 1000:.2f} s, {a['setup-time'] / 1000:.2f} s of it "
        "to arm the trackers and shake hands")
    say(f"  rounds          {d['round']}")
    say(f"  bytes           {ram['transferred'] >> 20} MiB "
        f"({ram['transferred'] / max(moved, 1e-3) / 1e9:.2f} GB/s), {ram['normal']} pages")
    say(f"  zero pages      {ram['duplicate']}")
    say(f"  downtime        {d['downtime-us'] / 1000:.1f} ms "
        f"(expected {d.get('expected-downtime-us', 0) / 1000:.1f} ms)")
    say("                  " + ", ".join(f"{p} {d.get('downtime-' + p + '-us', 0) / 1000:.1f}"
                                          for p in PARTS))
    say(f"  tracker         {d['tracker']}")
    for line in d["tracker-report"].splitlines():
        say("                  " + line)
    say(f"  digest          {d['digest']}, {d.get('audited-pages', 0)} pages re-hashed after COMMIT, "
        f"{d.get('audit-differences', 0)} differ")
    say(f"  destination     {b['status']}")


def move(w):
    reason = no_kvm()
    if reason:
        say(f"No KVM guest here ({reason}); a simulated guest moves instead.")
    vm_a, vm_b, a, b = sim_pair(w) if reason else kvm_pair(w)
    say(f"{'A simulated' if reason else 'A KVM'} guest of {MEM} dirties {DIRTY}/s. "
        "It runs in one process and is to go on in another.\n")
    time.sleep(1)
    start(a, listen(b), CONFIG)
    ends = finish(a, b)
    if ends[0]["status"] != "completed":
        say(f"The migration failed: {ends[0].get('error-desc')}; destination: "
            f"{ends[1].get('error-desc')}")
        return False
    check = b.verdict(within=60)
    while a.info()["drover"].get("auditing"):
        time.sleep(0.05)
    summary(a.info(), b.info())
    ok = a.info()["drover"]["digest"] == "equal"
    say(f"  self-check      {check.get('verdict')}: {check.get('pages-checked', 0)} pages, "
        f"{check.get('bad-pages', 0)} bad; {check.get('text', '')}")
    ok &= check.get("verdict") == "passed"
    if vm_a:
        time.sleep(0.5)
        wrong = continued(vm_a.beats(), vm_b.beats())
        say(f"  heartbeat       {wrong or 'goes on without a gap or repeat'}")
        ok &= wrong is None
    one = (a.running(), b.running()) == (False, True)
    say(f"  runs on         {'the destination only' if one else 'NOT exactly one side'}")
    return ok and one


def main():
    with World(Tap()) as w:
        good = move(w)
    say("\nThe guest has moved." if good else "\nThe demo FAILED.")
    return 0 if good else 1


sys.exit(main())
