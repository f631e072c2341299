#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes cases for run.py from the tables: gen-cases.py < TABLES > CASES.jsonl, where
TABLES is what the program gen-tables prints.

Every option at its bounds, beyond them and with values of other types; every rule
between options; every command with arguments it does not take."""
import json
import re
import sys

# A value of every JSON type, for members that must be of another.
SAMPLES = {"boolean": True, "integer": 1, "string": "text", "array": [], "object": {},
           "number": 1.5, "null": None}
# Strings that an option takes.
WORDS = {"cpu-affinity": "0"}


def emit(name, execute, arguments=None, **rest):
    request = {"execute": execute}
    if arguments is not None:
        request["arguments"] = arguments
    print(json.dumps({"name": name, "send": request, **rest}))


def quoted(text):
    """A regular expression for this text alone."""
    return re.escape(text).replace("\\ ", " ")


class Options:
    def __init__(self, tables):
        self.options = {o["name"]: o for o in tables["options"]}
        self.rules = tables["rules"]

    def default(self, o):
        """As query-migrate-config shows it; None: not at all."""
        if o["type"] == "enum":
            return o["values"][o["default"]]["name"]
        if o["json-type"] == "boolean":
            return bool(o["default"])
        if o["json-type"] == "integer":
            return o["default"]
        if o["json-type"] == "array":
            return [] if o["name"] != "block-bitmap-mapping" else None
        return ""

    def companions(self, name, value):
        """What else must be set so that no rule forbids this value."""
        ret = {}
        for rule in self.rules:
            if rule["set"] and rule.get("example") == {name: value}:
                ret.update({o: True for o in rule["options"] if o != name})
        if name == "max-cpu-throttle":
            ret["cpu-throttle-initial"] = min(value, 20)
        return ret

    def good(self, o):
        """Values that every build takes."""
        if o["type"] == "enum":
            return [v["name"] for v in o["values"] if "missing" not in v]
        if o["json-type"] == "boolean":
            return [False, True]
        if o["json-type"] == "integer":
            return sorted({o["min"], o["default"], o["max"]})
        if o["json-type"] == "array":
            return [["a", "b c"], []] if self.default(o) is not None else []
        return [WORDS.get(o["name"], "a word"), ""]

    def bad(self, o):
        """Values it does not take, and why."""
        kinds = {k: v for k, v in SAMPLES.items() if k != o["json-type"]}
        if o["name"].startswith("tls-"):
            kinds.pop("null")
        ret = [(f"a value of type {k}", v) for k, v in kinds.items()]
        if o["type"] == "enum":
            ret.append(("an unknown value", "no-such"))
        elif o["json-type"] == "boolean":
            ret.append(("a word for a boolean", "on"))
        elif o["json-type"] == "integer":
            ret.append(("below the least", o["min"] - 1))
            ret.append(("above the most", o["max"] + 1))
        return ret

    def set_and_reset(self, o):
        name, default = o["name"], self.default(o)
        for value in self.good(o):
            extra = self.companions(name, value)
            emit(f"{name}: {json.dumps(value)}", "migrate-set-config", {name: value, **extra},
                 **{"return": {}, "then": "query-migrate-config", "gives": {name: value}})
        back = {name: default} if default is not None else {}
        for value in self.good(o):
            back.update({n: self.default(self.options[n])
                         for n in self.companions(name, value)})
        emit(f"{name}: as it was", "migrate-set-parameters", back,
             **{"return": {}, "then": "query-migrate-parameters", "gives": back})

    def refuse(self, o):
        name, default = o["name"], self.default(o)
        gives = {name: default} if default is not None else {"!" + name: 0}
        for i, (why, value) in enumerate(self.bad(o)):
            # Every way to give a value, in turn.
            via = ("migrate-set-config", "migrate-set-parameters", "migrate")[i % 3]
            arguments = {name: value}
            if via == "migrate":
                arguments = {"uri": "unix:$DIR/none", "config": arguments}
            emit(f"{name}: {via}: {why}", via, arguments, error="'" + name + "'",
                 then="query-migrate-config", gives=gives)

    def capability(self, o):
        name = o["name"]
        on = {name: True, **self.companions(name, True)}

        def request(state):
            return {"capabilities": [{"capability": n, "state": state} for n in on]}
        emit(f"{name}: a capability that is set", "migrate-set-capabilities", request(True),
             **{"return": {}, "then": "query-migrate-config", "gives": on})
        emit(f"{name}: and reset", "migrate-set-capabilities", request(False),
             **{"return": {}, "then": "query-migrate-config", "gives": {n: False for n in on}})

    def words(self, rule):
        """Its message, or that of a build which lacks a value of the example."""
        ret = "^" + quoted(rule["message"])
        for name, value in rule["example"].items():
            for v in self.options[name]["values"]:
                if v["name"] == value and "missing" in v:
                    ret += f"|^Parameter '{name}' does not accept value '{value}': "
        return ret

    def rule(self, rule):
        example = rule.get("example")
        if not example or not rule["set"]:
            return
        names = {n: self.default(self.options[n]) for n in example}
        shown = " ".join(f"{n}={json.dumps(v)}" for n, v in example.items())
        for via in ("migrate-set-config", "migrate-set-parameters"):
            emit(f"rule: {via}: {shown}", via, example, error=self.words(rule),
                 then="query-migrate-config", gives=names)
        if all(self.options[n]["capability"] for n in example):
            caps = [{"capability": n, "state": v} for n, v in example.items()]
            emit(f"rule: migrate-set-capabilities: {shown}", "migrate-set-capabilities",
                 {"capabilities": caps}, error=self.words(rule),
                 then="query-migrate-config", gives=names)


def command(c):
    name = c["name"]
    needed = {a["name"]: SAMPLES[a["type"]] for a in c["arguments"] if not a["optional"]}
    unexpected = "^Parameter 'no-such' is unexpected$"
    emit(f"{name}: an unknown argument", name, {**needed, "no-such": 1}, error=unexpected)
    for a in c["arguments"]:
        for kind, value in SAMPLES.items():
            if kind == a["type"]:
                continue
            emit(f"{name}: {a['name']} of type {kind}", name, {**needed, a["name"]: value},
                 error=f"^Invalid parameter type for '{a['name']}', expected: {a['type']}$")
        if not a["optional"]:
            given = {n: v for n, v in needed.items() if n != a["name"]}
            emit(f"{name}: without {a['name']}", name, given,
                 error=f"^Parameter '{a['name']}' is missing$")
    refused = unexpected if c["oob"] else f"^The command {name} does not support OOB$"
    print(json.dumps({"name": f"{name}: out of band", "error": refused,
                      "send": {"exec-oob": name, "arguments": {**needed, "no-such": 1}}}))


def main():
    tables = json.load(sys.stdin)
    options = Options(tables)
    print(json.dumps({"start": {"a": "sim:size=16M"}, "enable": ["oob"]}))
    for o in tables["options"]:
        options.set_and_reset(o)
        options.refuse(o)
        if o["capability"]:
            options.capability(o)
    for rule in tables["rules"]:
        options.rule(rule)
    for c in tables["commands"]:
        command(c)
    emit("after all that the settings are the defaults", "query-migrate-config",
         **{"return": {o["name"]: options.default(o) for o in tables["options"]
                       if options.default(o) is not None}})


main()
