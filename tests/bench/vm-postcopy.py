#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-vm, its end: the rows that tests/vm/bench-postcopy.sh printed in the test guest,
as a table between the marks in Documentation/performance.rst."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from drover import BUILD  # noqa: E402
from bench import machine, table, write  # noqa: E402

ROW = re.compile(r"^# bench-postcopy: row (\d+) (on|off) ([^;]*);", re.M)
HOW = re.compile(r"^# bench-postcopy: rounds (\d+), (\d+) MiB, (\S+)$", re.M)


def us(text):
    return f"{float(text):.0f}"


def row(threads, push, figures):
    """Of each handler: waits, median, p99, seconds."""
    k, u = figures.split()[:4], figures.split()[4:]
    return (f"{threads} thread{'s' * (threads != '1')}, push {push}", us(k[1]), us(k[2]), us(k[0]),
            us(u[1]), us(u[2]), us(u[0]), f"{float(k[1]) / float(u[1]):.2f}",
            f"{float(k[2]) / float(u[2]):.2f}", f"{float(k[3]) / float(u[3]):.2f}")


def main():
    with open(os.path.join(BUILD, "vm", "tap")) as f:
        tap = f.read()
    rows, how = ROW.findall(tap), HOW.search(tap)
    if not rows or not how or "not ok" in tap:
        sys.exit("bench-vm: no rows of bench-postcopy in a good run")
    rounds, size, release = how.groups()
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    text = f"""{machine()}. Guest: Linux
{release}, 2 CPUs under TCG; {size} MiB of which nothing was sent; {rounds} rounds, medians of them,
{time.strftime('%Y-%m-%d')}. Load of the host at the end, this run's own two to three included: {load}.

{table(("who touches", "kmod", "p99", "waits", "uffd", "p99", "waits", "median", "p99", "time"),
       [row(*r) for r in rows])}
"""
    print(text)
    write(text, "bench-vm-postcopy")


if __name__ == "__main__":
    main()
