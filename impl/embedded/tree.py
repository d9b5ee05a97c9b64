# SPDX-License-Identifier: Apache-2.0
"""The embedded store's nodes: paths, permissions, quotas, and transactions that notice each other.

Pure: no sockets and no clock. A node is immutable and carries the number of its last change. A transaction keeps its
own version of what it changed, and of everything that it looked at the number it saw; it commits only if those numbers
are still true. Reading the permissions of an ancestor of a missing node does not count as looking, otherwise any
sibling that comes or goes would make the reader start again.

Rules are xenstore's: a node is created with its missing parents and inherits the nearest ancestor's permissions, owned
by whoever created it unless that is domain 0; domain 0 may do anything; a domain owns a bounded number of nodes.
"""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pvpci.impl.xenstore_wire import ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX

NODES_MAX: Final = 1000  #: nodes that one unprivileged domain may own
LOOKS_MAX: Final = 1024  #: nodes that one transaction of an unprivileged domain may look at
VALUE_MAX: Final = 2048  #: bytes of a value that an unprivileged domain may write

_PATH: Final = re.compile(rb"(?:/|(?:/[A-Za-z0-9_@-]+)+)")
_PERMISSION: Final = re.compile(rb"([nrwb])([0-9]{1,5})")


class StoreError(Exception):
    """The request is refused with this errno; nothing has changed."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of a node's list. The first entry's domain owns the node, its letter is what everybody else may do."""

    letter: str
    domain: int

    @property
    def may_read(self) -> bool:
        return self.letter in "rb"

    @property
    def may_write(self) -> bool:
        return self.letter in "wb"

    def __str__(self) -> str:
        return f"{self.letter}{self.domain}"


@dataclass(frozen=True, slots=True)
class Node:
    value: bytes
    permissions: tuple[Permission, ...]
    children: tuple[str, ...]
    changed: int

    @property
    def owner(self) -> int:
        return self.permissions[0].domain

    def _entry(self, domain: int) -> Permission:
        return next((each for each in self.permissions[1:] if each.domain == domain), self.permissions[0])

    def readable(self, domain: int) -> bool:
        return domain in (0, self.owner) or self._entry(domain).may_read

    def writable(self, domain: int) -> bool:
        return domain in (0, self.owner) or self._entry(domain).may_write


@dataclass(frozen=True, slots=True)
class Change:
    """What watches learn: the path, the node by which to judge who may know, and whether only an exact watch fires."""

    path: str
    node: Node
    exact: bool = False


def home(domain: int) -> str:
    return f"/local/domain/{domain}"


def absolute(raw: bytes, domain: int) -> str:
    """The absolute path that `domain` means. StoreError(EINVAL): not a path, or too long."""
    if not raw.startswith(b"/"):
        # A leading @ marks the names of events that are no nodes.
        if len(raw) > RELATIVE_PATH_MAX or raw.startswith(b"@"):
            raise StoreError(errno.EINVAL)
        raw = home(domain).encode() + b"/" + raw
    if len(raw) > ABSOLUTE_PATH_MAX or not _PATH.fullmatch(raw):
        raise StoreError(errno.EINVAL)
    return raw.decode("ascii")


def parse_permissions(raw: Sequence[bytes]) -> tuple[Permission, ...]:
    """StoreError(EINVAL): an entry is not a letter of n, r, w, b followed by a domain, or there is none."""
    parsed = []
    for each in raw:
        match = _PERMISSION.fullmatch(each)
        if match is None:
            raise StoreError(errno.EINVAL)
        parsed.append(Permission(match[1].decode(), int(match[2])))
    if not parsed:
        raise StoreError(errno.EINVAL)
    return tuple(parsed)


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class Tree:
    """The nodes as everybody sees them."""

    def __init__(self) -> None:
        self._clock = 0
        self.nodes: dict[str, Node] = {"/": Node(b"", (Permission("n", 0),), (), 0)}
        self.owned: Counter[int] = Counter({0: 1})

    def get(self, path: str) -> Node | None:
        return self.nodes.get(path)

    peek = get

    def put(self, path: str, node: Node | None) -> None:
        """Replace a node, or drop it with None."""
        self._clock += 1
        before = self.nodes.pop(path, None)
        if before is not None:
            self.owned[before.owner] -= 1
        if node is not None:
            self.nodes[path] = replace(node, changed=self._clock)
            self.owned[node.owner] += 1

    def owned_by(self, domain: int) -> int:
        return self.owned[domain]


