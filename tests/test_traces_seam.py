# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from tests.trace_world import BDF, GUEST

from pvpci.model.wire import Cmd
from pvpci.traces.format import Asked, Function, Line, Vectors
from pvpci.traces.seam import Answer, Complaint, Seam

OFF = Answer("OFF", 0, 0)


def performs(cmd: int, value: int = 0, devfn: int = 0) -> Line:
    where = {"cmd": int(cmd), "domain": 0, "bus": 0, "devfn": devfn, "offset": 0, "size": 0, "value": value}
    return Line(
        seq=1, t_ns=0, guest=GUEST, kind="perform", machine="op", event="GO", asked=[Asked("perform", {**where})]
    )


def step(event: str, **given: Any) -> Line:
    return Line(
        seq=1, t_ns=0, guest=GUEST, kind="x", machine="interrupts", function=BDF, event=event, given=given or None
    )


def done(err: int = 0, value: int = 0) -> Line:
    return Line(seq=1, t_ns=0, guest=GUEST, kind="done", machine="op", event="Done", given={"err": err, "value": value})


def seam() -> Seam:
    made = Seam()
    made.begin(GUEST)
    made.attached(Function(seq=1, t_ns=0, guest=GUEST, function=BDF, slot=0, identity={}, shared=False))
    return made


def rule(complaint: Complaint | None) -> str:
    return "" if complaint is None else complaint.rule


def test_what_was_asked_for_is_done_once() -> None:
    made = seam()
    made.performs(performs(Cmd.ENABLE_MSIX, 2))

    assert ["", "I-26"] == [rule(made.step(step("EnableMsix", count=2))) for _ in range(2)]
    assert BDF == made.performed(done())
    assert "" == rule(made.done(done(), OFF))
    assert "" == made.performed(done())


def test_another_operation_or_another_function_is_not_what_was_asked_for() -> None:
    made = seam()
    made.performs(performs(Cmd.ENABLE_MSI))
    assert "I-26" == rule(made.step(step("DisableMsi")))
    made.performs(performs(Cmd.ENABLE_MSI, devfn=8))
    assert "I-26" == rule(made.step(step("EnableMsi")))


def test_a_reset_is_nobodys_request() -> None:
    assert None is seam().step(step("Reset"))


def test_an_operation_that_never_came_has_failed() -> None:
    for err, expected in ((0, "D-05"), (0xFFFFFFFB, "")):
        made = seam()
        made.performs(performs(Cmd.DISABLE_MSIX))
        assert expected == rule(made.done(done(err), OFF))


def test_an_answer_comes_from_where_the_interrupts_are_at_rest() -> None:
    for answer, expected in (
        (Answer("", 0, 0), "D-05"),
        (Answer("MSI", 0, 55), "D-05"),
        (Answer("OFF", None, None), ""),
        (None, ""),
    ):
        made = seam()
        made.performs(performs(Cmd.DISABLE_MSI))
        made.step(step("DisableMsi"))
        assert expected == rule(made.done(done(), answer))


def test_numbers_are_those_that_are_mapped_now() -> None:
    made = seam()
    made.performs(performs(Cmd.ENABLE_MSIX, 2))
    for one in (55, 54, 53):
        made.step(step("Mapped", ok=True, err=0, pirq=one))
    made.step(step("Mapped", ok=False, err=28, pirq=0))
    made.step(step("Unmapped", gone=True))
    made.step(step("Unmapped", gone=False))

    assert ["", "I-47", "I-47"] == [
        rule(made.handed_out(Vectors(seq=1, t_ns=0, guest=GUEST, numbers=numbers)))
        for numbers in ([55, 54], [54, 55], [55])
    ]


def test_nothing_is_said_of_functions_that_nobody_saw_come() -> None:
    made = seam()
    made.gone(GUEST, BDF)
    made.performs(performs(Cmd.ENABLE_MSI))

    assert None is made.step(step("DisableMsi"))
    assert "" == made.performed(done())
    assert None is made.handed_out(Vectors(seq=1, t_ns=0, guest=GUEST, numbers=[1]))
