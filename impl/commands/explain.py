# SPDX-License-Identifier: Apache-2.0
"""``pvpci explain``: what a number, a line of a log or a whole log means.

Exit code 0 whenever there was an answer, "not known" and "cannot be decided" included; 2 and 3 as everywhere.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, BinaryIO, Final

import click

from pvpci.impl.errors import UnreadableInput, UsageError, one_line, reading
from pvpci.model.numbers import Reading
from pvpci.traces import dumps, explain
from pvpci.traces.dumps import Dump, DumpError
from pvpci.traces.explain import Line, Log, Number, Unfit, Write, touched
from pvpci.traces.messages import LONGEST, Weight

_COLOUR: Final = {Weight.FINE: "green", Weight.LOOK: "yellow", Weight.FAULT: "red"}
_TRACE: Final = b'{"format":"pvpci-trace"'
_FORMS: Final = "give a number (fffffffb, -22, EINVAL), a whole line of a log in quotes, or the name of a log"


@click.command("explain", context_settings={"ignore_unknown_options": True})
@click.argument("what", metavar="CODE|LINE|FILE", nargs=-1, required=True)
@click.option(
    "--image", metavar="FILE", help="Decode offsets by an image of `pvpci record-device`, or one of ours by name."
)
@click.option(
    "--lspci", metavar="FILE", help="Decode offsets by the output of `lspci -xxxx`, or by a copy of sysfs's config."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each thing that is explained.")
def command(what: tuple[str, ...], image: str | None, lspci: str | None, as_json: bool) -> None:
    """Say what a number, a line of a kernel's or a toolstack's log, or a whole log means, and what to do next.

    Of a log every known line is explained once; `-` is standard input. The notice of a dropped write to configuration space
    is decoded by --image or --lspci: which register it was, and what the driver loses.
    """
    if stray := next((word for word in what if word.startswith("--")), None):
        raise UsageError(f"option {stray!r}", "there is none of this name", "`pvpci explain --help` lists them")
    spaces = _spaces(image, lspci)
    for subject in _subjects(what):
        if subject == "-" or os.path.isfile(subject):
            found: Any = _log(subject, spaces)
        elif (number := explain.number(subject)) is not None:
            found = number
        elif any(mark.isspace() for mark in subject) or ":" in subject:
            found = _line(subject, spaces)
        else:
            raise UnreadableInput(one_line(repr(subject)), "neither a number nor a file that is there", _FORMS)
        if as_json:
            click.echo(json.dumps(_as_dict(subject, found)))
        else:
            for text in _report(subject, found):
                click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def _subjects(words: Sequence[str]) -> tuple[str, ...]:
    """Each word by itself if each means something by itself; else they are one line that lost its quotes."""
    if all(word == "-" or os.path.isfile(word) or explain.number(word) is not None for word in words):
        return tuple(words)
    return (" ".join(words),)


def _spaces(image: str | None, lspci: str | None) -> tuple[Dump, ...]:
    if image is not None and lspci is not None:
        raise UsageError("--image and --lspci", "one copy of the configuration space is enough", "give one of them")
    if image is not None:
        from pvpci.impl.embedded.image import ImageError, load

        try:
            loaded = load(os.path.abspath(image) if os.path.isfile(image) else image)
        except ImageError as error:
            raise UnreadableInput(f"--image {image}", error.what, "record one with `pvpci record-device`") from None
        return (Dump(str(loaded.bdf), loaded.registers),)
    if lspci is not None:
        with reading(lspci, "name a dump that can be read"), open(lspci, "rb") as file:
            content = file.read(dumps.LARGEST + 1)
        try:
            return dumps.read(content, lspci)
        except DumpError as error:
            raise UnreadableInput(error.where, error.what, error.right) from None
    return ()


def _line(text: str, spaces: tuple[Dump, ...]) -> Line | Log | None:
    lines = text.splitlines()
    if len(lines) > 1:
        return explain.log(lines, spaces)
    try:
        return explain.line(text, spaces)
    except Unfit as error:
        raise UsageError("the dump", str(error), "give one of the same function") from None


def _log(name: str, spaces: tuple[Dump, ...]) -> Log:
    if name == "-":
        return explain.log(_lines(sys.stdin.buffer, "standard input"), spaces)
    with reading(name, "name a log that can be read"), open(name, "rb") as file:
        return explain.log(_lines(file, name), spaces)


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines, each cut to what is looked at. Bytes that are no text become marks. Raises UnreadableInput, UsageError."""
    number = 0
    goes_on = False
    while piece := file.readline(4 * LONGEST):
        if not goes_on:
            number += 1
            if b"\0" in piece:
                raise UnreadableInput(f"{name}:{number}", "is binary", "give the text of a log, for example of `dmesg`")
            if number == 1 and piece.replace(b" ", b"").startswith(_TRACE):
                raise UsageError(name, "is a trace and no log", f"`pvpci check {name}` judges it")
            yield piece.decode("utf-8", "replace").rstrip("\r\n")
        goes_on = not piece.endswith(b"\n")
    if number == 0:
        raise UnreadableInput(name, "is empty", "give the text of a log, for example of `dmesg`")


def _as_dict(subject: str, found: Number | Line | Log | None) -> dict[str, Any]:
    match found:
        case Number():
            return {"kind": "number", **_number_dict(found)}
        case Line():
            return {"kind": "line", "known": True, **_line_dict(found)}
        case Log():
            known = [_line_dict(one) for one in found.known]
            counts = {"lines": found.lines, "unknown": found.unknown, "beyond": found.beyond}
            return {"kind": "log", "file": subject, **counts, "known": known}
        case None:
            return {"kind": "line", "known": False}


