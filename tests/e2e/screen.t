#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`droverctl watch` on a real terminal: what tmux has on its screen, and the documentation's."""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "docs")]
from drover import ROOT, Tap  # noqa: E402
import screens  # noqa: E402

tap = Tap()
RATE = r"[0-9.]+ .?i?B/s"


def looks_right(name, early, stuck, last):
    """The three screens; whitespace and what was wrapped do not matter."""
    bar = re.search(rf"(?m)^active  \[#+\.+\] +(\d+)%  round 1  {RATE}  dirty {RATE}  ETA ", early)
    tap.ok(bar and 0 < int(bar[1]) < 100, f"{name}: a bar that is partly full", early)
    cells = re.search(r"\[(#+)(\.+)\]", early)
    full = len(cells[1]) / len(cells[0][1:-1]) * 100 if cells else -1
    tap.ok(bar and abs(full - int(bar[1])) <= 11, f"{name}: as full as it says", early)
    for label in ("sent", "dirty"):
        tap.ok(re.search(rf"(?m)^{label} +.*[\u2581-\u2588]{{8}} {RATE}, scale {RATE}$", stuck),
               f"{name}: a sparkline of what is {label}", stuck)
    tap.ok(re.search(rf"(?m)^channel main {RATE}, data/0 {RATE}, data/1 {RATE}$", stuck),
           f"{name}: a rate a channel", stuck)
    tap.ok(re.search(rf"will not converge because dirty rate {RATE} [>~] bandwidth {RATE}; try "
                     r"'droverctl set max-bandwidth=0'$", " ".join(stuck.split())),
           f"{name}: what to try, whole", stuck)
    tap.ok(max(map(len, stuck.split("\n"))) <= screens.COLUMNS, f"{name}: within the terminal",
           stuck)
    tap.ok(re.fullmatch(r"completed in [0-9.]+ s: .* sent, \d+ rounds, downtime \d+ ms\nstatus 0",
                        last), f"{name}: the verdict alone is left", last)


def terminal(world):
    looks_right("tmux", *screens.watch(world))


def documented(world):
    path = os.path.join(ROOT, "Documentation", "screens", "watch.txt")
    with open(path, encoding="utf-8") as f:
        parts = f.read().rstrip("\n").split("\n\n")
    if tap.ok(len(parts) == 3, "documentation: three screens", parts):
        looks_right("documentation", *parts)


tap.run(terminal, documented)
