#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`droverctl report` in headless Chromium without any network: is all of it drawn?

make check-web, which installs Chromium. Colours are looked for, not pixels in their places:
bars, lines and segments have colours of their own. The documentation's pictures, too.
"""
import os
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "docs")]
from drover import ROOT, Tap  # noqa: E402
import screens  # noqa: E402

tap = Tap()
BIGGEST = 300 * 1024
# --c0, --c6, --c4, --c2 of the page's style: a round, the last one, the dirty rate, last pages
PARTS = (("a round's bar", "2f7ed8", "4f97e5", 5000), ("the last round", "d9534f", "ec6d68", 100),
         ("the dirty rate", "d98a00", "f0a93c", 200), ("last pages", "7450c9", "9478e0", 300))


def chunks(data):
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, data[at + 8:at + 8 + size]
        at += size + 12


def unfilter(kind, line, above, step):
    """One line of a PNG as it was before its filter."""
    for i, v in enumerate(line):
        left = line[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        if kind == 4:
            p = left + above[i] - corner
            near = min((abs(p - left), 0, left), (abs(p - above[i]), 1, above[i]),
                       (abs(p - corner), 2, corner))
            line[i] = (v + near[2]) & 255
        else:
            line[i] = (v + (0, left, above[i], (left + above[i]) // 2)[kind]) & 255
    return line


def pixels(path):
    """(width, height, {colour: how many pixels}) of a PNG of 8 bits a channel."""
    with open(path, "rb") as f:
        data = f.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    width, height, depth, colours = struct.unpack(">IIBB", data[16:26])
    step = {2: 3, 6: 4}[colours]
    if depth != 8:
        raise ValueError(f"{depth} bits")
    raw = zlib.decompress(b"".join(d for kind, d in chunks(data) if kind == b"IDAT"))
    above, count = bytearray(width * step), {}
    for y in range(height):
        at = y * (width * step + 1)
        above = unfilter(raw[at], bytearray(raw[at + 1:at + 1 + width * step]), above, step)
        for x in range(0, width * step, step):
            colour = bytes(above[x:x + 3]).hex()
            count[colour] = count.get(colour, 0) + 1
    return width, height, count


def drawn(name, path, dark):
    width, height, count = pixels(path)
    tap.ok((width, height) == (screens.WIDTH, screens.HEIGHT) and os.path.getsize(path) < BIGGEST,
           f"{name}: {width}x{height}, {os.path.getsize(path)} bytes")
    most = max(count, key=count.get)
    tap.ok(most == ("14191f" if dark else "ffffff"), f"{name}: its background", most)
    for what, light, night, least in PARTS:
        n = count.get(night if dark else light, 0)
        tap.ok(n >= least, f"{name}: {what}", f"{n} pixels, {least} wanted")
    tap.ok(count.get("dfe6ec" if dark else "1c2733", 0) > 500, f"{name}: words")


def page(world):
    path = world.file("report.html")
    ends = screens.report(world, path)
    tap.ok(ends[0]["status"] == ends[1]["status"] == "completed", "a migration to tell of", ends)
    for name, dark in (("light", False), ("dark", True)):
        picture = world.file(name + ".png")
        screens.shot(world, path, picture, dark)
        drawn(name, picture, dark)


def documented(world):
    for name, dark in (("report.png", False), ("report-dark.png", True)):
        drawn(name, os.path.join(ROOT, "Documentation", "screens", name), dark)


tap.run(page, documented)
