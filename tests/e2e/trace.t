#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The static tracepoints of droverd: those of trace.def are there, and agree with query-migrate."""
import collections
import os
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import (DEADLINE, DROVERD, ROOT, Tap, brief, finish, good, listen,  # noqa: E402
                    port_of, start)
from postcopy import begin  # noqa: E402
from proxy import Proxy  # noqa: E402
import usdt  # noqa: E402

tap = Tap()
PAGE, MIB = 4096, 1 << 20
ON = {"postcopy-ram": True, "postcopy-preempt": True, "postcopy-channels": 2, "multifd": True,
      "postcopy-blocktime": True, "events": True}
SIZE = 64 * MIB
WHO = {"a": "source", "b": "destination"}


def table():
    with open(os.path.join(ROOT, "userspace/base/trace.def")) as f:
        return {name: int(n) for n, name in re.findall(r"^TRACE(\d)\((\w+)", f.read(), re.M)}


def what_is_there(world):
    """The notes of the built file."""
    found = usdt.notes(DROVERD)
    tap.ok({n.provider for n in found} == {"drover"} and
           {n.name: len(n.args) for n in found} == table() and len(table()) > 8,
           f"{len(found)} notes: names and counts of arguments as in trace.def", found)
    bad = []
    for n in found:
        try:
            [usdt.decode(a) for a in n.args]
        except (ValueError, KeyError) as e:
            bad.append(f"{n}: {e}")
    tap.ok(not bad, "every argument is in a register or constant, so perf can read it", bad)
    with open(DROVERD, "rb") as f:
        code = f.read()
    tap.ok(all(code[n.offset] == 0x90 for n in found), "at each there is a nop", found)


def traced(world):
    """Two daemons of a file of their own, so that nobody else's fire here."""
    program = shutil.copy(DROVERD, world.file("droverd"))
    a = world.daemon("a", f"sim:size={SIZE},dirty=20M", program=program)
    b = world.daemon("b", f"sim:size={SIZE}", program=program)
    return a, b, program


def of(fired, name, daemon):
    return [f for f in fired if f.name == name and f.pid == daemon.pid]


def states_told(daemon):
    end, told = time.monotonic() + DEADLINE, []
    while time.monotonic() < end and told[-1:] != ["completed"]:
        daemon.info()               # reads what has come
        told = [e["data"]["status"] for e in daemon.qmp.events if e["event"] == "MIGRATION"]
    return told


def buckets(waits):
    ret = [0] * 24
    for us in waits:
        ret[min(max(us, 1).bit_length() - 1, 23)] += 1
    return ret


