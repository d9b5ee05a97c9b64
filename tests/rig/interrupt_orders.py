# SPDX-License-Identifier: Apache-2.0
"""Every order of COMMAND, enable, failing enable and disable, enabling while a function comes or goes, and the next guest.

A scripted frontend plays them against Linux's backend and against ours, on a function that has MSI and MSI-X. After each
step dom0 looks at three things that no backend can talk its way around: the function's own registers, the owner that Xen
has for it, and the messages of it that Xen has mapped, with whether the guest may use them. So it is judged what happened,
not what was answered:

* I-20: where the guest reaches the function, Xen has it as the guest's.
* I-44: the line changes with the kind of interrupt, or by a write to COMMAND, and by nothing else. The line is INTX_DISABLE
  and, under Linux, its handler that acknowledges or does not; ours has none.
* I-48: each message that is mapped was mapped for the guest.
* I-43 and I-47 come for nothing: the line is quiet while messages are on, and what is mapped is what is on.

`EVIDENCE` is one long order, the requests that Linux was once seen to fail at and their neighbours; the manual shows it step
by step. `EVERY` has each permutation of one request of each sort, for both kinds of message, with COMMAND going on or off; the
failing enable is four that fail for different reasons, none of which may leave a trace. Of these the
manual has counts.

The owner cannot be seen while it changes, so there the answers are judged: a guest enables and disables without pause, and
I-20 and I-48 say which errors may follow each other (`CHANGES`). Where it comes, xenstored is slow meanwhile: what a backend
does between showing a function and knowing its owner is otherwise too short for a guest on the only processor.

The same order, `LIFE`, is the first that a guest does with the function: the very first guest, and each one that gets the
function from one that left something on (`LEFT`). What the later one sees must be what the first one saw.

    PVPCI_RIG_RECORD=1 pytest -m rig tests/rig/test_interrupt_orders.py    write interrupt-orders.json anew
    python -m tests.rig.interrupt_orders                                   write docs/reference/interrupt-orders.md from it
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, Final

from tests.rig.dom0.interrupts import Seen
from tests.rig.table import TITLES

from pvpci.model.config import constants as pci
from pvpci.model.wire import Err

OBSERVED: Final = Path(__file__).with_name("interrupt-orders.json")
PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "interrupt-orders.md"

Order = Sequence[str]
NO_DEVICE: Final = int(Err.DEV_NOT_FOUND)
FAILED: Final = int(Err.OP_FAILED)

AGAIN: Final = "command 0;command 6"  #: the one way to un-mute the line under Linux
EVIDENCE: Final[Order] = (
    "command 6",
    "enable_msix n=0", "disable_msix;disable_msi", AGAIN,
    "enable_msix 0,0", AGAIN, "enable_msix 99", AGAIN, "enable_msix 0 n=129",
    "enable_msix 0,1", "enable_msix 0,1", "enable_msi", "command 6", "disable_msix",
    "enable_msi", "enable_msi", "enable_msix 0", "disable_msix", "disable_msi",
    "command 0", "enable_msix 0,1", "disable_msix", "enable_msi", "disable_msi", "command 6",
    "enable_msix 0,1", "disable_msi", "disable_msix",
)  # fmt: skip

FAILING: Final = "enable_msix n=0;enable_msix 0,0;enable_msix 0,99;enable_msix 0 n=129"
KINDS: Final = (("enable_msi", "disable_msi"), ("enable_msix 0,1", "disable_msix"))
COMMANDS: Final = (("0", "6"), ("6", "0"))  #: what it was, what is written
#: Before each: off, the line as COMMAND has it.
CALM: Final = "disable_msi;disable_msix;command 0;command 6"
#: Each permutation meets COMMAND going on with one kind, and going off with the other.
EVERY: Final[Sequence[Order]] = [
    (f"{CALM};command {was}", *(asked[part] for part in order))
    for which, (enable, disable) in enumerate(KINDS)
    for number, order in enumerate(permutations(range(4)))
    for was, wanted in [COMMANDS[(which + number) % 2]]
    for asked in [(f"command {wanted}", enable, FAILING, disable)]
]

LIFE: Final[Order] = ("space", "command 6", "enable_msi", "disable_msi")
DESTROYED: Final = "MSI-X on, and the guest destroyed"
#: What a guest does last. All but the one that is destroyed then have the function detached.
LEFT: Final[Mapping[str, Order]] = {
    "MSI on, after a failed MSI-X": ("command 6", "enable_msix 0,0", "enable_msi"),
    "MSI-X on, three vectors, INTX_DISABLE written": ("command 406", "enable_msix 0,1,2"),
    DESTROYED: ("command 6", "enable_msix 0,1"),
}

#: By what changes, in this order: how, and which errors may follow each other in a guest that enables all the while.
CHANGES: Final[Mapping[str, tuple[str, Sequence[Sequence[int]]]]] = {
    "detach_xl": ("`xl pci-detach`", ((0, NO_DEVICE), (0, FAILED, NO_DEVICE))),
    "attach_xl": ("`xl pci-attach`", ((NO_DEVICE, 0),)),
    "detach_pvpci": ("`pvpci detach`", ((0, NO_DEVICE),)),
    "attach_pvpci": ("`pvpci attach`", ((NO_DEVICE, 0),)),
    "attach_by_hand": ("by its nodes alone, dom0's all the time", ((NO_DEVICE, FAILED),)),
}


# What was seen


def kind(seen: Seen) -> str:
    """Which messages are on by the function's registers; empty: none."""
    on = {"MSI": seen.msi & pci.MSI_FLAGS_ENABLE, "MSI-X": seen.msix & pci.MSIX_FLAGS_ENABLE}
    return " and ".join(name for name, bit in on.items() if bit)


