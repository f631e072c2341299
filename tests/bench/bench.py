#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench: ratios against iperf3 and QEMU's multifd on one machine, in one run.

Every contender moves the same amount of incompressible RAM over loopback TCP into a
destination that was populated before. Contenders alternate; medians are compared. The
table goes between the marks in Documentation/performance.rst, bad figures too.

BENCH_PAIRS (5) rounds, BENCH_SIZE (2048) MiB, BENCH_QUICK=1 for a look.
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import ROOT, World, finish, listen, start  # noqa: E402
import droverqmp  # noqa: E402

QUICK = bool(os.environ.get("BENCH_QUICK"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "1" if QUICK else "5"))
SIZE = int(os.environ.get("BENCH_SIZE", "512" if QUICK else "2048"))
IDLE = 1024 if QUICK else 4096
PAGE = os.path.join(ROOT, "Documentation", "performance.rst")
TICK = os.sysconf("SC_CLK_TCK")
CHANNELS = (1, 2, 4)


def cpu(*pids):
    """CPU seconds used so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def progress(text):
    print(text, file=sys.stderr, flush=True)


class Drover:
    """One pair of daemons, the guest going back and forth."""

    def __init__(self, world, size, dirty="0", prefix=""):
        self.size = size
        self.src = world.daemon(prefix + "a", f"sim:size={size}M,dirty={dirty},prefault=on,seed=7")
        self.dst = world.daemon(prefix + "b", f"sim:size={size}M,prefault=on")

    def run(self, config):
        uri = listen(self.dst)
        pids = self.src.pid, self.dst.pid
        before = cpu(*pids)
        start(self.src, uri, config)
        a, b = finish(self.src, self.dst, within=120)
        if a["status"] != "completed" or b["status"] != "completed":
            raise RuntimeError(f"{config}: {a} {b}")
        used = cpu(*pids) - before
        self.dst.verdict(within=120)
        self.src, self.dst = self.dst, self.src
        d = a["drover"]
        moving = (a["total-time"] - a["setup-time"]) / 1000
        return {"rate": a["ram"]["normal-bytes"] / moving, "cpu": used / (self.size / 1024),
                "total": self.size * 2**20 / (a["total-time"] / 1000),
                "downtime": d["downtime-us"] / 1000,
                "expected": d.get("expected-downtime-us", 0) / 1000, "zc": d["zero-copy"],
                "setup": a["setup-time"]}


class Qemu:
    """A paused QEMU with RAM in a prefilled file moves to one with prealloc=on."""

    def __init__(self, world, size):
        self.world, self.size = world, size
        self.ram = f"/dev/shm/drover-bench-{os.getpid()}"
        with open(self.ram + "-src", "wb") as f:
            for _ in range(size):
                f.write(os.urandom(1 << 20))

    def close(self):
        for end in ("-src", "-dst"):
            if os.path.exists(self.ram + end):
                os.unlink(self.ram + end)

    def spawn(self, end, *more):
        sock = self.world.file("qemu" + end)
        if os.path.exists(sock):
            os.unlink(sock)
        p = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-machine", "pc,memory-backend=m",
             "-m", f"{self.size}M", "-object",
             f"memory-backend-file,id=m,size={self.size}M,mem-path={self.ram}{end},share=on,"
             "prealloc=on", "-nodefaults", "-display", "none", "-S", "-qmp",
             f"unix:{sock},server=on,wait=off", *more], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                return p, droverqmp.Client(sock)
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or p.poll() is not None:
                    raise RuntimeError("qemu does not answer") from None
                time.sleep(0.05)

    def run(self, channels):
        if os.path.exists(self.ram + "-dst"):
            os.unlink(self.ram + "-dst")
        a, qa = self.spawn("-src")
        b, qb = self.spawn("-dst", "-incoming", "defer")
        try:
            for q in (qa, qb):
                q.call("migrate-set-capabilities",
                       capabilities=[{"capability": "multifd", "state": True}])
                q.call("migrate-set-parameters", **{"multifd-channels": channels,
                                                    "max-bandwidth": 10**12})
            port = 20000 + os.getpid() % 20000
            qb.call("migrate-incoming", uri=f"tcp:127.0.0.1:{port}")
            before = cpu(a.pid, b.pid)
            qa.call("migrate", uri=f"tcp:127.0.0.1:{port}")
            while True:
                info = qa.call("query-migrate")["return"]
                if info.get("status") in ("completed", "failed"):
                    break
                time.sleep(0.01)
            if info["status"] != "completed":
                raise RuntimeError(f"qemu: {info}")
            used = cpu(a.pid, b.pid) - before
            moving = (info["total-time"] - info["setup-time"]) / 1000
            return {"rate": info["ram"]["normal-bytes"] / moving,
                    "total": info["ram"]["normal-bytes"] / (info["total-time"] / 1000),
                    "cpu": used / (self.size / 1024), "downtime": info["downtime"],
                    "setup": info["setup-time"]}
        finally:
            for p in (a, b):
                p.kill()
                p.wait()


def iperf(streams):
    port = str(40000 + os.getpid() % 20000)
    server = subprocess.Popen(["iperf3", "-s", "-1", "-p", port], stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    out = subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", port, "-l", "1M", "-P", str(streams),
                          "-t", "2", "-J"], capture_output=True, text=True, check=True).stdout
    server.wait(10)
    return {"rate": json.loads(out)["end"]["sum_received"]["bits_per_second"] / 8}


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def throughput(world):
    """{name: [result]} of all contenders, alternating."""
    plain = {"verify": "none", "multifd": True}
    contenders = {}
    pair, qemu = Drover(world, SIZE), Qemu(world, SIZE)
    for n in CHANNELS:
        contenders[f"iperf3 -l 1M -P {n}"] = lambda n=n: iperf(n)
        c = dict(plain, **{"multifd-channels": n})
        contenders[f"drover, {n}"] = lambda c=c: pair.run(c)
        z = dict(c, **{"zero-copy-send": True})
        contenders[f"drover, {n}, zero-copy"] = lambda z=z: pair.run(z)
        d = dict(c, verify="digest")
        contenders[f"drover, {n}, digest"] = lambda d=d: pair.run(d)
        contenders[f"QEMU multifd, {n}"] = lambda n=n: qemu.run(n)
    results = {name: [] for name in contenders}
    try:
        pair.run(dict(plain))           # warm both sides
        pair.run(dict(plain))
        for i in range(PAIRS):
            for name, run in contenders.items():
                r = run()
                results[name].append(r)
                progress(f"{i + 1}/{PAIRS} {name}: {r['rate'] / 1e9:.2f} GB/s")
    finally:
        qemu.close()
    for d in (pair.src, pair.dst):
        d.stop()
        world.started.remove(d)
    return results


def downtimes(world):
    rows = {}
    for name, size, dirty in (("idle", IDLE, "0"), ("100 MB/s dirtied", 1024, "100M")):
        pair = Drover(world, size, dirty, name[:1])
        c = {"multifd": True, "verify": "digest"}
        pair.run(c)
        rows[f"{size} MiB, {name}"] = [pair.run(c) for _ in range(max(PAIRS, 2))]
        for d in (pair.src, pair.dst):
            d.stop()
            world.started.remove(d)
        progress(f"downtime {name}: {median(rows[f'{size} MiB, {name}'], 'downtime'):.1f} ms")
    return rows


def version(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()[0]


def table(head, rows):
    widths = [max(len(str(r[i])) for r in [head] + rows) for i in range(len(head))]
    line = " ".join("=" * w for w in widths)
    text = [line, " ".join(str(h).ljust(w) for h, w in zip(head, widths)), line]
    text += [" ".join(str(c).ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows]
    return "\n".join(text + [line])


def ratio(results, a, b):
    return median(results[a], "rate") / median(results[b], "rate")


def verdicts(results, down):
    """(budget, measured, met)"""
    rows = []

    def add(text, value, limit, least=True):
        good = value >= limit if least else value < limit
        rows.append((text, f"{value:.2f}", "met" if good else "MISSED"))

    def tell(text, value):
        rows.append((text, f"{value:.2f}", ""))

    add("2 channels / iperf3 with 2 streams >= 0.9", ratio(results, "drover, 2",
                                                         "iperf3 -l 1M -P 2"), 0.9)
    add("2 channels / QEMU multifd 2 >= 1.5", ratio(results, "drover, 2", "QEMU multifd, 2"), 1.5)
    add("zero-copy / copy, 2 channels >= 0.95", ratio(results, "drover, 2, zero-copy",
                                                     "drover, 2"), 0.95)
    tell("digest / none, 2 channels", ratio(results, "drover, 2, digest", "drover, 2"))
    idle = next(iter(down))
    add(f"downtime of {idle} < 20 ms", median(down[idle], "downtime"), 20, least=False)
    add("CPU s/GiB, digest, 2 channels: drover / QEMU < 1",
        median(results["drover, 2, digest"], "cpu") / median(results["QEMU multifd, 2"], "cpu"),
        1, least=False)
    return rows


def machine():
    with open("/proc/cpuinfo") as f:
        model = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    with open(os.path.join(ROOT, "VERSION")) as f:
        ours = f.read().strip()
    return (f"drover {ours}; Linux {platform.release()}; {model}, {os.cpu_count()} CPUs")


def report(results, down):
    rows = [(name, f"{median(rs, 'rate') / 1e9:.2f}",
             f"{median(rs, 'total') / 1e9:.2f}" if "total" in rs[0] else "",
             f"{median(rs, 'cpu'):.2f}" if "cpu" in rs[0] else "",
             f"{min(r['rate'] for r in rs) / 1e9:.2f}..{max(r['rate'] for r in rs) / 1e9:.2f}")
            for name, rs in results.items()]
    down_rows = [(name, f"{median(rs, 'downtime'):.1f}", f"{median(rs, 'expected'):.1f}",
                  f"{median(rs, 'setup'):.0f}", len(rs)) for name, rs in down.items()]
    zc = results["drover, 2, zero-copy"][0]["zc"]
    return f"""{machine()};
{version('qemu-system-x86_64', '--version')}; {version('iperf3', '--version')}; {SIZE} MiB of incompressible RAM, {PAIRS}
rounds, {time.strftime('%Y-%m-%d')}. Sender and receiver share these CPUs.

{table(("budget", "measured", ""), verdicts(results, down))}

Rates in GB/s, medians. "moving" leaves out the time before the first page (arming trackers,
handshake), for both; "total" is RAM over the whole migration. CPU seconds are of both
processes for each GiB. Zero-copy: {zc}.

{table(("contender, channels", "moving", "total", "CPU s/GiB", "range"), rows)}

Downtime in ms, simulated guest, 2 channels, digests compared.

{table(("guest", "achieved", "expected", "setup", "runs"), down_rows)}
"""


def write(text, name="bench"):
    """Between the marks of this name in the page."""
    with open(PAGE) as f:
        page = f.read()
    head, rest = page.split(f".. {name}-begin\n", 1)
    tail = rest.split(f".. {name}-end", 1)[1]
    with open(PAGE, "w") as f:
        f.write(f"{head}.. {name}-begin\n\n{text}\n.. {name}-end{tail}")


def main():
    for tool in ("qemu-system-x86_64", "iperf3"):
        if not shutil.which(tool):
            sys.exit(f"bench: {tool} is missing (make deps-bench)")
    with World() as w:
        results, down = throughput(w), downtimes(w)
    text = report(results, down)
    print(text)
    if not QUICK:
        write(text)


if __name__ == "__main__":
    main()
