# SPDX-License-Identifier: Apache-2.0
"""Good traces made bad, each in one way, with the rule that is then broken and the line where it shows.

They take any trace of a backend that has what they need (an answered read, a handshake, a close), also one recorded on
real Xen. `python -m tests.doctor` writes the checked corpus anew: ``traces/corpus/``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.doctor_interrupts import INTERRUPT_DOCTORS
from tests.doctoring import Doctor, Doctored, Lines, Unfit, again, at, fields, kind, wrote
from tests.trace_world import life, text

from pvpci.traces.format import Header, Line

__all__ = ["CORPUS", "DOCTORS", "Doctor", "Doctored", "Lines", "Unfit", "again", "corpus"]


CORPUS: Final = Path(__file__).resolve().parent.parent / "traces" / "corpus"


def answered_read(lines: Lines) -> dict[str, int]:
    """The lines of the first read that was answered with a value: where each step of it is."""
    start = 0
    while True:
        copy = at(lines, kind("request"), start)
        try:
            end = at(lines, kind("rang", "turn"), copy)
        except Unfit:
            end = len(lines)
        found: dict[str, int] = {"copy": copy}
        for index in range(copy + 1, end):
            line = lines[index]
            if isinstance(line, Line) and line.machine == "op":
                name = "look" if line.kind == "request" else line.kind
                name = "value" if "page.value" in (line.wrote or {}) else name
                found.setdefault(name, index)
        first: Any = lines[copy]
        if first.found["page.cmd"] == 0 and {"perform", "look", "store", "value", "clear", "notify"} <= found.keys():
            return found
        start = end


def _wrong_request(lines: Lines) -> int:
    where = answered_read(lines)
    fields(lines[where["look"]], "found")["page.offset"] ^= 0x40
    return where["store"]


def _not_looked(lines: Lines) -> int:
    where = answered_read(lines)
    del lines[where["look"]]
    return where["store"] - 1


def _second_read(lines: Lines) -> int:
    where = answered_read(lines)
    lines.insert(where["perform"], again(lines[where["copy"]]))
    return where["perform"]


def _other_than_copied(lines: Lines) -> int:
    where = answered_read(lines)["perform"]
    fields(lines[where], "asked")["value"] ^= 0xFF
    return where


def _outside(lines: Lines) -> int:
    where = answered_read(lines)["value"]
    fields(lines[where], "wrote")["page.info"] = 1
    return where


def _other_answer(lines: Lines) -> int:
    where = answered_read(lines)["value"]
    fields(lines[where], "wrote")["page.value"] ^= 1
    return where


def _no_notify(lines: Lines) -> int:
    where = answered_read(lines)["notify"]
    del lines[where]
    return at(lines, lambda line: line.machine == "op", where)


def _cleared_early(lines: Lines) -> int:
    where = answered_read(lines)
    lines.insert(where["store"], lines.pop(where["clear"]))
    return where["store"]


def _answered_twice(lines: Lines) -> int:
    where = answered_read(lines)
    lines.insert(where["notify"] + 1, again(lines[where["clear"]]))
    return where["notify"] + 1


def _unlocked(lines: Lines) -> int:
    where = answered_read(lines)["clear"]
    fields(lines[where], "wrote")["flags.handler"] = False
    return where


def _stored_late(lines: Lines) -> int:
    where = answered_read(lines)
    lines.insert(where["clear"], lines.pop(where["value"]))
    return where["clear"] - 1


def _vectors(lines: Lines) -> int:
    where = at(lines, kind("hand_out"))
    fields(lines[where], "asked")["count"] += 1
    return where


def _unmasked_twice(lines: Lines) -> int:
    where = at(lines, kind("unmask"))
    lines.insert(where + 1, again(lines[where]))
    return where + 1


def _never_unmasked(lines: Lines) -> int:
    where = at(lines, kind("unmask"))
    del lines[where]
    return at(lines, lambda line: line.machine == "op", where)


def _unsound(lines: Lines) -> int:
    where = answered_read(lines)
    for step, part, name in (
        ("copy", "found", "page.offset"),
        ("perform", "asked", "offset"),
        ("look", "found", "page.offset"),
    ):
        fields(lines[where[step]], part)[name] = 0x1001
    return where["perform"]


def _not_sought(lines: Lines) -> int:
    where = answered_read(lines)
    del lines[where["found"]], lines[where["seek"]]
    return where["perform"] - 2


def _foreign_state(lines: Lines) -> int:
    where = at(lines, wrote("nodes.own"))
    fields(lines[where], "wrote")["nodes.own"] = "RECONFIGURING"
    return where


def _no_page(lines: Lines) -> int:
    where = at(lines, kind("map"))
    fields(lines[where], "asked").clear()
    lines[where].asked = None  # type: ignore[union-attr]
    lines[where].wrote = {"nodes.own": "CONNECTED"}  # type: ignore[union-attr]
    lines[where].kind = "look"  # type: ignore[union-attr]
    last = at(lines, wrote("nodes.own"), where + 1)
    del lines[where + 1 : last + 1]
    return where


def _unmapped_first(lines: Lines) -> int:
    unbind, unmap = at(lines, kind("atrest")), at(lines, kind("idle"))
    lines.insert(unbind, lines.pop(unmap))
    return unbind


def _under_a_request(lines: Lines) -> int:
    where = answered_read(lines)["done"]
    for index in range(where, len(lines)):
        line = lines[index]
        if isinstance(line, Line) and line.machine == "connection":
            close = at(lines, kind("atrest"), index)
            lines[where:close] = [
                one for one in lines[index:close] if isinstance(one, Line) and one.machine == "connection"
            ]
            return at(lines, kind("atrest"), where)
    raise Unfit("the trace has no close")


def _while_closing(lines: Lines) -> int:
    where = answered_read(lines)
    rang = max(i for i in range(where["copy"]) if getattr(lines[i], "event", "") == "Rang")
    flags = at(lines, kind("flags"), rang)
    close = at(lines, kind("atrest"))
    extra = [again(lines[index]) for index in (rang, flags, where["copy"])]
    lines.insert(close + 1, extra[2])
    lines[close:close] = extra[:2]
    return close + 3


DOCTORS: Final = (
    Doctor("answer-to-the-wrong-request", "I-31", _wrong_request),
    Doctor("answer-without-a-second-look", "I-31", _not_looked),
    Doctor("request-read-twice", "I-26", _second_read),
    Doctor("performed-other-than-copied", "I-26", _other_than_copied),
    Doctor("write-outside-the-answer", "I-28", _outside),
    Doctor("answered-other-than-done", "D-01", _other_answer),
    Doctor("missing-notify", "L-05", _no_notify),
    Doctor("flag-cleared-before-the-answer", "I-31", _cleared_early),
    Doctor("answered-twice", "I-31", _answered_twice),
    Doctor("flag-word-stored-whole", "I-32", _unlocked),
    Doctor("value-stored-after-the-flag", "I-31", _stored_late),
    Doctor("one-vector-too-many", "I-27", _vectors),
    Doctor("event-given-back-twice", "I-39", _unmasked_twice),
    Doctor("event-never-given-back", "I-39", _never_unmasked),
    Doctor("unsound-offset-performed", "I-35", _unsound),
    Doctor("performed-before-the-lookup", "I-34", _not_sought),
    Doctor("state-that-is-not-ours", "I-09", _foreign_state),
    Doctor("connected-without-a-page", "I-01", _no_page),
    Doctor("unmapped-before-unbound", "I-03", _unmapped_first),
    Doctor("unbound-under-a-request", "I-33", _under_a_request),
    Doctor("request-begun-while-closing", "L-08", _while_closing),
    *INTERRUPT_DOCTORS,
)


def corpus() -> dict[str, bytes]:
    """The files of the corpus, by name."""
    good = life()
    source = {"program": "pvpci", "host": "test", "machines": ["connection", "op", "interrupts"]}
    files = {"life.jsonl": text(good)}
    index: dict[str, dict[str, Any]] = {"life.jsonl": {"verdict": "conforms"}}
    for doctor in DOCTORS:
        bad = doctor(good)
        header = Header(vantage="backend", source={**source, "doctored": doctor.name})
        files[f"{doctor.name}.jsonl"] = text(bad.lines, header)
        index[f"{doctor.name}.jsonl"] = {"verdict": "violates", "party": "backend", "rule": bad.rule, "line": bad.line}
    files["index.json"] = (json.dumps(index, indent=2) + "\n").encode()
    return files


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for file_name, content in corpus().items():
        (CORPUS / file_name).write_bytes(content)
