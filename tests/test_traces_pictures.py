# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

from tests.trace_world import World, life

from pvpci.traces.format import Asked, Begin, Function, Hardware, Line
from pvpci.traces.pictures import PARTIES, Arrow, arrows, mermaid, plain, scenes

NUMBERED = list(enumerate(life(), 2))


def step(event: str = "GO", kind: str = "x", **parts: object) -> Line:
    return Line(seq=1, t_ns=0, guest="g", kind=kind, machine="op", event=event, **parts)  # type: ignore[arg-type]


def test_where_arrows_lead() -> None:
    assert [Arrow("guest", "backend", "Rang")] == list(arrows(step("Rang")))
    assert [Arrow("page", "backend", "finds active", back=True)] == list(
        arrows(step(found={"flags.active": True, "flags.aer": False}))
    )
    assert [Arrow("backend", "page", "store err=0x7")] == list(arrows(step(kind="store", wrote={"page.err": 7})))
    assert [Arrow("backend", "xenstore", "writes own=CLOSED")] == list(arrows(step(wrote={"nodes.own": "CLOSED"})))
    assert [Arrow("backend", "guest", "notify")] == list(arrows(step(asked=[Asked("notify")])))
    assert [Arrow("function", "backend", "Done err=0x0", back=True)] == list(arrows(step("Done", given={"err": 0})))
    assert [Arrow("backend", "backend", "the machines start")] == list(arrows(Begin(seq=1, t_ns=0, guest="g")))
    access = Hardware(seq=1, t_ns=0, guest="g", function="f", access="read", offset=4, size=2, value=16)
    assert [Arrow("backend", "function", "read 0x004/2 -> 0x10")] == list(arrows(access))
    attached = Function(seq=1, t_ns=0, guest="g", function="f", slot=2, identity={})
    assert [Arrow("function", "backend", "f attached at slot 2")] == list(arrows(attached))
    assert [] == list(arrows(Line(seq=1, t_ns=0, kind="weather")))


def test_mermaid_names_every_party_and_only_these() -> None:
    lines = mermaid(NUMBERED).splitlines()

    assert ["sequenceDiagram", *(f"    participant {party}" for party in PARTIES)] == lines[: 1 + len(PARTIES)]
    party = "|".join(PARTIES)
    arrow = re.compile(rf"    ( {{4}})?({party})--?>>({party}): \S.*|    end|    loop .*|    Note over .*")
    assert [] == [line for line in lines[1 + len(PARTIES) :] if not arrow.fullmatch(line)]


def test_requests_alike_are_drawn_once() -> None:
    world = World()
    world.connect()
    for _ in range(1000):
        world.request(offset=8)
    numbered = list(enumerate(world.lines(), 2))

    assert "-- 1000 times, from line" in plain(numbered)
    assert "    loop 1000 times, from line" in mermaid(numbered)
    assert len(plain(numbered).splitlines()) < 70


def test_the_picture_ends_at_its_limit() -> None:
    short, long = plain(NUMBERED, limit=20), plain(NUMBERED, limit=10_000)

    assert re.search(r"\n\d+ more lines are not drawn\n$", short)
    assert "more lines" not in long
    assert len(short.splitlines()) < 40 < len(long.splitlines())


def test_one_guest_is_drawn() -> None:
    other = [(n, Begin(seq=1, t_ns=0, guest="9/0")) for n in range(1, 3)]

    assert ["the machines start"] == [
        arrow.text for scene in scenes([*NUMBERED, *other], "9/0")[0] for arrow in scene.arrows
    ][:1]
    assert mermaid(NUMBERED) == mermaid([*NUMBERED, *other])


def test_plain_text_has_a_column_a_party() -> None:
    first, *rest = plain([(1, step(asked=[Asked("notify")]))]).splitlines()

    assert list(PARTIES) == first.split()
    assert [
        "           |<------------------------------------------|                     |                     |"
        "                     |   notify"
    ] == rest


def test_what_a_trace_holds_cannot_leave_its_line() -> None:
    line = step(wrote={"page.a\n;#\x1b[2J": 1})
    drawn = mermaid([(1, line)])

    assert 1 + len(PARTIES) + 1 == len(drawn.splitlines())
    assert "\x1b" not in drawn + plain([(1, line)])
    assert ";" not in drawn.splitlines()[-1].replace("#59;", "").replace("#35;", "")