def _number_dict(found: Number) -> dict[str, Any]:
    return {
        "given": found.given, "number": found.value, "certain": found.certain, "needs": found.needs,
        "readings": [
            {
                "where": one.where.name.lower(), "space": one.space.name.lower(), "name": one.name, "means": one.means,
                "next": one.next, "cite": one.cite, "known": one.known,
            }
            for one in found.readings
        ],
    }  # fmt: skip


def _line_dict(found: Line) -> dict[str, Any]:
    return {
        "id": found.match.message.id, "by": found.match.message.by, "weight": found.match.message.weight.value,
        "device": found.device, "means": found.means, "next": found.next, "line": found.first, "times": found.times,
        "number": found.number and _number_dict(found.number), "write": found.write and _write_dict(found.write),
    }  # fmt: skip


def _write_dict(found: Write) -> dict[str, Any]:
    return {
        "offset": found.offset, "size": found.size, "value": found.value, "stands": found.stands,
        "registers": [
            {
                "first": place.first, "last": place.last, "name": place.register.name if place.register else "",
                "where": place.where, "loses": place.loses, "remedy": place.remedy.value, "advice": advice,
                "cite": place.register.cite if place.register else "",
            }
            for place, advice in touched(found)
        ],
        "quirk": found.quirk, "faults": list(found.found.faults), "needs": found.found.needs,
    }  # fmt: skip


def _row(indent: int, label: str, text: str) -> str:
    return "  " * indent + click.style(f"{label:<9}", dim=True) + one_line(text)


def _report(subject: str, found: Number | Line | Log | None) -> Iterator[str]:
    match found:
        case Number():
            yield from _number(found, 0)
        case Line():
            yield from _explained(found, 0)
        case Log():
            yield from _whole(subject, found)
        case None:
            yield "not a line that is known here; nothing is guessed from it"


def _whole(subject: str, found: Log) -> Iterator[str]:
    name = "standard input" if subject == "-" else one_line(subject) if "\n" not in subject else "the lines"
    rest = f"; {found.beyond} known ones beyond the first {explain.MOST} kinds" if found.beyond else ""
    yield click.style(
        f"{name}: {found.lines} lines, {len(found.known)} kinds known, {found.unknown} lines not known{rest}", bold=True
    )
    for one in found.known:
        yield from _explained(one, 1)


def _explained(found: Line, indent: int) -> Iterator[str]:
    message = found.match.message
    times = f", {found.times} times" if found.times > 1 else ""
    place = f"line {found.first}{times}: " if indent else ""
    about = f" {found.device}" if found.device else ""
    mark = click.style(message.weight.value, fg=_COLOUR[message.weight], bold=True)
    if found.write is not None:
        what = f"{found.write.size} bytes at offset {found.write.offset:#x}"
        sent = "" if found.write.value is None else f", value {found.write.value:#x}"
        yield "  " * indent + f"{place}{mark} {message.by}{about}: a guest's write was dropped: {what}{sent}"
        yield from _write(found, found.write, indent + 1)
        return
    yield "  " * indent + f"{place}{mark} {message.by}{about}: " + one_line(found.means)
    if found.number is not None:
        yield from _number(found.number, indent + 1)
    if found.next:
        yield _row(indent + 1, "next", found.next)


def _write(found: Line, write: Write, indent: int) -> Iterator[str]:
    for place, advice in touched(write):
        yield _row(indent, "register", place.title)
        yield _row(indent + 1, "loses", place.loses)
        yield _row(indent + 1, "do", advice)
    if write.quirk:
        yield _row(indent + 1, "", f"{write.quirk}   # before the guest starts, each time; the mask is not applied")
    if write.stands is not None:
        yield _row(indent, "stands", f"{write.stands:#0{2 + 2 * write.size}x} in the dump")
    for fault in write.found.faults:
        yield _row(indent, "broken", fault)
    if write.found.needs:
        yield _row(indent, "needs", f"cannot be decided without {write.found.needs}")
        if not write.found.places and found.device and 0 <= write.offset < 0x1000:
            yield _row(indent, "", f"in dom0: pvpci explain --lspci /sys/bus/pci/devices/{found.device}/config LINE")
    yield _row(indent, "note", found.means)


def _number(found: Number, indent: int) -> Iterator[str]:
    unsigned = f" (0x{found.value & 0xFFFFFFFF:08x})" if -(1 << 31) <= found.value < 0 else ""
    if not found.readings:
        yield "  " * indent + f"{found.value}{unsigned}: none of the known parties prints this number"
    else:
        verdict = "" if found.certain else " cannot be decided; it can be" if indent == 0 else " it can be"
        yield "  " * indent + click.style(f"{found.value}{unsigned}:", bold=True) + verdict
    for (_, name), same in groupby(_ordered(found.readings), key=lambda one: (one.space, one.name)):
        group = list(same)
        yield "  " * (indent + 1) + click.style(name or "no name", bold=True) + f", {group[0].space.value}"
        for means in dict.fromkeys(one.means for one in group):
            alike = [one for one in group if one.means == means]
            if indent == 0:
                yield _row(indent + 2, "in", "; ".join(one.where.value for one in alike))
            yield _row(indent + 2, "means", means)
            if alike[0].next:
                yield _row(indent + 2, "next", alike[0].next)
    if found.needs:
        yield _row(indent + (indent > 0), "needs", found.needs)


def _ordered(found: Sequence[Reading]) -> list[Reading]:
    """Those of one name together, in the order of the first of each name."""
    names = list(dict.fromkeys((one.space, one.name) for one in found))
    return sorted(found, key=lambda one: names.index((one.space, one.name)))
