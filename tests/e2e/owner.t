#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose the guest is and whether it runs: the user's will, a stream that ends badly, a VMM
that comes back."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import DEADLINE, Tap, brief, finish, listen, no_kvm, start  # noqa: E402

tap = Tap()
SLOW = {"max-bandwidth": 1 << 20}
ONE_WAY = {"one-way": True, "max-bandwidth": 0}


def moves(world):
    a, b = world.sims()
    a.order("stop")
    tap.ok(a.until_runs(False), "stop")
    start(a, listen(b))
    finish(a, b)
    tap.ok(b.call("query-status")["status"] == "paused" and not a.running(),
           "a guest that its user stopped is stopped where it arrives", brief(b.info()))
    text = a.error("cont")
    tap.ok(text and "released" in text and "at the destination" in text, f"cont there: {text}")
    b.order("cont")
    tap.ok(b.until_runs() and b.verdict()["verdict"] == "passed", "cont: it runs")


def stays(world):
    a, b = world.sims()
    a.order("stop")
    a.until_runs(False)
    start(a, listen(b), SLOW)
    a.until("active")
    a.call("migrate_cancel")
    a.until("cancelled")
    tap.ok(not a.running(), "a cancelled migration does not start it")
    a.order("cont")
    tap.ok(a.until_runs(), "cont does")
    text = b.error("stop")
    tap.ok(text and ("incoming" in text or "fenced" in text) and "at the source" in text,
           f"stop at the destination: {text}")


def stream(world):
    a = world.daemon("a", "sim:size=16M,dirty=1M")
    start(a, "exec:cat > /dev/null; exit 3", ONE_WAY)
    info = a.until("failed")
    time.sleep(0.3)
    tap.ok(info["status"] == "failed" and not a.running() and
           "status 3" in info["error-desc"] and "settle --force own" in info["error-desc"],
           "a stream that ends badly: the guest stays in doubt", brief(info))
    for command in ("cont", "stop"):
        text = a.error(command)
        tap.ok(text and "in-doubt" in text, f"{command}: {text}")
    text = a.error("migrate", uri="tcp:127.0.0.1:1")
    tap.ok(text and "in-doubt" in text, f"migrate: {text}")
    a.call("migrate-settle", own=True)
    tap.ok(a.until_runs(), "settle own: it runs here")


def killed(world):
    vmm = world.vmm("vm", "--mem", "16M")
    a = world.daemon("a", "agent:" + vmm.agent)
    to = world.vmm("to", "--mem", "16M", "--incoming")
    b = world.daemon("b", "agent:" + to.agent)
    a.order("stop")
    a.until_runs(False)
    start(a, listen(b), SLOW)
    a.until("active")
    a.kill()
    a.restart()
    tap.ok(not a.running(), "its daemon is killed in a migration: the guest stays stopped")
    a.order("cont")
    tap.ok(a.until_runs(), "until cont")
    a.order("stop")
    a.until_runs(False)
    start(a, listen(b))
    finish(a, b)
    b.kill()
    b.restart()
    tap.ok(not b.running(), "and at the destination")
    b.order("cont")
    tap.ok(b.until_runs(), "until cont")


def comes_back(world):
    vmm = world.vmm("vm", "--mem", "16M")
    a = world.daemon("a", "agent:" + vmm.agent)
    vmm.kill()
    world.started.remove(vmm)
    end = time.monotonic() + DEADLINE
    while a.call("query-status")["status"] != "shutdown" and time.monotonic() < end:
        time.sleep(0.01)
    tap.ok(a.call("query-status")["status"] == "shutdown", "a VMM is killed")
    world.vmm("vm", "--mem", "16M")
    tap.ok(a.until_runs(), "and started anew at its path: its daemon attaches again")
    a.order("stop")
    tap.ok(a.until_runs(False), "and has it in hand")


parts = [moves, stays, stream]
reason = no_kvm()
if reason:
    tap.skip("with a KVM guest", reason)
else:
    parts += [killed, comes_back]
tap.run(*parts)
