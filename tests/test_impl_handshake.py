# SPDX-License-Identifier: Apache-2.0
"""What becomes of functions, and of texts that somebody else wrote, on their way through a connection."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fake_guest import Stage
from tests.fake_host import EDU, RTL, FakeFunction

from pvpci.impl.host import Bdf, HostError
from pvpci.impl.xenstore_wire import Kind
from pvpci.model.config import constants as pci

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


def test_a_function_is_quiet_before_and_after_each_guest() -> None:
    stage = Stage()
    registers = stage.host.devices[EDU].registers
    registers[pci.COMMAND] |= 7
    stage.hear()
    before = registers[pci.COMMAND] & 4
    stage.connect()
    stage.ask(cmd=1, offset=4, size=2, value=7)
    stage.host.store.remove(stage.front)
    stage.hear()

    assert (0, 0) == (before, registers[pci.COMMAND] & 4)


def test_a_frontend_path_that_is_not_the_guests_is_not_followed() -> None:
    stage = Stage()
    stage.host.store.write(f"{stage.back}/frontend", "/local/domain/8/device/pci/0")
    stage.hear()
    stage.say("3")
    stage.host.store.write("/local/domain/8/device/pci/0/state", "5")
    stage.hear()

    assert "5" == stage.own()  # for want of keys in the guest's own directory
    assert "frontend path is not the guest's" in stage.text.getvalue()


@pytest.mark.parametrize(
    "path", ["/local/domain/7/../8/device/pci/0", "/local/domain/7/ x", "/local/domain/7/", "7", ""]
)
def test_a_path_that_is_none_is_not_followed(path: str) -> None:
    stage = Stage()
    stage.host.store.write(f"{stage.back}/frontend", path)
    stage.hear()

    assert "3" == stage.own()


def test_a_reset_that_fails_is_said_and_the_function_is_free() -> None:
    stage = Stage()

    def reset() -> None:
        raise HostError("no reset today", errno.EIO)

    stage.host.devices[EDU].reset = reset  # type: ignore[method-assign]
    stage.connect()
    stage.host.store.remove(stage.front)
    stage.hear()

    assert (0, 0, 0) == stage.host.held
    assert "no reset today" in stage.text.getvalue()


def test_a_function_without_a_reset_is_nothing_to_speak_of() -> None:
    stage = Stage()

    def reset() -> None:
        raise HostError("no such thing", errno.ENOTTY)

    stage.host.devices[EDU].reset = reset  # type: ignore[method-assign]
    stage.connect()
    stage.host.store.remove(stage.front)
    stage.hear()

    assert "no such thing" not in stage.text.getvalue()


def test_a_function_that_does_not_answer_is_not_attached() -> None:
    stage = Stage(functions=(EDU, RTL))
    stage.host.devices[RTL].broken = True
    stage.hear()

    assert ("5", set()) == (stage.own(), stage.host.opened)
    assert stage.host.store.read(f"{stage.back}/vdev-0") is None


def test_a_guest_cannot_flood_the_log() -> None:
    stage = Stage()
    for _ in range(200):
        stage.hear()
        stage.say("3")
        stage.say("6")
        stage.say("1")

    assert stage.text.getvalue().count("gave up on the device") <= 11


def attempt(stage: Stage, step: Callable[[], None]) -> None:
    """Writing what xenstore refuses is the writer's trouble."""
    try:
        step()
    except HostError as error:
        assert errno.EINVAL == error.errno


@given(
    st.dictionaries(
        st.sampled_from(["num_devs", "state-0", "dev-0", "frontend", "online", "state", "root_num", "vdev-0"]), TEXTS
    )
)
def test_no_text_in_the_backends_directory_is_too_much(nodes: dict[str, str]) -> None:
    stage = Stage()
    for key, text in nodes.items():
        stage.host.store.write(f"{stage.back}/{key}", text)
    attempt(stage, stage.hear)
    attempt(stage, stage.connect) if stage.own() == "3" and stage.instance.channel is None else stage.hear()
    stage.host.store.remove(stage.front)
    stage.host.store.remove(stage.back)
    stage.hear()

    assert (0, 0, 0) == stage.host.held
    assert 0 == stage.host.store.open_transactions


