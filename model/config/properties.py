# SPDX-License-Identifier: Apache-2.0
"""The properties of configuration space, C-01 to C-68, by identifier.

`strict`: asked of the reference only, because Linux itself does otherwise. Each stands in one of the lists of claims in
`proofs.config` or, where it is about topology and assignment, in `model.topology_claims`; a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Property:
    """`sentence` says it. `but`: profiles of which it is not asked, besides those that `strict` leaves out, with why."""

    sentence: str
    strict: bool = False
    but: tuple[tuple[str, str], ...] = ()


# fmt: off
PROPERTIES: Final[dict[str, Property]] = {
    # Requests
    "C-01": Property("a request of another size than 1, 2 or 4 bytes, or out of place, is refused and changes nothing"),
    "C-02": Property("a request outside the function is refused, and the function is not asked", strict=True),
    "C-03": Property("a read changes nothing, neither in the function nor of what is remembered"),
    "C-04": Property("a read that is refused is answered with the value 0"),
    "C-05": Property("each byte of a read is that of the last row which covers it, else the function's own"),
    "C-06": Property("the value of a read has no bit beyond its size", strict=True),
    "C-07": Property("a request meets only rows of its own dword, and no two capabilities share one"),
    "C-08": Property("a write that meets no row is accepted, changes nothing and is told, unless permissive"),
    "C-09": Property("a write that meets a row changes no byte of its dword that is in no row"),
    "C-10": Property("of two rows that overlap, the one registered later is read"),
    "C-11": Property("the answer is that of the first row that refuses", strict=True),
    "C-12": Property("a request that is refused changes nothing", strict=True),
    "C-13": Property("the error is one of the protocol's", strict=True),
    # COMMAND
    "C-15": Property("nothing that a guest writes turns IO or MEMORY off in the function"),
    "C-16": Property("a guest without interrupt control never sets INTX_DISABLE in the function"),
    "C-17": Property("a guest changes no bit of COMMAND but IO, MEMORY, MASTER, INVALIDATE and INTX_DISABLE, unless permissive"),
    "C-18": Property("in permissive mode SPECIAL, VGA_PALETTE, WAIT and FAST_BACK are the only further bits"),
    "C-19": Property("IO, MEMORY, PARITY, SERR and INTX_DISABLE read as the guest last wrote them"),
    "C-20": Property("a write that asks for IO or MEMORY enables the function, if it has addresses, and any other disables it"),
    "C-21": Property("a function with a normal header is enabled at most once"),
    "C-22": Property("after a write that is accepted the function is master if and only if it asked for that"),
    "C-23": Property("the cache line size is set only where INVALIDATE is newly asked for, which stays off if it is not kept"),
    "C-24": Property(
        "enabling clears INTX_DISABLE where there is a pin, no message is on and no driver of the host on the line; nothing "
        "else does"
    ),
    "C-25": Property("a function that is put back decodes as it did when it was taken"),
    "C-26": Property("what a guest begins with is the same whoever had the function before: nothing is on", strict=True),
    "C-27": Property("the reserved bits of COMMAND read 0", strict=True),
    "C-28": Property("decoding that was lost is back after the next write that asks for it", strict=True),
    # BARs and ROM
    "C-29": Property("what a write puts into a BAR or the ROM's register of the function is the host's own value"),
    "C-30": Property("a BAR reads as the host's value or, while it is sized, as its size mask"),
    "C-31": Property("a BAR is sized exactly after a write that made it all ones, but for low bits that its kind ignores"),
    "C-32": Property("a guest that sizes a BAR computes the address and the size of the host's resource"),
    "C-33": Property("a BAR without a resource, or whose resource has no address, reads and sizes as 0"),
    "C-34": Property("sizing one BAR leaves all others as they are"),
    "C-35": Property("sizing a BAR that the function has not lost writes nothing to the function"),
    "C-36": Property("no write turns the ROM's decoder on or off, unless to what the host has"),
    "C-37": Property("the upper half of a 64-bit BAR is asked for its size by all ones; any other BAR by its kind's bits"),
    "C-38": Property("no BAR is being sized when a guest starts"),
    # Capabilities
    "C-39": Property("PME is not enabled when a guest starts, and no write enables it"),
    "C-40": Property("the PME bits of PMC read 0"),
    "C-41": Property("the power state changes only as asked, to D0 or a deeper one that there is, if the host knew it"),
    "C-42": Property("no change of the power state costs COMMAND, a BAR or the rest of the header", strict=True),
    "C-43": Property("no write to vital product data reaches the card's memory"),
    "C-44": Property("PME_STATUS is cleared by a one that is written to it, and by nothing else", strict=True),
    "C-45": Property("a guest without interrupt control changes no flag word of messages: a write that would is refused"),
    "C-46": Property("with interrupt control MSI and MSI-X are never enabled both, if they were not before"),
    "C-47": Property("with interrupt control only ENABLE, and of MSI-X MASKALL, are a guest's to change"),
    "C-48": Property(
        "with interrupt control messages start whatever the line interrupt does, and the line may come back any time",
        but=(("linux-6.1.0", "there they exclude one another, until 2c269f42d0f3"),),
    ),
    "C-49": Property("interrupt control ends with the guest"),
    "C-50": Property("identifier and pointer of a capability with rows are never written, not even in permissive mode"),
    "C-51": Property("the way through a capability list ends within 48 hops, stays out of the header, names no place twice"),
    # Added fields
    "C-52": Property("a field is not added where a row starts"),
    "C-53": Property("an added field is aligned, inside the function and apart from all rows, and its mask counts", strict=True),
    "C-54": Property("an added field ends with the guest that it was added for"),
    # What is left of a guest
    "C-64": Property(
        "a function is given back as it was taken: COMMAND but for MASTER and INVALIDATE, cache line, latency, BARs, awake, "
        "no message on; without permissive mode a guest reaches nothing else that lasts",
        but=tuple((name, "the host puts back what it saved, not the backend") for name in ("linux-6.1.63", "linux-6.1.0")),
    ),
    "C-65": Property("permissive mode and all that is remembered of a guest end with it, and people are told anew", strict=True),
}
# fmt: on
