# SPDX-License-Identifier: Apache-2.0
"""Who is put together with whom, and what is claimed of them.

| system | parties | environment | decided by |
|---|---|---|---|
| `backend` | connection and requests | any page, any store, any guest | induction, full width |
| `op` | requests; the connection as four moves | any page | search over samples, for shortest counterexamples |
| `requests` | requests, a frontend that waits | a page as it is | search |
| `requests-restart` | requests of a backend that dies once, a frontend that waits | a page as it is | search |
| `requests-impatient` | requests, a frontend that gives up | a page as it is | search |
| `handshake` | connection, pcifront, libxl | a store as it is, watches that give the newest value only | search |
| `handshake-impatient` | the same, all of them impatient | the same | search |
| `handshake-hostile` | connection | a store that guest and toolstack rewrite at will | search |
| `restart` | connection that dies once, pcifront, libxl | a store as it is | search |
| `restart-hostile` | connection that dies once | a store that guest and toolstack rewrite at will | induction, full width |
| `stop` | connection that may be stopped, pcifront | a store as it is | search |
| `keys` | connection | a guest that rewrites its keys | search |
| `interrupts` | the interrupts of one function | a guest and a hypervisor that do anything | induction, full width |
| `interrupt-requests` | requests, and the interrupts of the function that they are for | any page, the same hypervisor | induction, full width |

Configuration space has no places, only programs: `config-strict`, `config-linux-6.1.63` and `config-linux-6.1.0`, together
`config`, are decided for all values (`pvpci.proofs.config`).
Algorithms are no tables; each says itself what an arbitrary state of it stands for (`pvpci.model.kernel.algorithms`):

| algorithm | what | decided by |
|---|---|---|
| `vpci`, `passthrough` | the two virtual buses | induction, full width; `passthrough` over four arbitrary entries |
| `functions` | which of them are bridges | all values |
| `texts` | texts that name functions | comparing automata with the grammar; all values |
| `ids` | the set of ids | induction over three arbitrary entries |
| `holding`, `references`, `registry`, `seizing`, `telling`, `rounds` | what a host remembers of a function | induction |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pvpci.model import (
    bookkeeping,
    connection,
    connection_claims,
    frontend,
    interrupt_claims,
    interrupt_requests,
    interrupts,
    issue,
    op,
    op_claims,
    slots_claims,
    toolstack,
    topology_claims,
)
from pvpci.model import environment as env
from pvpci.model.kernel.algorithms import Algorithm
from pvpci.model.kernel.claims import Claim, each_step, leads_to
from pvpci.model.kernel.systems import System
from pvpci.model.kernel.tables import Machine
from pvpci.model.kernel.terms import after
from pvpci.model.shared import channel, flags, link, nodes, page
from pvpci.proofs.config.prove import CONFIGURATIONS, Configuration

#: The keys of each life of a guest's kernel, as they may have been kept.
_LIVES: Final = {connection.Recalled.parameters[key]: (0, 1, 2, 3) for key in ("ref", "port")}
_NODES: Final = {nodes.ref.variable: (1,), nodes.port.variable: (1,)}
_DONE: Final = {
    op.Done.parameters["err"]: (0, 0xFFFFFFFB),
    op.Done.parameters["value"]: (0, 7),
}
_PAGE: Final = {
    page.cmd.variable: (0, 1, 4, 9, 10), page.domain.variable: (0,), page.bus.variable: (0,), page.devfn.variable: (0,),
    page.offset.variable: (0, 4096, 0xFFFFFFFC), page.size.variable: (3, 4), page.value.variable: (1, 129),
    page.info.variable: (0,), page.err.variable: (0,),
}  # fmt: skip
_WANTS: Final = {
    issue.Want.parameters["cmd"]: (0, 1), issue.Want.parameters["offset"]: (0, 4),
    issue.Want.parameters["size"]: (4,), issue.Want.parameters["value"]: (0, 5),
    op.Done.parameters["err"]: (0,), op.Done.parameters["value"]: (0, 7),
    op.Clock.parameters["late"]: (0,),  # the host answers in time: a guest is owed nothing by one that never does
}  # fmt: skip
_LINKED: Final = (link.mapped.becomes(True), link.bound.becomes(True), channel.pending.becomes(True))

BACKEND: Final = System(
    "backend", (connection.MACHINE, op.MACHINE), (env.RING, env.OPTION, *env.WATCHES),
    lambda m: (*op_claims.claims(m["op"]), *connection_claims.of_the_table(m["connection"])),
    known={
        "a port is bound when the last one is forgotten": connection.mine.at.among(
            connection.At.MAPPING, connection.At.BINDING
        ).implies(op.my.at == op.At.IDLE)
    },
    hostile=frozenset({"flags", "request", "store"}), samples={**_PAGE, **_DONE, **_NODES, **_LIVES},
)  # fmt: skip

OP: Final = System(
    "op", (op.MACHINE,), (env.RING, env.ATTACH, env.OPTION, *env.DETACH),
    lambda m: (
        *op_claims.claims(m["op"]),
        leads_to("closing_waits_for_one_request", "L-08", link.closing & link.bound,
                 op.my.at.among(*op.REST) | ~link.bound, fair=("backend",)),
    ),
    hostile=frozenset({"flags", "request"}), samples={**_PAGE, **_DONE},
)  # fmt: skip

REQUESTS: Final = System(
    "requests", (op.MACHINE, issue.MACHINE), env.AER_FLAGS,
    lambda m: (
        *op_claims.progress(m["op"]),
        each_step("an_answer_goes_to_who_asked", "I-31", issue.asked.same_as(op.copy), by="backend",
                  given=flags.active & ~after(flags.active)),
        each_step("what_is_taken_is_what_was_answered", "D-03",
                  (after(issue.issue.err) == op.answer.err) & (after(issue.issue.value) == op.answer.value), by="guest",
                  given=(issue.issue.at == issue.At.DONE) & (after(issue.issue.at) == issue.At.IDLE)),
        each_step("other_flags_are_left_alone", "I-32",
                  (flags.handler == after(flags.handler)) & (flags.aer == after(flags.aer)), by="backend"),
        leads_to("every_wait_ends", "L-04", issue.issue.at == issue.At.RUNG, issue.issue.at == issue.At.IDLE,
                 fair=("backend", "guest")),
    ),
    start=_LINKED, samples=_WANTS,
)  # fmt: skip

REQUESTS_RESTART: Final = System(
    "requests-restart", (op.MACHINE, issue.MACHINE), (env.DEATH_IN_REQUEST,),
    lambda m: (
        *op_claims.dies(m["op"]),
        leads_to("every_wait_ends", "L-04", issue.issue.at == issue.At.RUNG, issue.issue.at == issue.At.IDLE,
                 fair=("backend", "guest")),
    ),
    start=_LINKED, samples=_WANTS,
)  # fmt: skip
REQUESTS_IMPATIENT: Final = System(
    "requests-impatient", (op.MACHINE, issue.IMPATIENT), (),
    lambda m: (
        each_step("an_answer_is_stored_over_its_own_request", "I-31", page.same_as(op.copy), by="backend",
                  given=(op.my.at != op.At.MATCHED) & (after(op.my.at) == op.At.MATCHED)),
        *(claim for claim in op_claims.progress(m["op"]) if claim.id == "L-10"),
        leads_to("a_frontend_waits_no_longer_than_it_said", "L-15", issue.issue.at == issue.At.RUNG,
                 issue.issue.at == issue.At.IDLE, fair=("guest",)),
    ),
    start=_LINKED, samples=_WANTS,
)  # fmt: skip


Claims = Callable[[Machine], tuple[Claim, ...]]


def _of_the_connection(*made: Claims) -> Callable[[Mapping[str, Machine]], tuple[Claim, ...]]:
    return lambda machines: tuple(claim for each in made for claim in each(machines["connection"]))


_SAFE: Final = (connection_claims.claims, connection_claims.of_the_table, connection_claims.ends)

HANDSHAKE: Final = System(
    "handshake", (connection.IMMORTAL, frontend.MACHINE, toolstack.MACHINE), (),
    _of_the_connection(*_SAFE, connection_claims.handshake), ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip
HANDSHAKE_IMPATIENT: Final = System(
    "handshake-impatient", (connection.IMMORTAL, frontend.IMPATIENT, toolstack.IMPATIENT), (),
    _of_the_connection(*_SAFE, connection_claims.handshake), ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip
HANDSHAKE_HOSTILE: Final = System(
    "handshake-hostile", (connection.IMMORTAL,), (*env.ONE_LIFE, *env.TOOLSTACK),
    _of_the_connection(*_SAFE), ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip
RESTART: Final = System(
    "restart", (connection.SERVING, frontend.MACHINE, toolstack.MACHINE), (env.DEATH,),
    _of_the_connection(*_SAFE, connection_claims.handshake, connection_claims.dies), ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip
RESTART_HOSTILE: Final = System(
    "restart-hostile", (connection.SERVING,), (*env.GUEST, *env.TOOLSTACK, env.DEATH, env.ANOTHER),
    lambda m: tuple(claim for claim in connection_claims.claims(m["connection"]) if claim.id != "I-02"), ripples=env.RIPPLES, samples={**_LIVES, **_NODES}, inductive=True,
)  # fmt: skip
STOP: Final = System(
    "stop", (connection.MACHINE, frontend.MACHINE), (*env.CREATE, *env.ENDS),
    _of_the_connection(connection_claims.claims, connection_claims.stops), ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip
KEYS: Final = System(
    "keys", (connection.IMMORTAL,), (*env.GUEST, *env.CREATE), _of_the_connection(connection_claims.restarts),
    ripples=env.RIPPLES, samples=_LIVES,
)  # fmt: skip

INTERRUPTS: Final = System(
    "interrupts", (interrupts.MACHINE,), (*env.HYPERVISOR, *env.DEATHS),
    lambda m: interrupt_claims.claims(m["interrupts"]),
    samples={
        interrupts.EnableMsix.parameters["count"]: (0, 2), interrupts.EnableMultiMsi.parameters["count"]: (0, 3, 33),
        interrupts.Mapped.parameters["err"]: (0, 22),
        interrupts.Mapped.parameters["pirq"]: (0, 55, 0xFFFF), interrupts.Another.parameters["line"]: (21,),
        interrupts.Another.parameters["one"]: (0,),
    },
    inductive=True,
)  # fmt: skip

INTERRUPT_REQUESTS: Final = System(
    "interrupt-requests", (op.MACHINE, interrupts.MACHINE),
    (env.RING, env.ATTACH, env.OPTION, *env.DETACH, *map(interrupt_requests.between_requests, env.HYPERVISOR)),
    lambda _: interrupt_requests.claims(), known=interrupt_requests.KNOWN, bonds=interrupt_requests.BONDS,
    hostile=frozenset({"flags", "request"}), inductive=True,
    samples={
        **_PAGE, **INTERRUPTS.samples, page.cmd.variable: (2, 3, 4, 5, 10), page.value.variable: (0, 2),
        page.info.variable: (0, 3),
        op.Done.parameters["err"]: (0, 0xFFFFFFFB, 0xFFFFFFEA), op.Done.parameters["value"]: (0, 55, 0xFFFFFFEA),
    },
)  # fmt: skip

ALGORITHMS: Final = (*topology_claims.ALGORITHMS, *slots_claims.ALGORITHMS, *bookkeeping.ALGORITHMS)

SYSTEMS: Final = (
    BACKEND,
    OP,
    REQUESTS,
    REQUESTS_RESTART,
    REQUESTS_IMPATIENT,
    HANDSHAKE,
    HANDSHAKE_IMPATIENT,
    HANDSHAKE_HOSTILE,
    RESTART,
    RESTART_HOSTILE,
    STOP,
    KEYS,
    INTERRUPTS,
    INTERRUPT_REQUESTS,
)

#: Everything of which something is claimed.
SUBJECTS: Final[tuple[System | Algorithm | Configuration, ...]] = (*SYSTEMS, *ALGORITHMS, *CONFIGURATIONS)