@given(
    st.lists(
        st.tuples(st.sampled_from(["state", "pci-op-ref", "event-channel", "magic", "backend"]), TEXTS), max_size=8
    )
)
def test_no_text_in_the_guests_directory_is_too_much(writes: list[tuple[str, str]]) -> None:
    stage = Stage()
    stage.connect()
    for key, text in writes:
        stage.host.store.write(f"{stage.front}/{key}", text)
        stage.hear()
    stage.host.store.remove(stage.front)
    stage.hear()

    assert (0, 0, 0) == stage.host.held
    assert 0 == stage.host.store.open_transactions


@pytest.mark.parametrize("fails", range(40))
def test_an_attach_that_fails_anywhere_leaves_no_trace(fails: int) -> None:
    """The host refuses its n-th call, whatever that is; then nothing is held that the store does not say."""
    stage = Stage(functions=(EDU, RTL))
    left = [fails]
    ask, opening = stage.host.store.ask, stage.host.open_function

    def refuses(what: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise HostError(f"{what} is refused today", errno.EIO)

    def asked(kind: Kind, payload: bytes, number: int = 0) -> bytes:
        if number and kind is not Kind.TRANSACTION_END:
            refuses(kind.name)
        return ask(kind, payload, number)

    def opened(bdf: Bdf) -> FakeFunction:
        refuses(f"opening {bdf}")
        return opening(bdf)

    stage.host.store.ask = asked  # type: ignore[method-assign]
    stage.host.open_function = opened  # type: ignore[method-assign]
    is_over = False
    try:
        stage.hear()
    except HostError:  # it was the state that could not be written: then service ends
        stage.instance.forget()
        is_over = True
    stage.host.store.ask = ask  # type: ignore[method-assign]
    published = {
        bdf for index, bdf in enumerate((EDU, RTL)) if stage.host.store.read(f"{stage.back}/vdev-{index}") is not None
    }

    assert (
        (set() if is_over else published) == stage.host.opened == {one.bdf for one in stage.instance.topology.attached}
    )
    assert 0 == stage.host.store.open_transactions


def test_a_round_that_is_given_up_leaves_what_was_there() -> None:
    stage = Stage(functions=(EDU,))
    stage.connect()
    stage.host.store.write(f"{stage.back}/dev-1", str(RTL))
    stage.host.store.write(f"{stage.back}/state-1", "1")
    stage.host.store.write(f"{stage.back}/num_devs", "2")
    stage.host.store.write(f"{stage.back}/root_num", "many")
    stage.tool(state="7")
    stage.say("7")

    assert {EDU} == stage.host.opened
    assert "root_num: 'many' is not 0 to 4096" in stage.text.getvalue()


def test_the_machines_own_addresses_and_its_roots() -> None:
    stage = Stage(functions=(EDU, RTL), topology="passthrough")
    stage.host.devices[RTL].bdf = far = Bdf(0, 2, 3, 1)
    stage.host.devices[far] = stage.host.devices.pop(RTL)
    stage.host.store.write(f"{stage.back}/dev-1", str(far))
    stage.connect()
    store = stage.host.store
    said = [store.read(f"{stage.back}/{key}") for key in ("vdev-0", "vdev-1", "root_num", "root-0", "root-1")]

    assert ["0000:00:07.00", "0000:02:03.01", "2", "0000:00", "0000:02"] == said
    assert (0, 0x813910EC) == stage.ask(bus=2, devfn=0x19)
    assert (-1, 0) == stage.ask(bus=0, devfn=0x19)


def test_a_root_is_told_once() -> None:
    stage = Stage(functions=(EDU,), topology="passthrough")
    stage.connect()
    stage.host.store.write(f"{stage.back}/dev-1", str(RTL))
    stage.host.store.write(f"{stage.back}/state-1", "1")
    stage.host.store.write(f"{stage.back}/num_devs", "2")
    stage.tool(state="7")
    stage.say("7")

    assert {EDU, RTL} == stage.host.opened
    assert "1" == stage.host.store.read(f"{stage.back}/root_num")


def test_a_line_that_the_host_uses_too_is_withheld_or_the_function_is_refused() -> None:
    served, refused = Stage(functions=(EDU,)), Stage(functions=(RTL,))
    for stage, bdf in ((served, EDU), (refused, RTL)):
        stage.host.drivers[stage.host.devices[bdf].irq] = "ahci"
        stage.hear()

    assert "no line interrupt, messages only" in served.text.getvalue()
    assert 0x400 == served.host.devices[EDU].read(pci.COMMAND, 2) & 0x400
    assert "5" == refused.own()
    assert "its line interrupt is also that of ahci, and it has no messages" in refused.text.getvalue()
