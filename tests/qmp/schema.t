#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""query-qmp-schema is whole, and what droverd says is what its schema says: every
query's answer and every event, before, during and after a migration."""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from droverqmp import Tap, World  # noqa: E402

JSON_TYPES = {"string": str, "int": int, "boolean": bool, "number": (int, float),
              "null": type(None)}
META = {"builtin": {"json-type"}, "enum": {"members", "values"}, "array": {"element-type"},
        "object": {"members"}, "alternate": {"members"}, "command": {"arg-type", "ret-type"},
        "event": {"arg-type"}}
tap = Tap()


class Schema:
    def __init__(self, entries):
        self.entries = entries
        self.by_name = {e["name"]: e for e in entries}

    def names(self, meta):
        return [e["name"] for e in self.entries if e["meta-type"] == meta]

    def references(self):
        """Every type that an entry names."""
        for e in self.entries:
            for key in ("arg-type", "ret-type", "element-type"):
                if key in e:
                    yield e[key]
            for m in e.get("members", []) + e.get("variants", []):
                if "type" in m:
                    yield m["type"]

    def shape(self):
        """The first entry that is not as QAPI's introspection has it, or None."""
        for e in self.entries:
            if not META[e["meta-type"]] <= e.keys():
                return e
            if e["meta-type"] in ("object", "enum", "alternate") and not e["name"].isdigit():
                return e
            if e["meta-type"] == "array" and e["name"] != "[" + e["element-type"] + "]":
                return e
            if e["meta-type"] == "enum" and [m["name"] for m in e["members"]] != e["values"]:
                return e
        return None

    def members(self, entry, value):
        """Those of an object with this value, a union's branch included."""
        ret = {m["name"]: m for m in entry["members"]}
        for v in entry.get("variants", []):
            if value.get(entry["tag"]) == v["case"]:
                ret.update(self.members(self.by_name[v["type"]], value))
        return ret

    def wrong(self, type_name, value, where="answer"):
        """None, or what in value is not of the type."""
        entry = self.by_name[type_name]
        meta = entry["meta-type"]
        if meta == "builtin":
            kind = JSON_TYPES.get(entry["json-type"])
            good = kind is None or (isinstance(value, kind) and
                                    (kind is bool or not isinstance(value, bool)))
            return None if good else f"{where}: {value!r} is no {entry['json-type']}"
        if meta == "enum":
            return None if value in entry["values"] else f"{where}: {value!r} is no value"
        if meta == "alternate":
            whys = [self.wrong(m["type"], value, where) for m in entry["members"]]
            return None if None in whys else whys[0]
        if meta == "array":
            if not isinstance(value, list):
                return f"{where}: {value!r} is no list"
            whys = (self.wrong(entry["element-type"], v, f"{where}[{i}]")
                    for i, v in enumerate(value))
            return next((w for w in whys if w), None)
        return self.wrong_object(entry, value, where)

    def wrong_object(self, entry, value, where):
        if not isinstance(value, dict):
            return f"{where}: {value!r} is no object"
        members = self.members(entry, value)
        for name, m in members.items():
            if name not in value and "default" not in m:
                return f"{where}: {name} is missing"
        for name, v in value.items():
            if name not in members:
                return f"{where}: {name} is not in the schema"
            why = self.wrong(members[name]["type"], v, f"{where}.{name}")
            if why:
                return why
        return None


def look(schema, client, when):
    """Every query."""
    whys = []
    for name in schema.names("command"):
        entry = schema.by_name[name]
        if not name.startswith("query-") or schema.by_name[entry["arg-type"]]["members"]:
            continue
        answer = client.call(name)
        if "return" not in answer:
            whys.append(f"{name}: {answer}")
            continue
        why = schema.wrong(entry["ret-type"], answer["return"], name)
        if why:
            whys.append(why)
    tap.ok(not whys, f"{when}: every query answers what the schema says", "\n".join(whys))


def events(schema, client):
    client.call("query-version")
    whys = []
    for e in client.events:
        entry = schema.by_name.get(e["event"], {})
        if entry.get("meta-type") != "event":
            whys.append(f"{e['event']} is not in the schema")
            continue
        why = schema.wrong(entry["arg-type"], e.get("data", {}), e["event"])
        if why:
            whys.append(why)
    got = [e["event"] for e in client.events]
    client.events = []
    return got, whys


def whole(client):
    schema = Schema(client.call("query-qmp-schema")["return"])
    tap.ok(len(schema.by_name) == len(schema.entries), "every name has one entry")
    bad = schema.shape()
    tap.ok(bad is None, "every entry is as QAPI has it, type names are anonymous", json.dumps(bad))
    lost = set(schema.references()) - schema.by_name.keys()
    tap.ok(not lost, "every type that is used is there", lost)
    types = {e["name"] for e in schema.entries if e["meta-type"] not in ("command", "event")}
    tap.ok(types == set(schema.references()), "and no other",
           types - set(schema.references()))
    for meta, query in (("command", "query-commands"), ("event", "query-events")):
        names = [o["name"] for o in client.call(query)["return"]]
        tap.ok(schema.names(meta) == names and len(set(names)) == len(names),
               f"{query} has the same names", names)
    oob = [e["name"] for e in schema.entries if e.get("allow-oob")]
    tap.ok("migrate_cancel" in oob and "migrate" not in oob, "allow-oob", oob)
    config = schema.by_name[schema.by_name["migrate-set-config"]["arg-type"]]
    unstable = {m["name"] for m in config["members"] if m.get("features") == ["unstable"]}
    tap.ok({"x-colo", "x-checkpoint-delay"} <= unstable and "multifd" not in unstable,
           "unstable options are marked", unstable)
    return schema


with World() as w:
    here, there = (w.start(n, "sim:size=64M,seed=3").client() for n in "ab")
    s = whole(here)
    look(s, here, "new")
    uri = "unix:" + w.dir + "/m"
    there.call("migrate-incoming", uri=uri, config={"events": True})
    look(s, there, "listening")
    here.call("migrate", uri=uri, config={"events": True, "max-bandwidth": 1 << 20})
    here.status("active")
    look(s, here, "source")
    look(s, there, "destination")
    here.call("migrate-set-config", max_bandwidth=0)
    tap.ok(here.status("completed", "failed")["status"] == "completed", "completed")
    there.status("completed")
    there.event("DROVER_CHECK")
    look(s, here, "done, source")
    look(s, there, "done, destination")
    for c in (here, there):
        seen, wrong = events(s, c)
        tap.ok(not wrong and {"MIGRATION", "JOB_STATUS_CHANGE"} <= set(seen),
               "every event is what the schema says", [seen, wrong])
tap.ok(not any(w.statuses.values()), "every droverd ended with status 0", w.statuses)
sys.exit(tap.done())