def all_fire(world):
    """A postcopy: each tracepoint as often, and with what, query-migrate tells."""
    a, b, program = traced(world)
    with usdt.Probes(program) as probes:
        start(a, listen(b, config=ON), {**ON, "postcopy-from-start": True})
        ends = finish(a, b)
        good(tap, "a postcopy, traced", a, b, ends)
        told = {d.name: states_told(d) for d in (a, b)}
        fired = probes.take()
        counts = probes.count()
        for d in (a, b):
            seen = of(fired, "state", d)
            tap.ok(told[d.name] and [f.text(2) for f in seen] == told[d.name] and
                   {f.text(0) for f in seen} == {WHO[d.name]} and
                   [f.text(1) for f in seen[1:]] == told[d.name][:-1],
                   f"state: as the events of the {WHO[d.name]}", (told, [f.text(2) for f in seen]))
    x, y = ends
    tap.ok(not probes.lost and sum(counts.values()) == len(fired),
           f"{len(fired)} in all, none lost", (probes.lost, counts))

    done, asked = of(fired, "fault_done", b), of(fired, "fault_request", b)
    dist = y["postcopy-latency-dist"]
    tap.ok(len(done) == y["drover"]["postcopy-waits"] > 0,
           f"fault_done: once a wait, {len(done)}", (counts, y["drover"]))
    tap.ok(buckets(f.args[3] for f in done) == dist, "its wait_us: postcopy-latency-dist",
           (dist, buckets(f.args[3] for f in done)))
    tap.ok({(f.args[0], f.args[1]) for f in done} <= {(f.args[0], f.args[1]) for f in asked} and
           all(f.args[0] == 0 and f.args[1] < SIZE // PAGE for f in asked),
           "each was a fault_request, of a page of the block", counts)
    threads = {t["thread"]: t["waits"] for t in y["drover"]["postcopy-threads"]}
    tap.ok(collections.Counter(f.args[2] for f in done if f.args[2]) == threads,
           f"and the waits of each thread: postcopy-threads, {threads}", y["drover"])
    requests = of(fired, "page_request", a)
    tap.ok(len(requests) == x["ram"]["postcopy-requests"] > 0 and
           {f.args[2] for f in requests} <= {0, 1} and
           {f.args[1] for f in requests} <= {f.args[1] for f in asked},
           "page_request: postcopy-requests", (counts, x["ram"]))
    placed = of(fired, "pages_placed", b)
    pages = sum(f.args[2] for f in placed)
    tap.ok(pages == SIZE // PAGE, "pages_placed: every page once", pages)

    begun, ended = of(fired, "round_begin", a), of(fired, "round_end", a)
    rounds = x["drover"]["rounds"]
    tap.ok([f.args[0] for f in begun] == [f.args[0] for f in ended] == [r["round"] for r in rounds]
           and [f.args[1] for f in ended] == [r["sent-bytes"] for r in rounds],
           "round_begin, round_end: drover.rounds", (rounds, [f.args for f in begun + ended]))
    over, stopped = of(fired, "handed_over", a), of(fired, "guest_paused", a)
    tap.ok(len(over) == 1 and over[0].args[0] == x["drover"]["downtime-us"] and
           0 < over[0].args[1] <= SIZE // PAGE, "handed_over: the downtime", (over, x["drover"]))
    runs = of(fired, "guest_resumed", b)
    tap.ok(len(stopped) == len(runs) == 1 and stopped[0].time < runs[0].time < over[0].time and
           runs[0].args[0] == y["drover"]["downtime-resume-us"],
           "the guest is stopped, resumed there, and handed over", (counts, y["drover"]))


def errors(world):
    """A connection that breaks."""
    a, b, program = traced(world)
    uri = listen(b, config=ON)
    with usdt.Probes(program) as probes, Proxy(port_of(uri)) as p:
        start(a, p.uri, {**ON, "max-bandwidth": 8 * MIB, "max-postcopy-bandwidth": 4 * MIB})
        begin(a, b)
        p.cut()
        infos = [d.until("postcopy-paused") for d in (a, b)]
        fired = probes.take()
        for d, info in zip((a, b), infos):
            seen = of(fired, "error", d)
            tap.ok(info["status"] == "postcopy-paused" and seen and
                   seen[-1].text(0) == WHO[d.name] and seen[-1].args[1] > 0 and
                   seen[-1].text(2) == info["error-desc"],
                   f"error: the error-desc of the {WHO[d.name]}: {info.get('error-desc')}",
                   (brief(info), [f.args for f in seen]))
        a.call("migrate", uri=p.uri, resume=True)
        a.until("postcopy-active", "completed")
        if a.status() != "completed":
            a.call("migrate-set-config", **{"max-postcopy-bandwidth": 0})
        good(tap, "resumed", a, b, finish(a, b))
        tap.ok(not probes.lost and set(probes.count()) == set(table()) and
               [f.text(2) for f in of(probes.take(), "state", a)][-1] == "completed",
               "and traced to its end", probes.count())


if os.path.exists(usdt.PMU):
    tap.run(what_is_there, all_fire, errors)
else:
    tap.skip("tracepoints fire", "this kernel has no uprobes", 2)
    tap.run(what_is_there)
