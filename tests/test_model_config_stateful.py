# SPDX-License-Identifier: Apache-2.0
"""Random guests, one after the other, on the embedded host's functions and on plain registers; and on any registers.

The embedded host keeps a function in memory that goes from holder to holder, and checks each access. A guest must not
notice, and neither must the function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.backend_rig import box_only
from tests.config_registers import IO, MEM, MEM_64, NONE, UNSET, Registers, placed
from tests.recorded import Function

from pvpci.impl.embedded.host import EmbeddedHost
from pvpci.impl.embedded.image import load, names
from pvpci.model.config.compiled import HardwareAccess
from pvpci.model.config.grants import GrantError, parse
from pvpci.model.config.identity import Refused, survey
from pvpci.model.config.linux import PROFILES
from pvpci.model.config.view import Answer, ConfigView
from pvpci.model.wire import Err

WORD = 0xFFFFFFFF
#: Functions that every profile gives to guests: no bridges.
GIVEN = [name for name in names() if load(name).registers[0x0E] & 0x7F == 0 and load(name).registers[0x0B] != 6]
#: Requests that guests may make, that they may not, and where a profile has no bound.
PLACES = st.one_of(
    st.integers(0, 0xFF),
    st.sampled_from(
        [0x04, 0x0C, 0x10, 0x14, 0x1C, 0x20, 0x30, 0x3C, 0x40, 0x42, 0x60, 0x62, 0xA2, 0xC8, 0xCC, 0xD2, 0xE2]
    ),
    st.integers(0x100, 0x1003),
    st.sampled_from([-4, -1, 0x7FFFFFFC, 0xFFFFFFFC]),
)
SIZES = st.sampled_from([1, 2, 4, 4, 2, 0, 3, 8])
VALUES = st.one_of(
    st.sampled_from(
        [0, 1, 2, 3, 4, 5, 6, 7, 0x17, 0x40, 0x81, 0x0407, 0x8000, 0x8004, 0xC004, 0xFFFF, WORD, 0xFFFFF800]
    ),
    st.integers(0, WORD),
)
GRANTS = st.sampled_from(
    ["", "", "permissive=1", "interrupt_control=1", "extended=1", "permissive=1,interrupt_control=1,extended=1",
     "quirk=f0:2:ff0", "quirk=5:1:ff,quirk=43:4:ffffffff"]
)  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("read"), PLACES, SIZES),
    st.tuples(st.just("write"), PLACES, SIZES, VALUES),
    st.tuples(st.just("write"), PLACES, SIZES, VALUES),
    st.tuples(st.just("reset")),
    st.tuples(st.just("renew")),
    st.tuples(st.just("next"), GRANTS),
)


@pytest.fixture(scope="module")
def host() -> Iterator[EmbeddedHost]:
    with box_only() as rig:
        yield rig.dom0


def asked(view: ConfigView, hardware: Any, step: tuple[Any, ...]) -> Answer:
    if step[0] == "read":
        return view.read(step[1], step[2], hardware)
    return view.write(step[1], step[2], step[3], hardware)


def sound(profile: str, step: tuple[Any, ...], answer: Answer) -> None:
    """What holds of every answer."""
    refused = answer.err != Err.SUCCESS
    if step[0] == "write":
        assert step[3] == answer.value
    elif refused and profile == "strict":
        assert 0 == answer.value
    if profile == "strict":
        assert Err.OP_FAILED <= answer.err <= Err.SUCCESS
        assert step[0] == "write" or answer.value < 1 << 8 * (step[2] if not refused else 1)


@settings(max_examples=150)
@given(st.sampled_from(GIVEN), st.sampled_from([*PROFILES]), GRANTS, st.lists(STEPS, max_size=25))
def test_a_guest_cannot_tell_the_embedded_host_from_plain_registers(
    host: EmbeddedHost, name: str, profile: str, grants: str, program: list[tuple[Any, ...]]
) -> None:
    image = load(name)
    held = host.open_function(image.bdf)
    try:
        before = b"".join(held.read(at, 4).to_bytes(4, "little") for at in range(0, image.size, 4))
        plain = Function(image, bytearray(before))
        views = [ConfigView(survey(hardware, bridges=True), profile) for hardware in (held, plain)]
        for step in (("next", grants), *program, ("next", "")):
            if step[0] in ("read", "write"):
                plain.writes.clear()
                answers = [asked(view, hardware, step) for view, hardware in zip(views, (held, plain), strict=True)]

                assert answers[0] == answers[1], step
                sound(profile, step, answers[1])
                if profile == "strict" and answers[1].err:
                    assert [] == plain.writes, step
            elif step[0] == "reset":
                if image.resets:
                    held.reset()
                    plain.memory[:] = image.registers
            elif step[0] == "renew":
                both: tuple[HardwareAccess, ...] = (held, plain)
                for view, each in zip(views, both, strict=True):
                    view.renew(each)
            else:
                views = [follow(view, hw, step[1]) for view, hw in zip(views, (held, plain), strict=True)]
            assert [notice.kind for notice in views[0].warnings] == [notice.kind for notice in views[1].warnings]
        after = b"".join(held.read(at, 4).to_bytes(4, "little") for at in range(0, image.size, 4))

        assert after == plain.memory
    finally:
        held.close()


def follow(view: ConfigView, hardware: Any, grants: str) -> ConfigView:
    """The next guest; with nothing granted if it cannot be granted that."""
    view.detach(hardware)
    try:
        found = ConfigView(view.identity, view.profile, parse(grants))
    except GrantError:
        found = ConfigView(view.identity, view.profile)
    found.attach(hardware)
    return found


@st.composite
def functions(draw: st.DrawFn) -> Registers:
    """Any registers, likely to be taken for a function; resources of any kind."""
    size = draw(st.sampled_from([256, 4096]))
    seed = draw(st.randoms(use_true_random=False))
    image, mask = bytearray(seed.randbytes(size)), bytearray(seed.randbytes(size))
    image[0x0E] = draw(st.sampled_from([0x00, 0x80, 0x01, 0x00, image[0x0E]]))
    image[0x06] |= draw(st.sampled_from([0x10, 0]))
    image[0x34] = draw(st.sampled_from([0x40, 0x50, image[0x34]]))
    for at in draw(st.lists(st.integers(0x10, 0x3F), max_size=8)):
        image[4 * at] = draw(st.sampled_from([0x01, 0x03, 0x05, 0x11, 0x10, 0x09]))
        image[4 * at + 1] = 4 * draw(st.integers(0, 0x3F))
    flags = st.sampled_from([0, IO | 1, MEM, MEM | MEM_64 | 0xC, MEM | UNSET, MEM | 1])
    resources = tuple(
        placed(draw(st.integers(0, 1 << 34)) << 12, 1 << draw(st.integers(4, 34)), kind) if kind else NONE
        for kind in draw(st.lists(flags, min_size=7, max_size=7))
    )
    found = Registers(image, mask, resources)
    found.vendor, found.device = draw(st.sampled_from([(0x8086, 0x10D3), (0xFFFF, 0xFFFF)]))
    found.is_virtual = draw(st.booleans())
    return found


@settings(max_examples=300)
@given(functions(), st.sampled_from([*PROFILES]), GRANTS, st.lists(STEPS, max_size=25))
def test_any_registers_are_refused_or_served(
    registers: Registers, profile: str, grants: str, program: list[tuple[Any, ...]]
) -> None:
    try:
        view = ConfigView(survey(registers, bridges=PROFILES[profile].layout.bridges), profile)
    except Refused as refused:
        event(refused.refusal.name)
        return
    event("served")
    view.attach(registers)
    for step in (("next", grants), *program, ("next", "")):
        if step[0] in ("read", "write"):
            sound(profile, step, asked(view, registers, step))
        elif step[0] == "renew":
            view.renew(registers)
        elif step[0] == "next":
            view = follow(view, registers, step[1])
