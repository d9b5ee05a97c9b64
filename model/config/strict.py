# SPDX-License-Identifier: Apache-2.0
"""Where the `strict` profile departs from Linux's own backend (6.1), rule by rule, and why.

A guest should not notice whose backend it has. Where it can, there is a rule here with a name, and a comparison of
the two asks :func:`explain` for it: a difference in a bit that no rule speaks of is a bug of ours. A change of a table
that a guest can see needs a rule, or the removal of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pvpci.model.config import constants as pci
from pvpci.model.config.command import VIRTUAL
from pvpci.model.config.identity import Identity
from pvpci.model.config.table import shown

#: In `Seen.capability`: each one that guests are shown.
EACH: Final = -1
#: In `Seen.bits`: all of them, however wide the place.
ALL: Final = -1
_PASSED_ON: Final = pci.COMMAND_SPECIAL | pci.COMMAND_VGA_PALETTE | pci.COMMAND_WAIT | pci.COMMAND_FAST_BACK


@dataclass(frozen=True, slots=True)
class Seen:
    """A place where the rule shows in what a guest reads: `bits` of the register of `width` bytes at `offset`.

    `capability`: the id of the one that `offset` counts from, the first of its kind, or `EACH`; 0: the function's first
    byte. `messages`: bits of the MSI flag word, and what they must be for the register to be there.
    """

    offset: int
    width: int
    bits: int
    capability: int = 0
    messages: tuple[int, int] = (0, 0)

    def starts(self, identity: Identity) -> list[int]:
        """Where the function has it."""
        mask, value = self.messages
        if identity.msi_flags & mask != value:
            return []
        if self.capability == EACH:
            return [place + self.offset for place in shown(identity)]
        if self.capability == 0:
            return [self.offset]
        place = identity.capabilities.get(self.capability)
        return [] if place is None else [place + self.offset]


@dataclass(frozen=True, slots=True)
class Rule:
    """One departure. `strict` and `linux` say what each does; `seen` is empty if no register reads differently."""

    name: str
    strict: str
    linux: str
    why: str
    seen: tuple[Seen, ...] = ()


_WIDE, _MASKS = pci.MSI_FLAGS_64BIT, pci.MSI_FLAGS_MASKBIT
_MESSAGES: Final = tuple(
    Seen(at, width, ALL, pci.CAP_ID_MSI, messages)
    for at, width, messages in (
        (pci.MSI_ADDRESS_LO, 4, (0, 0)),
        (pci.MSI_ADDRESS_HI, 4, (_WIDE, _WIDE)),
        (pci.MSI_DATA_32, 2, (_WIDE, 0)),
        (pci.MSI_DATA_64, 2, (_WIDE, _WIDE)),
        (pci.MSI_MASK_32, 4, (_WIDE | _MASKS, _MASKS)),
        (pci.MSI_MASK_64, 4, (_WIDE | _MASKS, _WIDE | _MASKS)),
    )
)
_FLAGS: Final = (
    Seen(pci.MSI_FLAGS, 2, pci.MSI_FLAGS_ENABLE, pci.CAP_ID_MSI),
    Seen(pci.MSIX_FLAGS, 2, pci.MSIX_FLAGS_ENABLE, pci.CAP_ID_MSIX),
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "bounds",
        "a request that does not lie inside the function's own 256 or 4096 bytes is answered with -2",
        "only size and alignment are checked; beyond 256 bytes of a conventional function all ones are read",
        "what lies there is decided by the platform's accessor, not by the function",
    ),
    Rule(
        "extended-on-request",
        "the space past 256 bytes is answered with -2, unless the attachment was granted it",
        "everybody reads it",
        "few drivers look there, and what is there was never meant to be seen through a guest",
        (Seen(pci.CONVENTIONAL_SIZE, pci.EXTENDED_SIZE - pci.CONVENTIONAL_SIZE, ALL),),
    ),
    Rule(
        "truncated",
        "the value that is read has no bit beyond the size that was asked for",
        "bits of a field beyond the request stay in the value",
        "a guest gets what it asked for; its own kernel cuts the rest off",
    ),
    Rule(
        "refused-means-nothing-done",
        "the first refusal is the answer, and a refused request changes nothing",
        "the last field's result is the answer; what earlier fields did stays",
        "an error must be something that the guest can act upon",
    ),
    Rule(
        "own-errors-only",
        "a function that cannot be enabled answers -5",
        "the host's own error number reaches the guest (-22)",
        "the host's numbers collide with those of the protocol",
    ),
    Rule(
        "command-starts-clear",
        "IO, MEMORY and all other virtual bits read 0 until this guest writes them",
        "they read as the previous driver, or the previous guest, left them",
        "a guest learns nothing of its predecessor, and a function that reads as enabled is enabled",
        (Seen(pci.COMMAND, 2, VIRTUAL),),
    ),
    Rule(
        "command-reserved-zero",
        "bits 11 to 15 read 0",
        "they read as last written",
        "so PCI defines them",
        (Seen(pci.COMMAND, 2, pci.COMMAND_RESERVED),),
    ),
    Rule(
        "command-virtual",
        "SPECIAL, VGA_PALETTE, WAIT and FAST_BACK read as last written",
        "they are read from the function, which a guest cannot change",
        "what the guest cannot change it need not see; its read-modify-write then keeps its own bits",
        (Seen(pci.COMMAND, 2, _PASSED_ON),),
    ),
    Rule(
        "starts-without-mastering",
        "MASTER and INVALIDATE are off in the function when a guest gets it",
        "MASTER that firmware left on stays on and is read as on",
        "nothing may reach memory before a guest has asked for it",
        (Seen(pci.COMMAND, 2, pci.COMMAND_MASTER | pci.COMMAND_INVALIDATE),),
    ),
    Rule(
        "command-asks-the-function",
        "each write compares with the register: decoding or mastering lost in a reset is brought back",
        "each write compares with the host's bookkeeping, so a write of the same bits does nothing",
        "after a reset the guest would otherwise have to switch the function off to switch it on",
    ),
    Rule(
        "cache-line-kept",
        "the cache line size that a guest writes is kept for that guest",
        "it is written to the function",
        "the host sets what the function needs when it turns memory write and invalidate on",
        (Seen(pci.CACHE_LINE_SIZE, 1, 0xFF),),
    ),
    Rule(
        "latency-kept",
        "the latency timer that a guest writes is kept for that guest",
        "the write is dropped",
        "drivers that check what they wrote are content; the bus is the host's",
        (Seen(pci.LATENCY_TIMER, 1, 0xFF),),
    ),
    Rule(
        "line-kept",
        "the interrupt line that a guest writes is kept for that guest",
        "the write is dropped",
        "the register is a note to software, and means nothing to the function",
        (Seen(pci.INTERRUPT_LINE, 1, 0xFF),),
    ),
    Rule(
        "shared-lines-withheld",
        "a function whose line a driver of the host uses too has no interrupt pin, and INTX_DISABLE stays set",
        "the line is given, and a handler of the backend answers for it",
        "a process cannot answer for a line, and the host would switch it off, its own device's too",
    ),
    Rule(
        "bist-read-only",
        "a self test cannot be started",
        "the start bit reaches the function",
        "a self test may take the function off the bus for two seconds",
        (Seen(pci.BIST, 1, 0x4F),),
    ),
    Rule(
        "bars-not-restored",
        "no write to a BAR or the ROM's address reaches the function",
        "a write of the host's own value does, if the function has lost it",
        "restoring after a reset is the host's work and cannot wait for a guest",
    ),
    Rule(
        "both-halves-unplaced",
        "a 64-bit BAR without an address reads and sizes as 0 in both halves",
        "its upper half is computed from the unusable resource",
        "half a BAR is sized as a BAR of its own",
    ),
    Rule(
        "bridges-refused",
        "a function of base class 06, or with a header other than type 0, is given to nobody",
        "bridges with a type-1 header are given",
        "a bridge decides for functions that the guest does not have",
    ),
    Rule(
        "told-once-per-guest",
        "the first dropped write of each guest is reported",
        "the first one since the function was bound is",
        "the next guest's owner wants to know as well",
    ),
    Rule(
        "capabilities-unlinked",
        "capabilities without rules of their own are left out of the chain, but for those that drivers depend on",
        "the chain is the function's",
        "what nobody has thought about is not offered",
        (Seen(pci.CAPABILITY_LIST, 1, ALL), Seen(1, 1, ALL, EACH)),
    ),
    Rule(
        "messages-kept",
        "address, data and mask of MSI read as this guest wrote them, 0 before",
        "they are read from the function, and a write is dropped",
        "where the host's messages go is no guest's business",
        _MESSAGES,
    ),
    Rule(
        "line-is-the-hosts",
        "INTX_DISABLE is only what the guest wrote, with interrupt_control too",
        "a device model's reaches the function",
        "a function is silent on the line while its messages are on, and its line is nobody's to keep quiet",
    ),
    Rule(
        "enabling-does-not-wake",
        "a write of COMMAND leaves the power state alone",
        "a write that enables the function wakes it first",
        "a guest that put its function to sleep can wake it, and believes what it last wrote",
        (Seen(pci.PM_CTRL, 2, pci.PM_CTRL_STATE, pci.CAP_ID_PM),),
    ),
    Rule(
        "waking-restores",
        "who wakes a function that loses its registers on the way gets COMMAND back with the BARs",
        "COMMAND stays lost while everybody believes the function enabled",
        "a function that reads as enabled is enabled",
    ),
    Rule(
        "pme-status-cleared",
        "a one written to PME_STATUS clears it, and nothing else does",
        "it is cleared only by a write that changes something else too",
        "so the specification defines it",
        (Seen(pci.PM_CTRL, 2, pci.PM_CTRL_PME_STATUS, pci.CAP_ID_PM),),
    ),
    Rule(
        "given-back-awake-and-quiet",
        "after its guest a function is in D0, its messages are off, and COMMAND is as it was found, without mastering",
        "a power state and messages that the guest wrote stay, also past a reset that the state prevents",
        "the next guest, or the host, gets a function and not what somebody made of it",
        (Seen(pci.PM_CTRL, 2, pci.PM_CTRL_STATE, pci.CAP_ID_PM), *_FLAGS),
    ),
    Rule(
        "permissive-has-limits",
        "permissive mode lets writes to registers without rules through, and nothing else",
        "COMMAND's other bits and the flag words of MSI and MSI-X become writable too",
        "whoever needs one vendor register does not mean to give away the interrupts",
    ),
    Rule(
        "grants-end-with-the-guest",
        "permissive mode and added fields are for one attachment, and logged",
        "permissive mode stays until the function is taken from the driver",
        "nobody who trusts one guest has said anything of the next",
    ),
    Rule(
        "added-fields-checked",
        "an added field is aligned, touches no register that has rules, and only the bits of its mask are written",
        "its mask is shown and ignored; it may lie over any register, and a misaligned one makes its dword unreadable",
        "otherwise it undoes what protects the register beside it",
    ),
)


def explain(identity: Identity, offset: int, ours: int, theirs: int, rules: Sequence[Rule] = RULES) -> tuple[Rule, ...]:
    """The rules by which the byte at `offset` of that function may read as `ours` here and `theirs` under Linux.

    `rules` are those that can act where the byte was read. Empty if the bytes are equal, and empty as well if any bit that
    differs is in no rule: that is not explained.
    """
    differs = (ours ^ theirs) & 0xFF
    found: list[Rule] = []
    explained = 0
    for rule in rules:
        bits = 0
        for seen in rule.seen:
            for start in seen.starts(identity):
                if start <= offset < start + seen.width:
                    bits |= seen.bits >> 8 * (offset - start) & differs
        if bits:
            explained |= bits
            found.append(rule)
    return tuple(found) if explained == differs else ()
