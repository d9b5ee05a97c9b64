# SPDX-License-Identifier: Apache-2.0
"""Sessions answer every message, and watches fire for what their domain may know."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded.service import EVENTS_MAX, TRANSACTIONS_MAX, WATCHES_MAX, Service, Session
from pvpci.impl.xenstore_wire import TOKEN_MAX, Kind, Message, split


def ask(session: Session, kind: int, payload: bytes, transaction: int = 0) -> tuple[int, bytes]:
    answer = session.answer(Message(kind, 5, transaction, payload))

    assert (5, transaction) == (answer.request, answer.transaction)
    return answer.kind, answer.payload


def refused(session: Session, kind: int, payload: bytes, transaction: int = 0) -> str:
    got, name = ask(session, kind, payload, transaction)

    assert Kind.ERROR == got
    return name.decode().rstrip("\0")


def events(session: Session) -> list[tuple[bytes, ...]]:
    found = []
    while (event := session.take_event()) is not None:
        found.append(tuple(split(event.payload)))
    return found


@pytest.fixture
def service() -> Service:
    service = Service()
    service.introduce(7)
    return service


def test_the_home_of_a_domain(service: Service) -> None:
    toolstack, guest = service.connect(0), service.connect(7)

    assert (Kind.READ, b"7") == ask(guest, Kind.READ, b"domid\0")
    assert (Kind.GET_PERMS, b"n0\0r7\0") == ask(toolstack, Kind.GET_PERMS, b"/local/domain/7/device\0")
    assert refused(guest, Kind.WRITE, b"device/x\0") == "EACCES"
    assert (Kind.WRITE, b"OK\0") == ask(guest, Kind.WRITE, b"error/x\0y")
    assert (Kind.GET_DOMAIN_PATH, b"/local/domain/9\0") == ask(guest, Kind.GET_DOMAIN_PATH, b"9\0")
    introduced = [ask(guest, Kind.IS_DOMAIN_INTRODUCED, each)[1] for each in (b"7\0", b"9\0")]
    assert [b"T\0", b"F\0"] == introduced


@pytest.mark.parametrize(
    ("kind", "payload", "transaction", "name"),
    [
        (Kind.READ, b"", 0, "EINVAL"),
        (Kind.READ, b"/no such\0", 0, "EINVAL"),
        (Kind.READ, b"/none\0", 0, "ENOENT"),
        (Kind.READ, b"/\0", 3, "ENOENT"),
        (Kind.WRITE, b"/x", 0, "EINVAL"),
        (Kind.SET_PERMS, b"/\0", 0, "EINVAL"),
        (Kind.RM, b"/\0", 0, "EINVAL"),
        (Kind.WATCH, b"/x\0", 0, "EINVAL"),
        (Kind.WATCH, b"/x\0" + b"t" * (TOKEN_MAX + 1) + b"\0", 0, "EINVAL"),
        (Kind.WATCH, b"/x\0\xff\0", 0, "EINVAL"),
        (Kind.WATCH, b"@else\0t\0", 0, "EINVAL"),
        (Kind.UNWATCH, b"/x\0t\0", 0, "ENOENT"),
        (Kind.TRANSACTION_START, b"\0", 1, "EBUSY"),
        (Kind.TRANSACTION_END, b"T\0", 1, "ENOENT"),
        (Kind.TRANSACTION_END, b"X\0", 1, "EINVAL"),
        (Kind.GET_DOMAIN_PATH, b"x\0", 0, "EINVAL"),
        (Kind.CONTROL, b"print\0", 0, "ENOSYS"),
        (99, b"/\0", 0, "ENOSYS"),
    ],
)
def test_refusals(service: Service, kind: int, payload: bytes, transaction: int, name: str) -> None:
    assert name == refused(service.connect(0), kind, payload, transaction)


KINDS = st.integers(0, 24)
PAYLOADS = st.one_of(
    st.binary(max_size=30),
    st.lists(st.sampled_from([b"/", b"data/x", b"data", b"/local/domain/7/data", b"n7", b"t", b"T", b"7", b""])).map(
        b"\0".join
    ),
)


@given(st.lists(st.tuples(KINDS, st.integers(0, 2), PAYLOADS), max_size=25))
def test_any_message_has_an_answer(messages: Sequence[tuple[int, int, bytes]]) -> None:
    service = Service()
    service.introduce(7)
    session = service.connect(7)
    for kind, transaction, payload in messages:
        answer = session.answer(Message(kind, 1, transaction, payload))

        assert answer.kind in (kind, Kind.ERROR)
        events(session)


def test_a_watch_fires_once_when_placed_and_then_for_the_node_and_below(service: Service) -> None:
    one, two = service.connect(0), service.connect(0)
    ask(one, Kind.WATCH, b"/w\0t\0")
    placed = events(one)
    for path in (b"/w", b"/w/a/b", b"/wx", b"/v"):
        ask(two, Kind.WRITE, path + b"\0v")
    after = events(one)
    ask(one, Kind.UNWATCH, b"/w\0t\0")
    ask(two, Kind.WRITE, b"/w\0v")

    assert [(b"/w", b"t")] == placed
    assert [(b"/w", b"t"), (b"/w/a/b", b"t")] == after
    assert [] == events(one)


def test_equal_events_wait_once(service: Service) -> None:
    session = service.connect(0)
    ask(session, Kind.WATCH, b"/w\0t\0")
    for _ in range(5):
        ask(session, Kind.WRITE, b"/w\0v")

    assert [(b"/w", b"t")] == events(session)


def test_removing_a_tree_tells_those_who_watch_inside(service: Service) -> None:
    session = service.connect(0)
    ask(session, Kind.WRITE, b"/w/a/b\0v")
    for path, token in ((b"/w", b"above"), (b"/w/a/b", b"inside"), (b"/w/a/c", b"absent")):
        ask(session, Kind.WATCH, path + b"\0" + token + b"\0")
    events(session)
    ask(session, Kind.RM, b"/w/a\0")

    assert [(b"/w/a", b"above"), (b"/w/a/b", b"inside")] == events(session)


def test_relative_watches_tell_relative_paths(service: Service) -> None:
    guest = service.connect(7)
    ask(guest, Kind.WATCH, b"data\0t\0")
    ask(guest, Kind.WRITE, b"data/x\0v")

    assert [(b"data", b"t"), (b"data/x", b"t")] == events(guest)


def test_a_guest_is_not_told_of_what_it_may_not_read(service: Service) -> None:
    toolstack, guest = service.connect(0), service.connect(7)
    ask(guest, Kind.WATCH, b"/local/domain/0\0t\0")
    events(guest)
    ask(toolstack, Kind.WRITE, b"/local/domain/0/secret\0v")
    ask(toolstack, Kind.RM, b"/local/domain/0/secret\0")

    assert [] == events(guest)


def test_nothing_is_told_before_a_commit_or_after_an_abort(service: Service) -> None:
    session = service.connect(0)
    ask(session, Kind.WATCH, b"/w\0t\0")
    events(session)
    told = []
    for verdict in (b"F\0", b"T\0"):
        number = int(ask(session, Kind.TRANSACTION_START, b"\0")[1].rstrip(b"\0"))
        ask(session, Kind.WRITE, b"/w/a\0v", number)
        ask(session, Kind.WRITE, b"/w/a\0w", number)
        told.append(events(session))
        ask(session, Kind.TRANSACTION_END, verdict, number)
        told.append(events(session))

    assert [[], [], [], [(b"/w/a", b"t")]] == told
    assert 0 == session.transactions


def test_a_conflict_is_eagain(service: Service) -> None:
    one, two = service.connect(0), service.connect(0)
    number = int(ask(one, Kind.TRANSACTION_START, b"\0")[1].rstrip(b"\0"))
    ask(one, Kind.WRITE, b"/x\0one", number)
    ask(two, Kind.WRITE, b"/x\0two")

    assert refused(one, Kind.TRANSACTION_END, b"T\0", number) == "EAGAIN"
    assert (Kind.READ, b"two") == ask(one, Kind.READ, b"/x\0")


def test_coming_and_going_of_domains_is_told(service: Service) -> None:
    session = service.connect(0)
    for name in (b"@introduceDomain", b"@releaseDomain"):
        ask(session, Kind.WATCH, name + b"\0t\0")
    ask(session, Kind.WATCH, b"/local/domain/8/error\0t\0")
    events(session)
    service.introduce(8)
    came = events(session)
    service.release(8)
    went = events(session)

    assert (b"@introduceDomain", b"t") in came
    assert [(b"/local/domain/8/error", b"t"), (b"@releaseDomain", b"t")] == went
    assert refused(session, Kind.READ, b"/local/domain/8\0") == "ENOENT"


def test_what_a_guest_may_hold_is_bounded(service: Service) -> None:
    guest = service.connect(7)
    watching = [ask(guest, Kind.WATCH, b"data\0%d\0" % index)[0] for index in range(WATCHES_MAX)]
    beginning = [ask(guest, Kind.TRANSACTION_START, b"\0")[0] for _ in range(TRANSACTIONS_MAX)]

    assert {Kind.WATCH} == set(watching)
    assert {Kind.TRANSACTION_START} == set(beginning)
    assert refused(guest, Kind.WATCH, b"data\0more\0") == "E2BIG"
    assert refused(guest, Kind.WATCH, b"data\0" + b"0\0") == "EEXIST"
    assert refused(guest, Kind.TRANSACTION_START, b"\0") == "ENOSPC"


def test_invented_names_do_not_fill_a_watcher_s_queue(service: Service) -> None:
    watcher, guest = service.connect(0), service.connect(7)
    ask(watcher, Kind.WATCH, b"/local/domain/7\0t\0")
    most = 0
    for index in range(EVENTS_MAX + 10):
        ask(guest, Kind.WRITE, b"data/%d\0" % index)
        ask(guest, Kind.RM, b"data/%d\0" % index)
        most = max(most, len(watcher._events))
    told = events(watcher)

    assert EVENTS_MAX == most
    assert (b"/local/domain/7", b"t") in told


def test_a_listing_longer_than_a_payload_is_e2big(service: Service) -> None:
    session = service.connect(0)
    for index in range(50):
        ask(session, Kind.WRITE, b"/d/" + b"n" * 90 + b"%d\0" % index)

    assert refused(session, Kind.DIRECTORY, b"/d\0") == errno.errorcode[errno.E2BIG]


def test_a_closed_session_hears_nothing(service: Service) -> None:
    session, other = service.connect(0), service.connect(0)
    ask(session, Kind.WATCH, b"/w\0t\0")
    session.close()
    events(session)
    ask(other, Kind.WRITE, b"/w\0v")

    assert [] == events(session)