class Transaction:
    """A view of the tree that becomes part of it, or not."""

    def __init__(self, tree: Tree, domain: int) -> None:
        self._tree, self._domain = tree, domain
        self._own: dict[str, Node | None] = {}
        self._seen: dict[str, int] = {}
        self._changes: dict[tuple[str, bool], Change] = {}

    def get(self, path: str) -> Node | None:
        self._look(path)
        return self.peek(path)

    def peek(self, path: str) -> Node | None:
        return self._own[path] if path in self._own else self._tree.get(path)

    def put(self, path: str, node: Node | None) -> None:
        self._look(path)
        self._own[path] = node

    def owned_by(self, domain: int) -> int:
        gained = sum(node is not None and node.owner == domain for node in self._own.values())
        replaced = (self._tree.get(path) for path in self._own)
        lost = sum(node is not None and node.owner == domain for node in replaced)
        return self._tree.owned_by(domain) + gained - lost

    def note(self, changes: Sequence[Change]) -> None:
        """What watches will learn after the commit, each path once."""
        self._changes.update(((each.path, each.exact), each) for each in changes)

    def commit(self) -> list[Change]:
        """The changes that are visible now. StoreError(EAGAIN): somebody else changed what was looked at."""
        if any(changed != self._changed(path) for path, changed in self._seen.items()):
            raise StoreError(errno.EAGAIN)
        owners = {node.owner for node in self._own.values() if node is not None} - {0}
        if any(self.owned_by(owner) > NODES_MAX for owner in owners):
            raise StoreError(errno.ENOSPC)
        for path, node in self._own.items():
            self._tree.put(path, node)
        return list(self._changes.values())

    def _look(self, path: str) -> None:
        if path not in self._seen:
            if self._domain and len(self._seen) >= LOOKS_MAX:
                raise StoreError(errno.ENOSPC)
            self._seen[path] = self._changed(path)

    def _changed(self, path: str) -> int:
        node = self._tree.get(path)
        return -1 if node is None else node.changed


View = Tree | Transaction


def _nearest(view: View, path: str) -> tuple[str, Node]:
    node = view.peek(path)
    while node is None:
        path = parent_of(path)
        node = view.peek(path)
    return path, node


def _existing(view: View, path: str, domain: int, *, write: bool) -> Node:
    node = view.get(path)
    if node is None:
        # Whether something is missing may be known to those only who could have read it.
        allowed = _nearest(view, path)[1]
        may = allowed.writable(domain) if write else allowed.readable(domain)
        raise StoreError(errno.ENOENT if may else errno.EACCES)
    if not (node.writable(domain) if write else node.readable(domain)):
        raise StoreError(errno.EACCES)
    return node


def read(view: View, path: str, domain: int) -> bytes:
    return _existing(view, path, domain, write=False).value


def directory(view: View, path: str, domain: int) -> tuple[str, ...]:
    return _existing(view, path, domain, write=False).children


def permissions(view: View, path: str, domain: int) -> tuple[Permission, ...]:
    return _existing(view, path, domain, write=False).permissions


def write(view: View, path: str, domain: int, value: bytes) -> list[Change]:
    if domain and len(value) > VALUE_MAX:
        raise StoreError(errno.ENOSPC)
    node = view.get(path)
    if node is None:
        node = _create(view, path, domain, value)
    else:
        if not node.writable(domain):
            raise StoreError(errno.EACCES)
        node = replace(node, value=value)
        view.put(path, node)
    return [Change(path, node)]


def make_directory(view: View, path: str, domain: int) -> list[Change]:
    node = view.get(path)
    if node is not None:
        if not node.writable(domain):
            raise StoreError(errno.EACCES)
        return []
    return [Change(path, _create(view, path, domain, b""))]


def _create(view: View, path: str, domain: int, value: bytes) -> Node:
    above, ancestor = _nearest(view, path)
    if not ancestor.writable(domain):
        raise StoreError(errno.EACCES)
    missing = [path]
    while parent_of(missing[-1]) != above:
        missing.append(parent_of(missing[-1]))
    if domain and view.owned_by(domain) + len(missing) > NODES_MAX:
        raise StoreError(errno.ENOSPC)
    # Looked at before anything changes, so that a transaction that may look no further is left as it was.
    for each in (above, *missing):
        view.get(each)
    inherited = ancestor.permissions
    if domain:
        inherited = (Permission(inherited[0].letter, domain), *inherited[1:])
    made = ancestor
    for each in reversed(missing):
        _adopt(view, each)
        made = Node(value if each == path else b"", inherited, (), 0)
        view.put(each, made)
    return made


def _adopt(view: View, path: str) -> None:
    above = parent_of(path)
    parent = view.get(above)
    if parent is not None:
        view.put(above, replace(parent, children=(*parent.children, path.rpartition("/")[2])))


def remove(view: View, path: str, domain: int) -> list[Change]:
    """The node and all below it; those below tell only who watches exactly them."""
    if path == "/":
        raise StoreError(errno.EINVAL)
    node = _existing(view, path, domain, write=True)
    # Gathered before anything changes, so that a transaction that may look no further is left as it was.
    above = parent_of(path)
    parent = view.get(above)
    changes, waiting = [Change(path, node)], [(path, node)]
    while waiting:
        at, gone = waiting.pop()
        for name in gone.children:
            below = view.get(f"{at}/{name}")
            if below is not None:
                changes.append(Change(f"{at}/{name}", below, exact=True))
                waiting.append((f"{at}/{name}", below))
    for change in changes:
        view.put(change.path, None)
    if parent is not None:
        name = path.rpartition("/")[2]
        view.put(above, replace(parent, children=tuple(each for each in parent.children if each != name)))
    return changes


def set_permissions(view: View, path: str, domain: int, wanted: tuple[Permission, ...]) -> list[Change]:
    """StoreError(EPERM): only its owner may, and only domain 0 may give it to another owner."""
    node = _existing(view, path, domain, write=False)
    if domain and (node.owner != domain or wanted[0].domain != domain):
        raise StoreError(errno.EPERM)
    changed = replace(node, permissions=wanted)
    view.put(path, changed)
    return [Change(path, changed)]
