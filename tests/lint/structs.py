#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of the engine, as the compiler sees it: members of structs and the files that touch
each, calls between the files of a folder, includes between headers.

structs.py            the table
structs.py --check    what breaks a target, a line each; nothing when all is well

Targets: no struct of more than MEMBERS_MAX members; no member touched by more than FILES_MAX
files of the layer; no circle of calls between the files of one folder, nor of includes.
tests/lint/structs.allow has the exceptions, each with its reason.
"""
import collections
import glob
import os
import sys

import clang.cindex as ci

MEMBERS_MAX = 25
FILES_MAX = 3
LAYERS = ("engine", "place", "peer")
ARGS = ["-std=gnu11", "-D_GNU_SOURCE=", "-Iuserspace", "-Iuapi", "-Ibuild/gen",
        '-DDROVER_VERSION="0"']


def sources():
    for layer in LAYERS:
        yield from sorted(glob.glob(f"userspace/{layer}/**/*.c", recursive=True))


def allowed():
    """{what: reason}: "struct NAME", "member STRUCT.MEMBER", "calls FOLDER: A B"."""
    table = {}
    with open("tests/lint/structs.allow") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                what, _, reason = line.partition(" -- ")
                table[what.strip()] = reason.strip()
    return table


class Shape:
    def __init__(self):
        self.size = {}                                   # struct: members
        self.home = {}                                   # struct: file it is defined in
        self.touch = collections.defaultdict(set)        # struct.member: files
        self.defined = {}                                # function: file
        self.calls = collections.defaultdict(set)        # file: functions

    def struct(self, c):
        name = c.spelling
        path = c.location.file.name if c.location.file else ""
        if not name or not path.startswith("userspace/") or name.startswith("("):
            return
        fields = [f for f in c.get_children() if f.kind == ci.CursorKind.FIELD_DECL]
        if fields:
            self.size[name], self.home[name] = len(fields), path

    def member(self, c, path):
        r = c.referenced
        if r is not None and r.kind == ci.CursorKind.FIELD_DECL and r.semantic_parent.spelling:
            self.touch[f"{r.semantic_parent.spelling}.{r.spelling}"].add(path)

    def file(self, index, path):
        tu = index.parse(path, ARGS)
        bad = [str(d) for d in tu.diagnostics if d.severity >= ci.Diagnostic.Error]
        if bad:
            sys.exit(f"{path} does not compile: {bad[0]}")
        for c in tu.cursor.walk_preorder():
            kind = c.kind
            if kind == ci.CursorKind.STRUCT_DECL and c.is_definition():
                self.struct(c)
                continue
            if not c.location.file or c.location.file.name != path:
                continue
            if kind == ci.CursorKind.MEMBER_REF_EXPR:
                self.member(c, path)
            elif kind == ci.CursorKind.FUNCTION_DECL and c.is_definition():
                if c.linkage == ci.LinkageKind.EXTERNAL:
                    self.defined[c.spelling] = path
            elif kind == ci.CursorKind.DECL_REF_EXPR and c.referenced is not None and \
                    c.referenced.kind == ci.CursorKind.FUNCTION_DECL:
                self.calls[path].add(c.spelling)


def circles(graph):
    """Strongly connected sets of more than one node (Tarjan)."""
    index, low, stack, on, out, n = {}, {}, [], set(), [], 0

    def visit(v):
        nonlocal n
        index[v] = low[v] = n
        n += 1
        stack.append(v)
        on.add(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = []
            while True:
                w = stack.pop()
                on.discard(w)
                part.append(w)
                if w == v:
                    break
            if len(part) > 1:
                out.append(sorted(part))

    for v in list(graph):
        if v not in index:
            visit(v)
    return out


def call_circles(shape):
    """[(folder, [file])] within each folder."""
    found = []
    folders = {os.path.dirname(p) for p in shape.calls}
    for folder in sorted(folders):
        graph = {}
        for path, names in shape.calls.items():
            if os.path.dirname(path) == folder:
                graph[path] = {shape.defined[n] for n in names if n in shape.defined and
                               shape.defined[n] != path and
                               os.path.dirname(shape.defined[n]) == folder}
        found += [(folder, [os.path.basename(p) for p in part]) for part in circles(graph)]
    return found


def include_circles():
    graph = {}
    for path in glob.glob("userspace/**/*.h", recursive=True):
        with open(path) as f:
            graph[path] = {"userspace/" + line.split('"')[1] for line in f
                           if line.startswith('#include "') and '.h"' in line}
    return circles(graph)


def main():
    shape, index, allow = Shape(), ci.Index.create(), allowed()
    for path in sources():
        shape.file(index, path)
    ours = {s for s, path in shape.home.items() if path.split("/")[1] in LAYERS}
    bad, used = [], set()

    def judge(what, text):
        used.add(what)
        if what not in allow:
            bad.append(text)

    for s in sorted(ours, key=lambda s: -shape.size[s]):
        if shape.size[s] > MEMBERS_MAX:
            judge(f"struct {s}", f"struct {s} ({shape.home[s]}): {shape.size[s]} members, "
                                 f"at most {MEMBERS_MAX}")
    wide = {m: f for m, f in shape.touch.items() if m.split(".")[0] in ours}
    for m in sorted(wide, key=lambda m: (-len(wide[m]), m)):
        if len(wide[m]) > FILES_MAX:
            names = " ".join(sorted(p[len("userspace/"):] for p in wide[m]))
            judge(f"member {m}", f"{m}: touched by {len(wide[m])} files: {names}")
    for folder, part in call_circles(shape):
        what = f"calls {folder[len('userspace/'):]}: {' '.join(part)}"
        judge(what, f"{what}: they call each other in a circle")
    for part in include_circles():
        bad.append(f"includes: {' '.join(part)}: a circle")
    bad += [f"structs.allow: {w}: nothing needs this any more" for w in allow if w not in used]
    if "--check" in sys.argv:
        print("\n".join(bad), end="\n" if bad else "")
        return
    print("members  files  struct (the widest member's files)")
    for s in sorted(ours, key=lambda s: (-shape.size[s], s)):
        files = max((len(f) for m, f in wide.items() if m.split(".")[0] == s), default=0)
        print(f"{shape.size[s]:7}  {files:5}  {s}  {shape.home[s][len('userspace/'):]}")
    print("\nmembers by the number of files that touch them:")
    count = collections.Counter(len(f) for f in wide.values())
    for k in sorted(count):
        print(f"{k:7} files: {count[k]} members")
    print("\n" + ("\n".join(bad) or "within the targets"))


main()