def line(seen: Seen) -> str:
    """Open or quiet, and what Linux's handler on it does."""
    return f"{'quiet' if seen.command & pci.COMMAND_INTX_DISABLE else 'open'}; handler {seen.handler}"


def breaches(step: str, before: Seen, after: Seen, guest: str) -> Iterator[str]:
    """Which properties one step broke. `guest`: as Xen writes the domain."""
    if after.owner != guest and any(answer[0] not in (None, NO_DEVICE) for answer in after.answers):
        yield "I-20"
    if kind(after) and not after.command & pci.COMMAND_INTX_DISABLE:
        yield "I-43"
    if "command" not in step and kind(before) == kind(after) and line(before) != line(after):
        yield "I-44"
    if bool(after.mapped) != bool(kind(after)):
        yield "I-47"
    if after.usable != after.mapped:
        yield "I-48"


PROPERTIES: Final[Mapping[str, str]] = {
    "I-20": "the function is the guest's where the guest reaches it",
    "I-43": "the line is quiet while messages are on",
    "I-44": "the line changes with the kind of interrupt only",
    "I-47": "what is mapped is what is on",
    "I-48": "what is mapped is the guest's",
}


def judged(played: Sequence[tuple[str, Order, Sequence[Seen]]]) -> dict[str, Any]:
    """How many steps were played and broke each property, the first that did, and how much there was to break.

    `played`: the guest, as Xen writes the domain, what it was asked for, and what came of it.
    """
    found: dict[str, Any] = {"orders": len(played), "steps": 0, "with_messages_on": 0, "failures": 0}
    broken: dict[str, list[str]] = {name: [] for name in PROPERTIES}
    for guest, order, seen in played:
        for number, (before, after) in enumerate(pairwise(seen), 1):
            found["steps"] += 1
            found["with_messages_on"] += bool(kind(after))
            found["failures"] += sum((answer[0] or 0) < 0 for answer in after.answers)
            for name in breaches(order[number], before, after, guest):
                broken[name].append(" → ".join(order[: number + 1]))
    return found | {"broken": {name: [len(them), *them[:1]] for name, them in broken.items()}}


def shown(order: Order, seen: Sequence[Seen]) -> list[list[str]]:
    """Step by step: request, answer, line, kind. Vectors are counted: which numbers are free is not the backend's affair."""
    return [
        [step, _answer(step, each), line(each), kind(each) or "none"] for step, each in zip(order, seen, strict=True)
    ]


def _answer(step: str, seen: Seen) -> str:
    err, value, *_ = seen.answers[-1]
    if err == 0 and "enable_" in step and "disable" not in step:
        return f"0, {len(seen.mapped)} mapped"
    signed = value - (1 << 32) if value >> 31 else value
    return f"{err}" if "command" in step else f"{err}, {signed}"


def differences(first: Sequence[Seen], later: Sequence[Seen]) -> list[str]:
    """What a later guest saw in its `LIFE` that the first one did not. Owner and interrupts are judged by `breaches`."""
    found = []
    for step, one, two in zip(LIFE, first, later, strict=True):
        if step == "space":
            pairs = enumerate(zip(one.answers, two.answers, strict=True))
            found += [f"{4 * at:#04x} reads {_word(new)}, not {_word(old)}" for at, (old, new) in pairs if old != new]
        elif one.answers != two.answers:
            found.append(f"{step} answers {two.answers[0]}, not {one.answers[0]}")
        if line(one) != line(two) or kind(one) != kind(two):
            found.append(f"{step}: {line(two)}; {kind(two) or 'none'} on, not {line(one)}; {kind(one) or 'none'} on")
        if len(one.mapped) != len(two.mapped):
            found.append(f"{step}: {len(two.mapped)} mapped, not {len(one.mapped)}")
    return found


