# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance corpus: conversations that are held with QEMU (record.py) and with
droverd (corpus.t), and where two answers differ. The format is in Documentation/testing.rst.
"""
import json
import os
import re
import socket
import sys
import time

from droverqmp import DEADLINE, Client

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
SENDS = os.path.join(HERE, "sends.jsonl")
RECORD = os.path.join(HERE, "qemu-7.2.jsonl")
DIFFERENCES = os.path.join(HERE, "differences.jsonl")
sys.setrecursionlimit(20000)
FENCE = "fence"


def lines(path):
    """The objects of a file, comments left out."""
    with open(path, encoding="ascii") as f:
        for line in f:
            if line.strip():
                o = json.loads(line)
                if "#" not in o:
                    yield o


def chunks(case, directory):
    """What a case sends, as a list of writes. A character of "raw" is a byte."""
    if "send" in case:
        sends = case["send"] if isinstance(case["send"], list) else [case["send"]]
        return ["".join(json.dumps(s) + "\n" for s in sends).replace("$DIR", directory).encode()]
    raw = case.get("raw", [])
    raw = [raw] if isinstance(raw, str) else raw
    parts = [c if isinstance(c, str) else c[0] * c[1] for c in raw]
    return [p.replace("$DIR", directory).encode("latin-1") for p in parts]


class Talk(Client):
    """One connection; a server that says nothing has as good as closed."""

    def __init__(self, path):
        super().__init__(path, negotiate=False)

    def message(self):
        try:
            return super().message()
        except socket.timeout:
            return None
        except json.JSONDecodeError as e:
            return {"unreadable": e.doc}

    def until(self, statuses, members):
        """query-migrate's answer once its status is one of these, and it has these members."""
        end = time.monotonic() + DEADLINE
        while True:
            got = self.call("query-migrate")
            info = got.get("return", {})
            if ((not statuses or info.get("status") in statuses) and
                    set(members) <= set(info)) or time.monotonic() > end:
                return got
            time.sleep(0.02)

    def wait_events(self, names):
        """The events so far, once those of these names have come."""
        while not set(names) <= {e["event"] for e in self.events}:
            m = self.message()
            if m is None:
                break
            self.events.append(m)
        return self.events


def fence(talk, ends):
    """Everything that is answered to what was sent: a last request is answered last, unless
    the server ends."""
    got = []
    if not ends:
        talk.raw('\n{"execute": "query-version", "id": "%s"}\n' % FENCE)
    while True:
        m = talk.answer()
        if m is None:
            return got + [{"closed": True}]
        if m.get("id") == FENCE:
            return got
        got.append(m)


def hold(case, path, directory):
    """One case with the server at `path`; the list of what it said."""
    talk = Talk(path)
    got = [talk.greeting] if case.get("greeting") else []
    try:
        if case.get("negotiate", True):
            talk.call("qmp_capabilities", enable=case.get("enable", []))
        for part in chunks(case, directory):
            talk.raw(part)
            if "pause" in case:
                time.sleep(case["pause"])
        if case.get("reset"):
            talk.raw(b"\xff")
        got += fence(talk, case.get("ends"))
        if ("until" in case or "has" in case) and "return" in got[-1]:
            got.append(talk.until(case.get("until"), case.get("has", [])))
        if "events" in case:
            got += talk.wait_events(case["events"])
    except BrokenPipeError:
        got.append({"closed": True})
    finally:
        talk.close()
    if "schema" in case:
        got = [{"return": reduce_schema(got[0]["return"], case["schema"])}]
    short = []
    for m in (fold(m, directory) for m in got):
        if len(short) > 1 and "again" in short[-1] and short[-2] == m:
            short[-1]["again"] += 1
        elif short and short[-1] == m:
            short.append({"again": 1})
        else:
            short.append(m)
    return short


def fold(value, directory, depth=0):
    """What is long or deep, made short; a record's directory by its name."""
    if isinstance(value, str):
        value = value.replace(directory, "$DIR")
        return value if len(value) < 500 else f"{value[:20]}... {len(value)} characters"
    if isinstance(value, (dict, list)) and depth == 20:
        return "deeper"
    if isinstance(value, list) and len(value) > 500 and not isinstance(value[0], dict):
        return f"{len(value)} elements"
    if isinstance(value, list):
        return [fold(v, directory, depth + 1) for v in value]
    if isinstance(value, dict):
        return {k: fold(v, directory, depth + 1) for k, v in value.items()}
    return value


def reduce_schema(schema, wanted):
    """Commands and events of these names, their types written out."""
    table = {}
    for entry in schema:
        table[entry["name"] if entry["meta-type"] not in ("command", "event")
              else "$" + entry["name"]] = entry

    def expand(name, depth=0):
        t = table[name]
        meta = t["meta-type"]
        if meta == "builtin":
            return t["json-type"]
        if meta == "enum":
            values = [m["name"] for m in t["members"]] if "members" in t else t["values"]
            return {"enum": {v: True for v in values}}
        if meta == "array":
            return {"array": expand(t["element-type"], depth)}
        if meta == "alternate":
            return {"alternate": True}
        if depth == 4:
            return "object"
        return {m["name"] + ("?" if "default" in m else ""): expand(m["type"], depth + 1)
                for m in t["members"]}

    out = {}
    for name in wanted:
        entry = table.get("$" + name)
        if entry is None:
            continue
        out[name] = {"arguments": expand(entry["arg-type"])}
        if entry["meta-type"] == "command":
            out[name]["returns"] = expand(entry["ret-type"])
            out[name]["oob"] = entry.get("allow-oob", False)
    return out


