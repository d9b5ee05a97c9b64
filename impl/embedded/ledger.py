# SPDX-License-Identifier: Apache-2.0
"""Who has granted, mapped, bound, opened and been given what.

The hypervisor's tables of the embedded world, with its rules: a reference may be mapped by the one domain that it
names; a port may be bound once by the one domain that it names, and rings at once when it is; closing one end leaves
the other without a partner (the allocated end can then be bound again); whoever dies leaves nothing behind but what
others still have mapped or bound. Descriptors are all that it touches of the system.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import socket
from dataclasses import dataclass, field
from typing import Final

from pvpci.impl.atomic import PAGE_SIZE
from pvpci.impl.embedded.image import Image
from pvpci.impl.embedded.interrupts import Interrupts, ring
from pvpci.impl.embedded.wire import Accounting, Assigned, Bound, Held, Mapped
from pvpci.impl.host import HostError

GRANTS_MAX: Final = 64  #: pages that one domain may have granted
PORTS_MAX: Final = 64  #: ports that one domain other than 0 may have
#: The first references belong to the toolstack in the real table; guests never see them.
_FIRST_REF: Final = 8


@dataclass(eq=False, slots=True)
class Member:
    """A process that talks to the box."""

    domain: int
    pid: int
    label: str
    owner: bool


@dataclass(slots=True)
class _Grant:
    to: int
    memory: int
    maps: int = 0
    revoked: bool = False


@dataclass(slots=True)
class _Port:
    """One end. `bell` is what its process polls; `partner` is the other end while it is bound."""

    member: Member
    remote: int
    bell: socket.socket
    peer_bell: socket.socket
    allocated: bool
    partner: tuple[int, int] | None = None
    pirq: int = 0  #: instead of a partner


@dataclass(slots=True)
class _Function:
    image: Image
    memory: int
    holder: Member | None = None
    domain: int | None = None


@dataclass(slots=True)
class _Mapping:
    member: Member
    owner: int
    ref: int
    grant: _Grant


def shared_memory(name: str, content: bytes) -> int:
    """A descriptor of memory holding `content` that nobody can shrink under those who have it mapped."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