def _word(answer: Sequence[Any]) -> str:
    return f"{answer[1]:08x}" if answer[0] == 0 else f"error {answer[0]}"


# The manual's page


def observed(versions: Mapping[str, str], results: Mapping[str, Any]) -> str:
    """The text of the results file. `results`: backend -> what a run saw of it."""
    return json.dumps({"versions": dict(versions), "results": dict(results)}, indent=1) + "\n"


def page(found: Mapping[str, Any]) -> str:
    """The manual's page for what `observed` wrote, decoded."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    results = [found["results"][name] for name in TITLES]
    titles = " | ".join(TITLES.values())
    yield "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    yield "<!-- Made by `python -m tests.rig.interrupt_orders`; do not edit. -->"
    yield "# Orders of interrupts\n"
    yield "COMMAND, enable, failing enable and disable in every order, under Linux's backend and under `pvpci serve` in one boot"
    yield f"of real Xen ({versions}). The function (e1000e) has MSI and MSI-X. How it is played and judged stands in"
    yield "`tests/rig/interrupt_orders.py`.\n"
    orders = [each["orders"] for each in results]
    yield f"{orders[0]['orders']} orders, {orders[0]['steps']} steps. Steps that broke a property:\n"
    yield f"| property | | {titles} | first |"
    yield f"|---|---|{'---|' * len(TITLES)}---|"
    for name, text in PROPERTIES.items():
        broken = [each["broken"][name] for each in orders]
        first = next((f"`{each[1]}`" for each in broken if each[0]), "")
        yield f"| {name} | {text} | {' | '.join(_count(each[0]) for each in broken)} | {first} |"
    yield "\nOne order, step by step: error and value, then the line.\n"
    yield f"| request | on then | {titles} |"
    yield f"|---|---|{'---|' * len(TITLES)}"
    for rows in zip(*(each["evidence"] for each in results), strict=True):
        kinds = list(dict.fromkeys(row[3] for row in rows))
        cells = [f"{answer}<br>{_line(name, text)}" for name, (_, answer, text, _) in zip(TITLES, rows, strict=True)]
        yield f"| `{rows[0][0]}` | {' / '.join(kinds)} | {' | '.join(cells)} |"
    yield "\nA guest that enables MSI all the while: the errors, in their order. -1: it has no such function; -5: refused.\n"
    yield f"| the function comes or goes | {titles} |"
    yield f"|---|{'---|' * len(TITLES)}"
    for name, (how, allowed) in CHANGES.items():
        cells = [_errors(each["changes"][name], allowed) for each in results]
        yield f"| {name.split('_')[0]}: {how} | {' | '.join(cells)} |"
    yield EXPLAINED
    yield f"| left by the last guest | {titles} |"
    yield f"|---|{'---|' * len(TITLES)}"
    for name in LEFT:
        yield f"| {name} | {' | '.join(_list(each['next'][name]) for each in results)} |"
    yield f"| when both guests are gone | {' | '.join(_list(each['left']) for each in results)} |"


EXPLAINED: Final = """
With `xl pci-detach` the toolstack takes the function away before it tells any backend, so for a moment a guest reaches what is
not its own any more; nothing is mapped for it then, and it is told so. `pvpci detach` takes it when the guest has let go.

Where the function comes by `xl` and by hand, xenstored is made slow. Linux's backend shows a function before it knows the
owner: until then it maps for dom0, which Xen refuses once the function is the guest's (-5 before 0). By hand nobody gives the
function to the guest, so there a success is a message that was mapped for dom0, and the number that the guest gets is one of
dom0's. Which of these errors a guest meets is a matter of time; in bold are those that break I-20 and I-48.

What the next guest sees that the first did not:
"""


def _count(number: int) -> str:
    return f"**{number}**" if number else "none"


def _line(backend: str, text: str) -> str:
    return text if backend == "linux" else text.partition(";")[0]


def _errors(errors: Sequence[int], allowed: Sequence[Sequence[int]]) -> str:
    text = ", ".join(map(str, errors))
    return text if tuple(errors) in allowed else f"**{text}**"


def _list(lines: Sequence[str]) -> str:
    return "<br>".join(lines) or "nothing"


def main() -> None:
    PAGE.write_text(page(json.loads(OBSERVED.read_text())))
    print(PAGE)


if __name__ == "__main__":
    main()
