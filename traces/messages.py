# SPDX-License-Identifier: Apache-2.0
"""Lines that kernels and toolstacks print about this protocol: what each means, and what to do next.

A table, and only of what people have met and asked about: the debug trace of each request is for `pvpci check`. The
texts are matched, not their prefixes: these changed three times, and both spellings of the driver's name occur in one
boot. A line that is not here is not known; nothing is made of its resemblance to another.

``{name}`` in what is said stands for the group of that name in the pattern. The group `number` is an error number, for
`pvpci.model.numbers` to explain at the places of the row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pvpci.model.numbers import Where


class Weight(Enum):
    """How much it matters."""

    FINE = "normal"
    LOOK = "look"  #: harmless alone; explains what comes after
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Message:
    """One text. `has` is in every such line as it stands (it is looked for first, which is fast)."""

    id: str
    by: str
    weight: Weight
    has: str
    pattern: re.Pattern[str]
    means: str
    next: str
    places: tuple[Where, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A line that is known. `device` is the address that it names, as printed, or empty; `groups` are the pattern's."""

    message: Message
    device: str
    groups: dict[str, str]

    def says(self, text: str) -> str:
        """The `means` or `next` of the message with the groups filled in."""
        return _GROUP.sub(lambda found: self.groups.get(found[1], ""), text)


_GROUP: Final = re.compile(r"\{(\w+)\}")
_BDF: Final = re.compile(r"(?<![0-9a-fA-F:.])(?:[0-9a-f]{4,5}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?![0-9a-fA-F])")
#: No line of a kernel or a toolstack that matters here is longer; the rest of a longer one is not looked at.
LONGEST: Final = 2000

_BACK, _FRONT, _CORE = "xen-pciback in dom0", "pcifront in the guest", "the kernel's PCI code"
_ARCH, _TOOL, _US = "the kernel's Xen PCI code", "the toolstack", "pvpci"
_SHORT: Final = r"(?P<number>-?\d{1,9})"
_HEX: Final = r"(?P<number>[0-9a-f]{1,16})"

_RUNS: Final = "does the backend run? look at dom0's log of the same moment"

#: The notice of a dropped write is explained from the configuration space, not from the table.
NOTICE: Final = "write dropped"

