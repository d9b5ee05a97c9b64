# SPDX-License-Identifier: Apache-2.0
"""Requests and answers survive their packet, and anything else is refused by the decoder."""

from __future__ import annotations

import msgspec
import pytest

from pvpci.impl.embedded import wire
from pvpci.impl.embedded.wire import Accounting, AnyRequest, Assigned, Bound, Held, Mapped, Reply, Vector

REQUESTS: list[AnyRequest] = [
    wire.Hello(7, "guest", True),
    wire.OpenStore(),
    wire.Map(7, 8),
    wire.OpenFunction("0000:00:05.0"),
    wire.Account(),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_comes_back(request_: AnyRequest) -> None:
    assert request_ == wire.request_decoder.decode(wire.encode(request_))


def test_an_answer_comes_back() -> None:
    accounting = Accounting((0, 7), ((7, 8),), (Mapped(7, 8, 0, 1),), ((7, 1),), (Bound(0, 1, 7, -1),))
    reply = Reply(0, "", 5, ("a",), accounting)

    assert reply == wire.reply_decoder.decode(wire.encode(reply))


def test_leaks_are_what_a_backend_must_give_back() -> None:
    mapped, held, assigned = Mapped(7, 8, 0, 1), Held("a", 1, "x"), Assigned("a", 7)
    bound = (Bound(0, 1, 7, 1), Bound(7, 1, 0, 1))
    vectors, listening = (Vector("a", 7, 0, 279),), ((7, 3, 279),)
    accounting = Accounting(
        (0, 7), ((7, 8),), (mapped,), ((7, 2),), bound, (held,), (assigned,), vectors, listening, 3, 1
    )

    assert (mapped, bound[0], held, assigned, *vectors) == accounting.leaks
    assert () == Accounting((0, 7), ((7, 8),), (), ((7, 2),), bound[1:], (), (), (), listening, 3, 1).leaks


@pytest.mark.parametrize(
    "packet",
    [b"", b"{}", b"[]", b'{"type":"Nothing"}', b'{"type":"Map","domain":7}', b'{"type":"Map","domain":7,"ref":"x"}']
    + [b'{"type":"OpenStore","more":1}', b"\xff\xfe", b'{"type":"Grant","to":1e99}'],
)
def test_what_is_no_request(packet: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        wire.request_decoder.decode(packet)