# ---- where two conversations differ -------------------------------------------
def kind(message):
    return next((k for k in ("QMP", "return", "error", "event", "closed",
                             "unreadable", "again") if k in message), "?")


def keyed(values):
    """A list of objects that have names, as an object; None when it is no such list."""
    for key in ("name", "capability", "event", "id"):
        if values and all(isinstance(v, dict) and isinstance(v.get(key), str) for v in values):
            return {v[key]: {k: x for k, x in v.items() if k != key} for v in values}
    return None


def typename(value):
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return {dict: "object", list: "list", str: "string", bool: "boolean"}.get(type(value), "null")


def is_number(value):
    """A port is a number in a string."""
    return typename(value) == "number" or (isinstance(value, str) and value.isdigit())


def values_differ(path, theirs, ours, numbers):
    if typename(theirs) != typename(ours):
        yield f"{path}: a {typename(theirs)}, here a {typename(ours)}"
    elif isinstance(theirs, dict):
        for k in sorted(set(theirs) | set(ours)):
            if k not in ours:
                yield f"{path}.{k}: missing"
            elif k not in theirs:
                yield f"{path}.{k}: more"
            else:
                yield from values_differ(f"{path}.{k}", theirs[k], ours[k], numbers)
    elif isinstance(theirs, list):
        a, b = keyed(theirs), keyed(ours)
        if (a is not None or not theirs) and (b is not None or not ours) and (a or b):
            yield from values_differ(path, a or {}, b or {}, numbers)
            return
        if len(theirs) != len(ours):
            yield f"{path}: {len(theirs)} elements, here {len(ours)}"
        for i, (x, y) in enumerate(zip(theirs, ours)):
            yield from values_differ(f"{path}[{i}]", x, y, numbers)
    elif theirs != ours and not (numbers == "any" and is_number(theirs) and is_number(ours)):
        yield f"{path}: {json.dumps(theirs)}, here {json.dumps(ours)}"


def text(message):
    """An answer in one line, short."""
    if "error" in message:
        return f"error {json.dumps(message['error']['desc'])}"
    return kind(message)


def messages_differ(where, theirs, ours, numbers):
    if kind(theirs) != kind(ours):
        yield f"{where}{text(theirs)}, here {text(ours)}"
        return
    for k in sorted(set(theirs) | set(ours)):
        if (k in theirs) != (k in ours):
            yield f"{where}{k}: " + ("missing" if k in theirs else "more")
        else:
            yield from values_differ(where + k, theirs[k], ours[k], numbers)


def told(events):
    """Which events, in the order of their first; MIGRATION with each status. When a round
    ends, and how many there are, is a matter of time."""
    out = []
    for m in events:
        name = m["event"] + " " + m["data"]["status"] if "status" in m.get("data", {}) else \
            m["event"]
        if name not in out and m["event"] != "MIGRATION_PASS":
            out.append(name)
    return out


def events_differ(theirs, ours):
    a, b = told(theirs), told(ours)
    for name in [x for x in a if x not in b]:
        yield f"event {name}: missing"
    for name in [x for x in b if x not in a]:
        yield f"event {name}: more"
    a, b = [x for x in a if x in b], [x for x in b if x in a]
    if a != b:
        yield f"events: {' '.join(a)}, here {' '.join(b)}"
    for name in sorted({m["event"] for m in theirs} & {m["event"] for m in ours}):
        x, y = (next(m for m in got if m["event"] == name) for got in (theirs, ours))
        yield from messages_differ(f"event {name}: ", x, y, "any")


def differences(case, ours):
    """What differs between the recorded answers of a case and ours, one string each."""
    theirs, numbers = case["got"], case.get("numbers")
    a, b = ([m for m in got if "event" not in m] for got in (theirs, ours))
    if len(a) != len(b):
        yield f"answers: {len(a)}, here {len(b)}"
        a, b = a[:1], b[:1]
    for i, (x, y) in enumerate(zip(a, b)):
        yield from messages_differ(f"{i}: " if len(a) > 1 else "", x, y, numbers)
    yield from events_differ(*([m for m in got if "event" in m] for got in (theirs, ours)))


class Table:
    """differences.jsonl: which differences are meant, and why."""

    def __init__(self, path=DIFFERENCES):
        self.rows = list(lines(path))
        self.used = [False] * len(self.rows)

    def explains(self, case, difference):
        found = False
        for i, row in enumerate(self.rows):
            if re.fullmatch(row["case"], case) and re.fullmatch(row["difference"], difference):
                self.used[i] = found = True
        return found

    def stale(self):
        return [r for r, used in zip(self.rows, self.used) if not used]