# fmt: off
_F, _L, _N = Weight.FAULT, Weight.LOOK, Weight.FINE
_TABLE: Final[tuple[tuple[str, str, Weight, str, str, str, str, tuple[Where, ...]], ...]] = (
    # Configuration space
    (NOTICE, _BACK, _L, "read-only configuration space field at offset",
     r"read-only configuration space field at offset 0x(?P<offset>[0-9a-f]{1,16}), size (?P<size>\d{1,9})", "", "", ()),
    (NOTICE, _US, _L, "a write to a register that guests cannot change was dropped",
     r"was dropped; no more are reported \(offset 0x(?P<offset>[0-9a-f]{1,16}), (?P<size>\d{1,9}) bytes, value 0x(?P<value>[0-9a-f]{1,8})\)", "", "", ()),
    ("permissive", _BACK, _L, "permissive mode",
     r"enabling permissive mode configuration space accesses!|permissive mode is potentially unsafe!",
     "this function's registers are open to its guest, but for those that pciback has fields for. It stays so until the function is"
     " unbound from pciback, for the next guest as well", "unbind and bind it before another guest gets it", ()),
    ("mwi", _BACK, _N, "cannot enable memory-write-invalidate", rf"cannot enable memory-write-invalidate \({_SHORT}\)",
     "the function does not keep a cache line size that suits the host; it goes on without this kind of write", "", ()),
    ("header type", _BACK, _F, "header type", r"Unsupported header type|can't export pci devices that don't have a normal",
     "the function is a CardBus bridge or worse; pciback does not take it", "give another function", ()),
    # Seizing and giving
    ("hide", _BACK, _F, "Error parsing pci_devs_to_hide", r'Error parsing pci_devs_to_hide at "(?P<rest>[^"]*)"',
     "the list in hide= has a mistake from \"{rest}\" on, and none of its functions was seized, also those before it",
     "write every element as (DDDD:BB:SS.F), with nothing between the elements but blanks", ()),
    ("in use", _BACK, _F, "Couldn't locate PCI device",
     r"(?:(?P<number>\d{1,4}) )?Couldn't locate PCI device \((?P<function>[0-9a-fA-F:.]+)\)!",
     "{function} is not bound to pciback, or another guest has it. The whole backend of this guest is given up (state 5)",
     "`ls /sys/bus/pci/drivers/pciback` and `xl list`; free it, then attach again", (Where.STORE,)),
    ("stealing", _BACK, _F, "Stealing ownership", r"Stealing ownership from dom(?P<domain>\d+)",
     "the function was still registered for domain {domain}: two guests were given one function, or the first was not cleaned up",
     "look which guests have it in their configuration", ()),
    ("no slot", _BACK, _F, "No more space on root virtual PCI bus", r"(?:(?P<number>\d{1,4}) )?No more space on root virtual PCI bus",
     "the guest's virtual bus has 32 slots and all are taken",
     "give fewer functions; the one that did not fit stays taken until it is unbound from pciback and bound again", (Where.STORE,)),
    ("no num_devs", _BACK, _F, "Error reading number of devices", r"(?:(?P<number>\d{1,4}) )?Error reading number of devices",
     "the toolstack made the backend's folder without `num_devs`", "create the device with xl or `pvpci attach`", (Where.STORE,)),
    ("yanked", _BACK, _F, "while still in-use by domain", r"removing device (?P<function>\S+) while still in-use by domain (?P<domain>\d+)",
     "{function} was unbound from pciback while domain {domain} had it; the guest's next accesses find no function",
     "detach first (`xl pci-detach`), unbind then", ()),
    ("no quirk", _BACK, _N, "quirk didn't match any device known", "quirk didn't match", "bookkeeping of pciback that found nothing to delete", "", ()),
    ("probe 1", _BACK, _F, "Driver probe function unexpectedly returned 1", "unexpectedly returned 1",
     "two of the function's capabilities overlap, and pciback gave up half-way: the function is bound to it but cannot be given",
     "look at the capability list with `lspci -vvxxx`; the device is broken in this", ()),
    ("gsi", _BACK, _F, "to get gsi info", "Fail(?:ed)? to get gsi info!",
     "the function has no line interrupt, and this kernel does not take such a function in a PVH dom0", "use a kernel of 2025 or later", ()),
    ("seizing", _BACK, _N, "seizing device", r"(?:pciback|pci) \S+: (?:xen_pciback: )?seizing device", "pciback has taken the function; it is ready to be given", "", ()),
    ("slot", _BACK, _N, "assign to virtual slot", r"assign to virtual slot (?P<slot>\d+)(?: func (?P<func>\d+))?",
     "the guest will find the function in slot {slot} of its virtual bus; the number of the function stays", "", ()),
    ("registering", _BACK, _N, "registering for", r"(?<!un)registering for (?P<domain>\d+)", "from now on domain {domain} owns the function's interrupts", "", ()),
    ("unregistering", _BACK, _N, "unregistering for", r"unregistering for (?P<domain>\d+)", "the function is taken back from domain {domain}", "", ()),
    ("engine", _BACK, _N, "backend is ", r"xen[-_]pciback: backend is (?P<engine>vpci|passthrough)",
     "pciback is loaded; guests see their functions at {engine} addresses (vpci: on a bus of their own; passthrough: as in dom0)", "", ()),
    ("verbose", _BACK, _N, "verbose_request", "unknown parameter 'verbose_request' ignored",
     "this option went away with Linux 5.8", "turn on dynamic debug instead: `module xen_pciback +p`", ()),
    ("not loaded", _TOOL, _F, "pciback driver not loaded", "pciback driver not loaded",
     "there is no driver folder for pciback: it is not loaded, or refused to load for a mistake in hide=",
     "`modprobe xen-pciback`; then look for `Error parsing pci_devs_to_hide` in dom0's log", ()),
    # Interrupts
    ("msi", _BACK, _F, "error enabling MSI for guest", rf"error enabling MSI for guest (?P<domain>\d+): err {_SHORT}",
     "dom0 could not set up a message for domain {domain}; the guest is told -5, whatever the reason", "", (Where.BACK,)),
    ("msix", _BACK, _F, "error enabling MSI-X for guest", rf"error enabling MSI-X for guest (?P<domain>\d+): err {_SHORT}!",
     "dom0 could not set up messages for domain {domain}; the guest is told this number", "", (Where.BACK,)),
    ("map self", _ARCH, _F, "xen map irq failed", rf"xen map irq failed {_SHORT} for 32752 domain",
     "the hypervisor refused dom0 an interrupt for itself (32752 is DOMID_SELF). With -19 the function was not returned to dom0"
     " in the hypervisor, though a driver of dom0 has it", "return it with `xl pci-assignable-remove`", (Where.MAP,)),
    ("map", _ARCH, _F, "xen map irq failed", rf"xen map irq failed {_SHORT} for (?P<domain>\d+) domain",
     "the hypervisor refused to map an interrupt for domain {domain}", "", (Where.MAP,)),
    ("vector refused", _US, _F, "the hypervisor refuses a vector", "the hypervisor refuses a vector",
     "every vector of this operation was given back, and the guest is told: for MSI-X with the hypervisor's number, for MSI with -5",
     "the line's `why` has the reason; the guest's driver goes on with the next kind of interrupt", ()),
    ("vector kept", _US, _F, "the hypervisor does not take a vector back", "the hypervisor does not take a vector back",
     "the function keeps it, and nobody else gets the function, until a later attempt succeeds; enabling is answered with -16",
     "the line's `why` has the reason; detaching tries again, and so does the end of the guest", ()),
    ("bits kept", _US, _F, "cannot set the function's enable bits", "cannot set the function's enable bits",
     "the function's registers do not answer; what was begun is undone, and the guest is told -5", "is the device still there? `lspci -xxx` in dom0", ()),
    ("isr off", _BACK, _N, "Turning ISR off", r"IRQ line is not shared with other domains\. Turning ISR off",
     "no other guest is on this interrupt line, so pciback stops claiming its interrupts", "", ()),
    ("guest msix", _FRONT, _F, "enable msix get err", rf"enable msix get err {_HEX}",
     "the backend refused MSI-X; the driver tries MSI next, then INTx", "", (Where.MSIX,)),
    ("guest msix value", _FRONT, _F, "enable msix get value", r"enable msix get value (?P<value>[0-9a-f]+)",
     "the backend said success and left the number {value} where 0 belongs; pcifront takes it as `only so many vectors`", "", ()),
    ("guest msi", _FRONT, _F, "pci frontend enable msi failed", r"pci frontend enable msi failed for dev (?P<function>[0-9a-f]+:[0-9a-f]+)",
     "the backend refused MSI (bus:devfn {function} of the guest); pcifront makes -22 of whatever it was told",
     "look for `error enabling MSI for guest` in dom0's log of the same moment", ()),
    ("guest error", _FRONT, _F, "Xen PCI frontend error", rf"Xen PCI frontend error: {_SHORT}!",
     "setting up interrupts failed; the driver goes on with the next kind, INTx at last", "", (Where.FRONT,)),
    ("guest no msi", _FRONT, _F, "Xen PCI frontend has not registered", "has not registered MSI/MSI-X support",
     "a driver asked for interrupts before pcifront was there, or in a domain without it", "is pcifront built into the guest's kernel?", ()),
    ("guest entry", _FRONT, _F, "is invalid:", r"MSI(?:-X)? entry (?:\d+ )?is invalid: (?P<value>-?\d+)!",
     "the backend said success and gave {value} for an interrupt, which is none", "", ()),
    ("guest vectors", _FRONT, _F, "too many vectors", r"too many vectors \(0x(?P<value>[0-9a-f]+)\) for PCI frontend",
     "the driver asked for 0x{value} vectors; the shared page has room for 0x80", "let the driver use fewer queues", ()),
    ("guest mute disable", _FRONT, _F, "get no response from backend for disable MSI", "get no response from backend",
     "the backend does not know the function, or did not answer within two seconds", _RUNS, ()),
    ("guest fake", _FRONT, _F, "get fake response from backend", "get fake response", "turning MSI off was refused, which no backend should do", "", ()),
    ("guest disable", _FRONT, _F, "pci_disable_msix get err", rf"pci_disable_msix get err {_HEX}", "turning MSI-X off was refused, which no backend should do", "", ()),
    ("unmap", _TOOL, _N, "xc_physdev_unmap_pirq", r"xc_physdev_unmap_pirq irq=(?P<irq>\d+)",
     "the toolstack takes back interrupt {irq}, which is gone already; seen at most detaches, harmless alone", "", ()),
    ("irq permission", _TOOL, _N, "xc_domain_irq_permission", "xc_domain_irq_permission",
     "a right to an interrupt that is gone already is taken back; a consequence, not a cause", "look at the first error before it", ()),
    # Answers
    ("mute", _FRONT, _F, "pciback not responding", "pciback not responding!!!",
     "the backend left a request unanswered for two seconds; the guest takes it for `no such function`. Every further access costs"
     " two seconds as well", _RUNS, ()),
    ("going away", _FRONT, _L, "backend going away", "backend going away!",
     "the backend went to Closing or Closed, so the guest removes its functions", "who closed it? a detach, a destroy, or an error before it", ()),
    # Addresses
    ("claim", _FRONT, _F, "Could not claim resource", r"Could not claim resource (?P<function>[0-9a-f:.]+)/(?P<bar>\d+)!",
     "BAR {bar} of {function} lies where the guest has memory. It is the guest's memory map, not the protocol",
     "put `e820_host=1` into the guest's configuration", ()),
    ("conflict", _CORE, _F, "address conflict with System RAM", "address conflict with System RAM",
     "a BAR lies where the guest has memory; `Could not claim resource` follows. It is the guest's memory map, not the protocol",
     "put `e820_host=1` into the guest's configuration", ()),
    ("setup", _FRONT, _F, "Error setting up PCI Frontend", r"(?:(?P<number>\d{1,4}) )?Error setting up PCI Frontend",
     "pcifront could not start; whatever the toolstack complains of later is a consequence",
     "with 12 the guest had no memory for bounce buffers: give it more, or a smaller `swiotlb=`", (Where.STORE,)),
    ("install", _FRONT, _N, "Installing PCI frontend", "Installing PCI frontend", "pcifront has met its backend", "", ()),
    ("scan", _FRONT, _N, "PCI Frontend Bus", r"(?:Creating|Rescanning) PCI Frontend Bus (?P<bus>[0-9a-f:]+)",
     "the guest looks for functions on bus {bus}; a scan for each function that is added is normal", "", ()),
    # Reset
    ("flr wait", _CORE, _L, "after FLR; waiting", r"not ready (?P<ms>\d+)ms after FLR; waiting", "the function does not answer {ms} ms after its reset; the kernel waits longer", "", ()),
    ("flr dead", _CORE, _F, "giving up", r"not ready (?P<ms>\d+)ms after FLR; giving up",
     "the function did not come back from its reset: it claims a function-level reset and does not survive it",
     "power the machine off; give it without reset only if the kernel has a quirk for it", ()),
    ("transaction", _CORE, _L, "timed out waiting for pending transaction", "timed out waiting for pending transaction",
     "the function was still transferring when it was reset; the kernel reset it all the same", "if data matter, let the guest shut the device down first", ()),
    ("no reset", _TOOL, _F, "no FLR, PM reset or bus reset available", "no FLR, PM reset or bus reset available",
     "the function cannot be reset, so libvirt does not give it away. It was refused before the protocol began", "", ()),
    ("bus reset", _TOOL, _F, "not doing bus reset", r"Active (?P<others>\S+) devices on bus with (?P<function>\S+), not doing bus reset",
     "{function} can only be reset together with its neighbours, and {others} is in use. It was refused before the protocol began",
     "give all functions of that bus to the same guest", ()),
    ("sysfs reset", _TOOL, _N, "reset from sysfs", r"doesn't support reset from sysfs for PCI device (?P<function>\S+)",
     "the kernel knows no way to reset {function} alone; it is given as it is", "", ()),
    # Errors of the bus
    ("aer lost", _BACK, _F, "pcifront aer process not responding", "pcifront aer process not responding!",
     "the device reported an error and the guest did not say how it went within five minutes",
     "the kernel now writes `aerState` into xenstore, which no toolstack of today reads: restart the guest", ()),
    ("aer kill", _BACK, _F, "kill", r"guest with no AER driver should have been killed|device is not connected or owned by HVM, kill it",
     "the device reported an error that the guest's driver cannot handle. The guest is not killed: the node `aerState` that asks for"
     " it has no reader today", "restart the guest", ()),
    # The toolstack
    ("no backend", _TOOL, _F, "does not exist", r"Backend (?P<path>\S*/backend/pci/\S+) does not exist",
     "the toolstack waited for a backend whose folder it had not made. pciback has no part in it; Xen 4.15 and 4.16 do so at the"
     " first attach to a running guest", "update libxl, or give the first function in the guest's configuration", ()),
    ("not ready", _TOOL, _F, "not ready", r"Backend (?P<path>\S*/backend/pci/\S+) not ready",
     "the backend did not reach state 4 within ten seconds. If the guest is shutting down, it never will, and the wait is in vain;"
     " else the guest is slow or hangs in a round of hot-plug",
     "`xenstore-ls {path}` and the frontend's `state`: 7 and 7 do not end by themselves", ()),
    ("interrupt control", _TOOL, _N, "allow_interrupt_control", r"(?:[Ff]ail|[Cc]ould).*allow_interrupt_control",
     "dom0's kernel is older than 5.6 and has no such attribute; it matters to device models in stub domains only", "", ()),
    ("rc", _TOOL, _F, "rc=", r"libxl.*\brc=(?P<number>-\d{1,3})\b", "a number of libxl's own follows", "", (Where.LIBXL,)),
    # Any driver, last: the number is all that is known.
    ("xenbus", "a Xen driver", _F, " pci-", r"\b(?:xen-pciback|pciback|pcifront) pci-[\d-]+: (?P<number>\d{1,4}) (?P<text>.{1,200})",
     "the driver gave up ({text}), and xenstore has this text in an error node", "", (Where.STORE,)),
)
# fmt: on
MESSAGES: Final = tuple(
    Message(id_, by, weight, has, re.compile(pattern), means, after, places)
    for id_, by, weight, has, pattern, means, after, places in _TABLE
)
#: The second and third line of the notice's record, and the stars around another: no news of their own.
_CONTINUED: Final = re.compile(
    r"1\) see permissive attribute in sysfs|2\) report problems to the xen-devel mailing list|\*{6}"
)


def match(line: str) -> Match | None:
    """The row that fits, the first in the table's order; None if none does."""
    line = line[:LONGEST]
    for message in MESSAGES:
        if message.has in line and (found := message.pattern.search(line)):
            return Match(message, _device(line, found), {k: v for k, v in found.groupdict().items() if v is not None})
    return None


def continues(line: str) -> bool:
    """Whether the line only goes on with the record of the line before it."""
    return _CONTINUED.search(line[:LONGEST]) is not None


def _device(line: str, found: re.Match[str]) -> str:
    """The address in the prefix, the last before the text; else the function that the text is about."""
    before = _BDF.findall(line, 0, found.start())
    about = found.groupdict().get("function") or ""
    return before[-1] if before else about if _BDF.fullmatch(about) else ""
