# SPDX-License-Identifier: Apache-2.0
"""The store's rules: who may do what, what a node inherits, and which transactions notice each other."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvpci.impl.embedded import tree
from pvpci.impl.embedded.tree import LOOKS_MAX, NODES_MAX, VALUE_MAX, StoreError, Transaction, Tree

GUEST, OTHER = 7, 8


def number_of(call: Callable[[], object]) -> int:
    with pytest.raises(StoreError) as caught:
        call()
    return caught.value.number


def permit(store: Tree, path: str, *permissions: str) -> None:
    tree.write(store, path, 0, b"")
    tree.set_permissions(store, path, 0, tree.parse_permissions([each.encode() for each in permissions]))


@pytest.fixture
def store() -> Tree:
    store = Tree()
    permit(store, "/open", f"n{GUEST}")
    permit(store, "/readable", "n0", f"r{GUEST}")
    permit(store, "/hidden", "n0")
    permit(store, "/public", "b0")
    return store


@pytest.mark.parametrize(
    ("path", "reading", "writing"),
    [
        ("/open", None, None),
        ("/readable", None, errno.EACCES),
        ("/hidden", errno.EACCES, errno.EACCES),
        ("/public", None, None),
        ("/open/new", errno.ENOENT, None),
        ("/readable/new", errno.ENOENT, errno.EACCES),
        ("/hidden/new/deep", errno.EACCES, errno.EACCES),
        ("/public/new", errno.ENOENT, None),
        ("/", errno.EACCES, errno.EACCES),
    ],
)
def test_what_a_guest_may(store: Tree, path: str, reading: int | None, writing: int | None) -> None:
    reads: list[Callable[[], object]] = [
        lambda: tree.read(store, path, GUEST),
        lambda: tree.directory(store, path, GUEST),
        lambda: tree.permissions(store, path, GUEST),
    ]
    for call in reads:
        if reading is None:
            call()
        else:
            assert reading == number_of(call)
    before = dict(store.nodes)
    writes: list[Callable[[], object]] = [
        lambda: tree.make_directory(store, path, GUEST),
        lambda: tree.write(store, path, GUEST, b"x"),
    ]
    for call in writes:
        if writing is None:
            call()
        else:
            assert writing == number_of(call)
    assert (before == store.nodes) == (writing is not None)


def test_a_node_comes_with_its_parents_and_inherits(store: Tree) -> None:
    tree.write(store, "/open/a/b", GUEST, b"v")
    tree.write(store, "/public/c", GUEST, b"w")
    tree.write(store, "/public/d", 0, b"w")

    assert ("a",) == tree.directory(store, "/open", 0)
    assert b"" == tree.read(store, "/open/a", 0)
    assert ["n7"] == [str(each) for each in tree.permissions(store, "/open/a/b", 0)]
    assert ["b7"] == [str(each) for each in tree.permissions(store, "/public/c", 0)]
    assert ["b0"] == [str(each) for each in tree.permissions(store, "/public/d", 0)]


def test_only_the_owner_sets_permissions_and_never_gives_the_node_away(store: Tree) -> None:
    mine = tree.parse_permissions([b"n7", b"b8"])
    tree.set_permissions(store, "/open", GUEST, mine)
    tree.write(store, "/open", OTHER, b"shared")

    assert b"shared" == tree.read(store, "/open", GUEST)
    assert errno.EPERM == number_of(lambda: tree.set_permissions(store, "/open", OTHER, mine))
    assert errno.EPERM == number_of(lambda: tree.set_permissions(store, "/open", GUEST, mine[1:]))
    assert errno.EPERM == number_of(lambda: tree.set_permissions(store, "/readable", GUEST, mine))


def test_removing_takes_all_below_and_tells_exact_watches(store: Tree) -> None:
    tree.write(store, "/open/a/b", GUEST, b"v")
    changes = tree.remove(store, "/open/a", GUEST)

    assert [("/open/a", False), ("/open/a/b", True)] == [(each.path, each.exact) for each in changes]
    assert (None, None) == (store.get("/open/a"), store.get("/open/a/b"))
    assert () == tree.directory(store, "/open", 0)
    assert errno.ENOENT == number_of(lambda: tree.remove(store, "/open/a", GUEST))
    assert errno.EACCES == number_of(lambda: tree.remove(store, "/readable", GUEST))
    assert errno.EINVAL == number_of(lambda: tree.remove(store, "/", 0))


def test_a_domain_owns_a_bounded_number_of_nodes(store: Tree) -> None:
    room = NODES_MAX - store.owned_by(GUEST)
    for index in range(room):
        tree.write(store, f"/open/{index}", GUEST, b"")

    assert errno.ENOSPC == number_of(lambda: tree.write(store, "/open/more", GUEST, b""))
    assert errno.ENOSPC == number_of(lambda: tree.write(store, "/open/0", GUEST, bytes(VALUE_MAX + 1)))
    tree.remove(store, "/open/0", GUEST)
    tree.write(store, "/open/more", GUEST, bytes(VALUE_MAX))
    assert NODES_MAX == store.owned_by(GUEST)


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"/", "/"), (b"/a/b-c_d@e", "/a/b-c_d@e"), (b"device/pci", "/local/domain/7/device/pci"), (b"0", None)],
)
def test_paths(raw: bytes, path: str | None) -> None:
    assert (path or "/local/domain/7/0") == tree.absolute(raw, GUEST)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"//",
        b"/a/",
        b"/a//b",
        b"/\xff",
        b"/a b",
        b"/a\n",
        b"a" * 2049,
        b"/" + b"a" * 3072,
        b"../0",
        b"@x",
        b"/a:b",
    ],
)
def test_what_is_no_path(raw: bytes) -> None:
    assert errno.EINVAL == number_of(lambda: tree.absolute(raw, GUEST))


@pytest.mark.parametrize("raw", [[], [b""], [b"x7"], [b"r"], [b"r-1"], [b"n0", b"r123456"], [b"r\xd9\xa3"]])
def test_what_is_no_permission(raw: list[bytes]) -> None:
    assert errno.EINVAL == number_of(lambda: tree.parse_permissions(raw))


CONFLICTS: list[tuple[str, Callable[[Tree | Transaction], object], Callable[[Tree], object], bool]] = [
    ("read, written", lambda it: tree.read(it, "/p/a", 0), lambda it: tree.write(it, "/p/a", 0, b"2"), False),
    ("read, written alike", lambda it: tree.read(it, "/p/a", 0), lambda it: tree.write(it, "/p/a", 0, b"1"), False),
    ("read, removed", lambda it: tree.read(it, "/p/a", 0), lambda it: tree.remove(it, "/p/a", 0), False),
    ("listed, sibling made", lambda it: tree.directory(it, "/p", 0), lambda it: tree.write(it, "/p/n", 0, b""), False),
    ("written, written", lambda it: tree.write(it, "/p/a", 0, b"3"), lambda it: tree.write(it, "/p/a", 0, b"2"), False),
    ("made, parent removed", lambda it: tree.write(it, "/p/n", 0, b""), lambda it: tree.remove(it, "/p", 0), False),
    ("read, other written", lambda it: tree.read(it, "/p/a", 0), lambda it: tree.write(it, "/p/b", 0, b"2"), True),
    ("read, other made", lambda it: tree.read(it, "/p/a", 0), lambda it: tree.write(it, "/p/n", 0, b""), True),
    ("read, nothing", lambda it: tree.read(it, "/p/a", 0), lambda it: None, True),
]


@pytest.mark.parametrize(("case", "inside", "outside", "commits"), CONFLICTS)
def test_transactions_notice_what_they_looked_at(
    case: str, inside: Callable[[Tree | Transaction], object], outside: Callable[[Tree], object], commits: bool
) -> None:
    store = Tree()
    tree.write(store, "/p/a", 0, b"1")
    tree.write(store, "/p/b", 0, b"1")
    transaction = Transaction(store, 0)
    inside(transaction)
    outside(store)
    before = dict(store.nodes)
    try:
        transaction.commit()
        committed = True
    except StoreError as error:
        committed = error.number != errno.EAGAIN

    assert (case, commits) == (case, committed)
    assert committed or before == store.nodes


def test_a_missing_node_that_appears_is_noticed() -> None:
    store = Tree()
    transaction = Transaction(store, 0)
    missing = number_of(lambda: tree.read(transaction, "/a", 0))
    tree.write(store, "/a", 0, b"")

    assert (errno.ENOENT, errno.EAGAIN) == (missing, number_of(transaction.commit))


def test_a_guest_s_transaction_looks_at_a_bounded_number_of_nodes(store: Tree) -> None:
    transaction = Transaction(store, GUEST)
    numbers = {number_of(partial(tree.read, transaction, f"/open/{index}", GUEST)) for index in range(LOOKS_MAX)}
    full = number_of(lambda: tree.write(transaction, "/open/a/b", GUEST, b""))

    assert ({errno.ENOENT}, errno.ENOSPC) == (numbers, full)
    assert [] == transaction.commit()
    assert () == tree.directory(store, "/open", 0)


def test_quota_counts_inside_transactions(store: Tree) -> None:
    for index in range(NODES_MAX - 2):
        tree.write(store, f"/open/{index}", GUEST, b"")
    first, second = Transaction(store, GUEST), Transaction(store, GUEST)
    tree.write(first, "/open/0/x", GUEST, b"")
    tree.write(second, "/open/1/x", GUEST, b"")

    assert errno.ENOSPC == number_of(lambda: tree.write(first, "/open/0/y", GUEST, b""))
    first.commit()
    assert errno.ENOSPC == number_of(second.commit)
    assert NODES_MAX == store.owned_by(GUEST)


PATHS = st.sampled_from(["/a", "/a/b", "/a/b/c", "/d", "/d/e"])
STEPS = st.lists(st.tuples(st.sampled_from(["write", "remove", "mkdir"]), PATHS, st.binary(max_size=3)), max_size=12)


def _apply(view: Tree | Transaction, steps: list[tuple[str, str, bytes]]) -> None:
    for kind, path, value in steps:
        try:
            if kind == "write":
                tree.write(view, path, 0, value)
            elif kind == "mkdir":
                tree.make_directory(view, path, 0)
            else:
                tree.remove(view, path, 0)
        except StoreError as error:
            assert error.number == errno.ENOENT


@given(STEPS, STEPS)
def test_a_transaction_alone_is_the_same_as_its_steps(
    before: list[tuple[str, str, bytes]], steps: list[tuple[str, str, bytes]]
) -> None:
    plain, other = Tree(), Tree()
    for each in (plain, other):
        _apply(each, before)
    _apply(plain, steps)
    transaction = Transaction(other, 0)
    _apply(transaction, steps)
    transaction.commit()
    direct = {path: (node.value, node.children) for path, node in plain.nodes.items()}
    committed = {path: (node.value, node.children) for path, node in other.nodes.items()}

    assert direct == committed
    assert plain.owned_by(0) == other.owned_by(0) == len(direct)
    for path, (_, children) in direct.items():
        assert all(f"{path.rstrip('/')}/{name}" in direct for name in children)