@dataclass(slots=True)
class Ledger:
    """Every method raises HostError with the number of the real call, and has then changed nothing."""

    domains: set[int] = field(default_factory=lambda: {0})
    _grants: dict[tuple[int, int], _Grant] = field(default_factory=dict)
    _mappings: dict[int, _Mapping] = field(default_factory=dict)
    _ports: dict[tuple[int, int], _Port] = field(default_factory=dict)
    _functions: dict[str, _Function] = field(default_factory=dict)
    interrupts: Interrupts = field(default_factory=Interrupts)
    #: By call: how many more pass, how many then fail, and with what number.
    _refusals: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    _handles: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def add_function(self, bdf: str, image: Image) -> None:
        memory = shared_memory(f"pci {bdf}", image.registers)
        self._functions[bdf] = _Function(image, memory)
        self.interrupts.add(bdf, image, memory)

    def grant(self, member: Member, to: int) -> tuple[int, int]:
        """-> reference and descriptor."""
        mine = [ref for domain, ref in self._grants if domain == member.domain]
        if len(mine) >= GRANTS_MAX:
            raise HostError(f"domain {member.domain} has {GRANTS_MAX} grants already", errno.ENOSPC)
        ref = next(each for each in itertools.count(_FIRST_REF) if each not in mine)
        memory = shared_memory(f"grant {member.domain}.{ref}", bytes(PAGE_SIZE))
        self._grants[member.domain, ref] = _Grant(to, memory)
        return ref, memory

    def revoke(self, member: Member, ref: int) -> bool:
        """-> True if the page is mapped and the grant therefore stays."""
        grant = self._grants.get((member.domain, ref))
        if grant is None:
            raise HostError(f"domain {member.domain} has no grant {ref}", errno.EINVAL)
        if grant.maps:
            return True
        self._end_grant((member.domain, ref))
        return False

    def map(self, member: Member, domain: int, ref: int) -> tuple[int, int]:
        """-> handle and descriptor."""
        grant = self._grants.get((domain, ref))
        if grant is None or grant.to != member.domain:
            raise HostError(f"domain {domain} has not granted {ref} to domain {member.domain}", errno.EINVAL)
        handle = next(self._handles)
        self._mappings[handle] = _Mapping(member, domain, ref, grant)
        grant.maps += 1
        return handle, grant.memory

    def unmap(self, member: Member, handle: int) -> None:
        mapping = self._mappings.get(handle)
        if mapping is None or mapping.member is not member:
            raise HostError(f"mapping {handle} is not held", errno.EINVAL)
        self._end_mapping(handle)

    def alloc(self, member: Member, to: int) -> tuple[int, int]:
        """-> port and the descriptor of its bell."""
        key = self._free_port(member.domain)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._ports[key] = _Port(member, to, ours, theirs, allocated=True)
        return key[1], ours.fileno()

    def bind(self, member: Member, domain: int, remote: int) -> tuple[int, int]:
        """-> local port and the descriptor of its bell, which has rung once."""
        other = self._ports.get((domain, remote))
        if other is None or not other.allocated or other.remote != member.domain or other.partner is not None:
            raise HostError(f"port {remote} of domain {domain} is not there for domain {member.domain}", errno.EINVAL)
        key = self._free_port(member.domain)
        self._ports[key] = _Port(member, domain, other.peer_bell, other.bell, False, (domain, remote))
        other.partner = key
        ring(other.bell)
        return key[1], other.peer_bell.fileno()

    def close_port(self, member: Member, port: int) -> None:
        mine = self._ports.get((member.domain, port))
        if mine is None or mine.member is not member:
            raise HostError(f"port {port} is not held", errno.EINVAL)
        self._end_port((member.domain, port))

    def functions(self) -> tuple[str, ...]:
        return tuple(sorted(self._functions))

    def open_function(self, member: Member, bdf: str) -> tuple[str, int]:
        """-> where its image is, and the descriptor of its configuration space."""
        function = self._function(bdf)
        if (holder := function.holder) is not None:
            raise HostError(f"{bdf} is held by {holder.label} (process {holder.pid})", errno.EBUSY)
        function.holder = member
        return str(function.image.source), function.memory

    def close_function(self, member: Member, bdf: str) -> None:
        self._held(member, bdf).holder = None

    def give(self, member: Member, domain: int, bdf: str) -> None:
        function = self._held(member, bdf)
        if domain not in self.domains or domain == 0:
            raise HostError(f"{bdf} cannot be given to domain {domain}: no such guest", errno.ESRCH)
        if function.domain is not None:
            raise HostError(f"{bdf} is assigned to domain {function.domain}", errno.EBUSY)
        self._pass("give", bdf)
        function.domain = domain
        self.interrupts.give(domain, bdf)

    def take_back(self, member: Member, domain: int, bdf: str) -> None:
        function = self._held(member, bdf)
        if function.domain not in (domain, None):
            raise HostError(f"{bdf} is assigned to domain {function.domain}, not {domain}", errno.EINVAL)
        self._pass("take_back", bdf)
        function.domain = None
        self.interrupts.take_back(domain, bdf)

    def map_vector(self, member: Member, domain: int, bdf: str, entry: int | None) -> int:
        """-> the domain's number for it."""
        self._may_map(member, domain, bdf)
        return self.interrupts.map(domain, bdf, entry)

    def map_block(self, member: Member, domain: int, bdf: str, messages: int) -> int:
        """-> the domain's number for the first of them."""
        self._may_map(member, domain, bdf)
        return self.interrupts.map_block(domain, bdf, messages)

    def _may_map(self, member: Member, domain: int, bdf: str) -> None:
        function = self._held(member, bdf)
        self._must_exist(domain, bdf)
        self._pass("map", bdf)
        if function.domain != domain:
            raise HostError(f"{bdf} is not domain {domain}'s: no vector of it can be mapped", errno.ENODEV)

    def unmap_vector(self, member: Member, domain: int, bdf: str, pirq: int) -> None:
        self._held(member, bdf)
        self._must_exist(domain, bdf)
        self._pass("unmap", bdf)
        self.interrupts.unmap(domain, bdf, pirq)

    def bind_pirq(self, member: Member, pirq: int) -> tuple[int, int]:
        """-> port and the descriptor of its bell."""
        key = self._free_port(member.domain)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.interrupts.bind(member.domain, pirq, theirs)
        except HostError:
            ours.close()
            theirs.close()
            raise
        self._ports[key] = _Port(member, member.domain, ours, theirs, allocated=False, pirq=pirq)
        return key[1], ours.fileno()

    def known(self, bdf: str) -> str:
        """The address, if there is such a function."""
        self._function(bdf)
        return bdf

    def refuse(self, call: str, number: int, skip: int, times: int) -> None:
        """After `skip` calls of that name let `times` of them fail with `number`, and change nothing."""
        self._refusals[call] = skip, times, number

    def leave(self, member: Member) -> None:
        """The process has ended: what it had mapped, bound or open is free. What its domain granted stays."""
        for handle in [handle for handle, each in self._mappings.items() if each.member is member]:
            self._end_mapping(handle)
        for key in [key for key, each in self._ports.items() if each.member is member]:
            self._end_port(key)
        for function in self._functions.values():
            if function.holder is member:
                function.holder = None

    def destroy(self, domain: int) -> None:
        """The domain is gone, with its grants and ports; pages that others have mapped stay until they let go."""
        self.domains.discard(domain)
        for key in [key for key in self._grants if key[0] == domain]:
            self._end_grant(key)
        for key in [key for key in self._ports if key[0] == domain]:
            self._end_port(key)
        self.interrupts.destroy(domain)

    def account(self) -> Accounting:
        return Accounting(
            domains=tuple(sorted(self.domains)),
            granted=tuple(sorted(self._grants)),
            mapped=tuple(
                sorted(Mapped(it.owner, it.ref, it.member.domain, it.member.pid) for it in self._mappings.values())
            ),
            unbound=tuple(sorted(key for key, port in self._ports.items() if port.allocated and port.partner is None)),
            bound=tuple(
                sorted(
                    Bound(*key, port.remote, -1 if port.partner is None else port.partner[1])
                    for key, port in self._ports.items()
                    if not port.pirq and (port.partner is not None or not port.allocated)
                )
            ),
            held=tuple(
                Held(bdf, it.holder.pid, it.holder.label)
                for bdf, it in sorted(self._functions.items())
                if it.holder is not None
            ),
            assigned=tuple(
                Assigned(bdf, it.domain) for bdf, it in sorted(self._functions.items()) if it.domain is not None
            ),
            vectors=self.interrupts.vectors(),
            listening=tuple(sorted((*key, port.pirq) for key, port in self._ports.items() if port.pirq)),
        )

    def _free_port(self, domain: int) -> tuple[int, int]:
        used = {port for owner, port in self._ports if owner == domain}
        if domain and len(used) >= PORTS_MAX:
            raise HostError(f"domain {domain} has {PORTS_MAX} ports already", errno.ENOSPC)
        return domain, next(port for port in itertools.count(1) if port not in used)

    def _function(self, bdf: str) -> _Function:
        try:
            return self._functions[bdf]
        except KeyError:
            raise HostError(f"{bdf}: no such function", errno.ENODEV) from None

    def _held(self, member: Member, bdf: str) -> _Function:
        function = self._function(bdf)
        if function.holder is not member:
            raise HostError(f"{bdf} is not held by {member.label}", errno.EPERM)
        return function

    def _end_grant(self, key: tuple[int, int]) -> None:
        grant = self._grants.pop(key)
        grant.revoked = True
        if not grant.maps:
            os.close(grant.memory)

    def _end_mapping(self, handle: int) -> None:
        grant = self._mappings.pop(handle).grant
        grant.maps -= 1
        if grant.revoked and not grant.maps:
            os.close(grant.memory)

    def _must_exist(self, domain: int, bdf: str) -> None:
        if domain not in self.domains or domain == 0:
            raise HostError(f"{bdf}: vectors of domain {domain}: no such guest", errno.ESRCH)

    def _pass(self, call: str, bdf: str) -> None:
        skip, times, number = self._refusals.pop(call, (0, 0, 0))
        if skip:
            self._refusals[call] = skip - 1, times, number
        elif times:
            self._refusals[call] = 0, times - 1, number
            raise HostError(f"{bdf}: {call} was to be refused", number)

    def _end_port(self, key: tuple[int, int]) -> None:
        port = self._ports.pop(key)
        if port.pirq:
            self.interrupts.unbind(key[0], port.pirq)
        partner = None if port.partner is None else self._ports.get(port.partner)
        if partner is not None:
            partner.partner = None
        else:
            # Only now, with nobody at the other end: closed earlier, the survivor's descriptor would report a hang-up.
            port.bell.close()
            port.peer_bell.close()
