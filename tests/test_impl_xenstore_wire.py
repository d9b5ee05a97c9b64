# SPDX-License-Identifier: Apache-2.0
"""Sizes and numbers are those of io/xs_wire.h, and the parser is total however the bytes are cut."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.host import HostError
from pvpci.impl.xenstore_wire import (
    ABSOLUTE_PATH_MAX,
    HEADER,
    PAYLOAD_MAX,
    RELATIVE_PATH_MAX,
    TOKEN_MAX,
    Kind,
    Message,
    Parser,
    split,
    text_of,
)

WORDS = st.integers(0, 0xFFFFFFFF)
MESSAGES = st.builds(Message, WORDS, WORDS, WORDS, st.binary(max_size=64))


def test_sizes() -> None:
    assert (16, 4096, 3072, 2048) == (HEADER.size, PAYLOAD_MAX, ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX)
    assert PAYLOAD_MAX == ABSOLUTE_PATH_MAX + 1 + TOKEN_MAX + 1


def test_numbers() -> None:
    expected = "CONTROL DIRECTORY READ GET_PERMS WATCH UNWATCH TRANSACTION_START TRANSACTION_END INTRODUCE RELEASE"
    expected += " GET_DOMAIN_PATH WRITE MKDIR RM SET_PERMS WATCH_EVENT ERROR IS_DOMAIN_INTRODUCED"

    assert list(enumerate(expected.split())) == [(kind.value, kind.name) for kind in Kind]


def test_a_message_as_bytes() -> None:
    packed = Message(Kind.WRITE, 0x01020304, 5, b"a\0b").pack()

    assert bytes.fromhex("0b000000 04030201 05000000 03000000") + b"a\0b" == packed


@given(st.lists(MESSAGES, max_size=5))
def test_messages_come_back_whole_and_byte_by_byte(messages: list[Message]) -> None:
    stream = b"".join(each.pack() for each in messages)
    parser = Parser()
    piecemeal = [found for index in range(len(stream)) for found in parser.feed(stream[index : index + 1])]

    assert messages == Parser().feed(stream)
    assert messages == piecemeal


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_messages_or_one_refusal(chunks: list[bytes]) -> None:
    parser, outcome = Parser(), "messages"
    try:
        for chunk in chunks:
            parser.feed(chunk)
    except HostError as error:
        outcome = errno.errorcode[error.errno]

    assert outcome in ("messages", "EPROTO")


def test_the_longest_payload_passes_and_one_byte_more_does_not() -> None:
    longest = Message(Kind.READ, 1, 0, bytes(PAYLOAD_MAX))

    assert [longest] == Parser().feed(longest.pack())
    with pytest.raises(HostError) as packing:
        Message(Kind.READ, 1, 0, bytes(PAYLOAD_MAX + 1)).pack()
    with pytest.raises(HostError) as parsing:
        Parser().feed(HEADER.pack(2, 1, 0, PAYLOAD_MAX + 1))
    assert (errno.E2BIG, errno.EPROTO) == (packing.value.errno, parsing.value.errno)


@pytest.mark.parametrize(
    ("payload", "parts"),
    [(b"", []), (b"\0", [b""]), (b"a\0", [b"a"]), (b"a", [b"a"]), (b"a\0b\0", [b"a", b"b"]), (b"a\0\0", [b"a", b""])],
)
def test_split(payload: bytes, parts: list[bytes]) -> None:
    assert parts == split(payload)


@given(st.binary(max_size=50))
def test_text_is_always_ascii(value: bytes) -> None:
    assert text_of(value).isascii()


def test_what_is_not_ascii_is_no_digit() -> None:
    assert ("\\xd9\\xa3", "7") == (text_of("\u0663".encode()), text_of(b"7"))
