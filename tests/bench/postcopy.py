#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-postcopy: how long who touches a missing page waits, and how fast the rest comes.

Guests are threads of tests/bench/touch.c that touch random pages of a memory of which none
was sent; each touch is timed by the one who waits. Compared with a ping-pong of one page over
the same kind of socket in the same run, and with QEMU's postcopy-preempt by its own
postcopy-blocktime. Background push against precopy, both of a sim guest. The table goes
between the marks in Documentation/performance.rst. BENCH_QUICK=1 for a look, BENCH_ROUNDS=N for
others than five.
"""
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import BUILD, Process, ROOT, World, finish, listen, start  # noqa: E402
from bench import machine, progress, table, version, write  # noqa: E402
import droverqmp  # noqa: E402

QUICK = bool(os.environ.get("BENCH_QUICK"))
ROUNDS = 1 if QUICK else int(os.environ.get("BENCH_ROUNDS", 5))
SIZE = 256
BULK = 512 if QUICK else 2048
IDLE = 1024 if QUICK else 4096
TOUCH = os.path.join(BUILD, "bench", "touch")
SLOWEST = 4096      # bytes/s: the push stands still after its first frame


class Toucher(Process):
    def __init__(self, world, name, *args):
        self.name, self.agent = name, world.file(name + ".agent")
        super().__init__([TOUCH, self.agent, *args], world.file(name + ".log"))
        world.started.append(self)
        end = time.monotonic() + 60
        while not os.path.exists(self.agent):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{name}: {self.text()}")
            time.sleep(0.01)

    def stop(self):
        self.kill()
        return 0

    def line(self, key, within=120):
        end = time.monotonic() + within
        while time.monotonic() < end:
            for text in self.text().splitlines():
                if text.startswith("{") and text.endswith("}") and key in json.loads(text):
                    return json.loads(text)
            time.sleep(0.01)
        raise RuntimeError(f"{self.name}: no {key}: {self.text()}")


def pair(w, size, threads, touches):
    src = Toucher(w, "sv", str(size), "source")
    dst = Toucher(w, "dv", str(size), "dest", str(threads), str(touches))
    return dst, w.daemon("s", "agent:" + src.agent), w.daemon("d", "agent:" + dst.agent)


def completed(a, b, within=120):
    x, y = finish(a, b, within)
    if x["status"] != "completed" or y["status"] != "completed":
        raise RuntimeError(f"{x} {y}")
    return x, y


def latency(threads, push):
    """Waits of a run: {waits, median_us, p99_us}."""
    config = {"postcopy-ram": True, "postcopy-from-start": True, "postcopy-preempt": True,
              "postcopy-channels": min(threads, 8), "multifd": True,
              "max-postcopy-bandwidth": 0 if push else SLOWEST}
    with World() as w:
        dv, a, b = pair(w, SIZE, threads, 4000 // threads)
        start(a, listen(b), config)
        r = dv.line("median_us")
        a.call("migrate-set-config", **{"max-postcopy-bandwidth": 0})
        completed(a, b)
    return r


def pingpong():
    out = subprocess.run([TOUCH, "pingpong", "20000"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def resume_ms(limited):
    """From migrate-start-postcopy to the guest's running there; about half has been sent.

    Either at a rate that the network bears, when the destination's memory is populated; or at
    one that keeps all buffers full, and what is in them has to arrive first.
    """
    seconds = 6 if limited else 1
    config = {"postcopy-ram": True, "multifd": True, "max-bandwidth": (IDLE << 19) // seconds}
    with World() as w:
        dv, a, b = pair(w, IDLE, 0, 0)
        start(a, listen(b), config)
        a.until("active")
        time.sleep(seconds)
        t = time.monotonic_ns()
        a.call("migrate-start-postcopy")
        r = dv.line("resumed_ns")["resumed_ns"]
        x, _ = completed(a, b)
    return (r - t) / 1e6, x["drover"]["downtime-us"] / 1000


def bulk(config):
    """Bytes a second while pages move; 2 data channels, idle guest, both sides populated."""
    with World() as w:
        a = w.daemon("a", f"sim:size={BULK}M,prefault=on,seed=7")
        b = w.daemon("b", f"sim:size={BULK}M,prefault=on")
        start(a, listen(b), {"multifd": True, **config})
        x, _ = completed(a, b)
        b.verdict(within=120)
    return x["ram"]["normal-bytes"] / ((x["total-time"] - x["setup-time"]) / 1000)


def boot_sector(w):
    obj, image = w.file("touch.o"), w.file("touch.bin")
    subprocess.run(["as", "--defsym", f"PAGES={SIZE * 256 - 512}", "-o", obj,
                    os.path.join(ROOT, "tests/bench/qemu-touch.S")], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64", "-Ttext", "0x7c00", "--oformat", "binary",
                    "-o", image, obj], check=True)
    return image


def client(process, sock):
    end = time.monotonic() + 60
    while True:
        try:
            return droverqmp.Client(sock)
        except (FileNotFoundError, ConnectionRefusedError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("qemu does not answer") from None
            time.sleep(0.05)


def qemu(push):
    """Mean wait of QEMU's one vCPU, in us, and how many: its blocktime over its requests."""
    with World() as w:
        image = boot_sector(w)
        serial = w.file("serial")
        ends = []
        for end, more in (("src", ["-serial", "file:" + serial]),
                          ("dst", ["-serial", "null", "-incoming", "defer"])):
            sock = w.file(end)
            p = subprocess.Popen(
                ["qemu-system-x86_64", "-accel", "tcg", "-m", f"{SIZE}M", "-nodefaults", "-display",
                 "none", "-drive", f"file={image},format=raw,snapshot=on,if=ide", "-qmp",
                 f"unix:{sock},server=on,wait=off", *more], stdin=subprocess.DEVNULL)
            ends.append((p, sock))
        try:
            qa, qb = (client(*end) for end in ends)
            while not os.path.exists(serial) or not os.path.getsize(serial):
                time.sleep(0.05)
            for q in (qa, qb):
                q.call("migrate-set-capabilities", capabilities=[
                    {"capability": c, "state": True}
                    for c in ("postcopy-ram", "postcopy-preempt", "postcopy-blocktime")])
            qa.call("migrate-set-parameters", **{"max-bandwidth": 1 << 20,
                                                 "max-postcopy-bandwidth":
                                                 0 if push else SLOWEST})
            port = 20000 + os.getpid() % 20000
            qb.call("migrate-incoming", uri=f"tcp:127.0.0.1:{port}")
            qa.call("migrate", uri=f"tcp:127.0.0.1:{port}")
            while qa.call("query-migrate")["return"].get("status") != "active":
                time.sleep(0.01)
            qa.call("migrate-start-postcopy")
            time.sleep(3)
            # It tells the time when it has completed.
            qa.call("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
            end = time.monotonic() + 60
            while qb.call("query-migrate")["return"].get("status") != "completed":
                if time.monotonic() > end:
                    raise RuntimeError(f"qemu: {qb.call('query-migrate')}")
                time.sleep(0.05)
            requests = qa.call("query-migrate")["return"]["ram"]["postcopy-requests"]
            blocked = qb.call("query-migrate")["return"]["postcopy-vcpu-blocktime"][0]
            return blocked * 1000 / max(requests, 1), requests
        finally:
            for p, _ in ends:
                p.kill()
                p.wait()


def measure():
    cases = [(t, push) for t in (1, 2, 8) for push in (False, True)]
    waits = {c: [] for c in cases}
    pings, resumes, theirs = [], {True: [], False: []}, {False: [], True: []}
    bulks = {"precopy": {"verify": "none"}, "precopy, digest": {},
             "postcopy": {"verify": "none", "postcopy-ram": True, "postcopy-from-start": True},
             "postcopy, digest": {"postcopy-ram": True, "postcopy-from-start": True}}
    rates = {name: [] for name in bulks}
    for i in range(ROUNDS):
        pings.append(pingpong())
        for c in cases:
            waits[c].append(latency(*c))
            progress(f"{i + 1}/{ROUNDS} {c}: {waits[c][-1]}; ping-pong {pings[-1]['median_us']}")
        for push in theirs:
            theirs[push].append(qemu(push))
        for limited, runs in resumes.items():
            runs.append(resume_ms(limited))
        progress(f"{i + 1}/{ROUNDS} QEMU {theirs[False][-1]} {theirs[True][-1]}, resumed after "
                 f"{resumes[True][-1]}, with full buffers {resumes[False][-1]}")
        for name, config in bulks.items():
            rates[name].append(bulk(config))
            progress(f"{i + 1}/{ROUNDS} {name}: {rates[name][-1] / 1e9:.2f} GB/s")
    return waits, pings, resumes, theirs, rates


def mid(rows, key):
    return statistics.median(r[key] for r in rows)


def budget(text, value, limit, least):
    good = value >= limit if least else value <= limit
    return text, f"{value:.2f}", "met" if good else "MISSED"


def report(waits, pings, resumes, theirs, rates):
    ping = mid(pings, "median_us")
    rate = {name: statistics.median(r) for name, r in rates.items()}
    down, down_full = (statistics.median(r[1] for r in resumes[limited]) for limited in (True, False))
    resumed, full = (statistics.median(r[0] for r in resumes[limited]) for limited in (True, False))
    budgets = [
        budget("wait / ping-pong, 1 thread, push off <= 3", mid(waits[1, False], "median_us") / ping,
               3, False),
        budget("push / precopy, 2 channels >= 0.8", rate["postcopy"] / rate["precopy"], 0.8, True),
        budget("push / precopy, digests >= 0.8", rate["postcopy, digest"] /
               rate["precopy, digest"], 0.8, True),
        budget(f"{IDLE} MiB resumed after migrate-start-postcopy, ms <= 30", resumed, 30, False),
        budget("the same, when precopy had filled all buffers", full, 30, False)]
    rows = [("ping-pong of a page, the limit", f"{ping:.0f}", f"{mid(pings, 'p99_us'):.0f}", "1.0", "")]
    rows += [(f"{t} thread{'s' * (t > 1)}, push {'on' if push else 'off'}",
              f"{mid(r, 'median_us'):.0f}", f"{mid(r, 'p99_us'):.0f}",
              f"{mid(r, 'median_us') / ping:.1f}", f"{mid(r, 'waits'):.0f}")
             for (t, push), r in waits.items()]
    for push, runs in theirs.items():
        mean = statistics.median(m for m, _ in runs)
        rows.append((f"QEMU, 1 vCPU, push {'on' if push else 'off'}: mean", f"{mean:.0f}", "",
                     f"{mean / ping:.1f}", f"{statistics.median(n for _, n in runs):.0f}"))
    return f"""{machine()};
{version('qemu-system-x86_64', '--version')}; {ROUNDS} rounds, {time.strftime('%Y-%m-%d')}. userfaultfd; source,
destination and guest share these CPUs.

{table(("budget", "measured", ""), budgets)}

How long a touch of a missing page waits, in us; {SIZE} MiB of which nothing was sent, urgent channels
as threads (8 at most). QEMU's figure is the mean: its postcopy-blocktime over its requests, of a
guest under TCG (whose own slowness is not in it) with postcopy-preempt. "Push off" is a
max-postcopy-bandwidth of {SLOWEST} bytes/s, which QEMU 7.2 applies to what is waited for, too.

{table(("who touches", "median", "p99", "of the limit", "waits"), rows)}

Push of {BULK} MiB in GB/s: {", ".join(f"{n} {r / 1e9:.2f}" for n, r in rate.items())}. Downtime of the
{IDLE} MiB guest {down:.1f} ms, with full buffers {down_full:.1f} ms. Half of it was sent within 6 s; with full
buffers within 1 s, at more than source and destination can do on these CPUs.
"""


def main():
    text = report(*measure())
    print(text)
    if not QUICK:
        write(text, "bench-postcopy")


if __name__ == "__main__":
    main()
