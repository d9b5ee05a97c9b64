# SPDX-License-Identifier: Apache-2.0
"""Where the reference departs from what others do, or decides what the protocol leaves open: RB-1, RB-2 and so on.

The header of the protocol says what the numbers are, not who must do what when both ends do something at once. Each gap
was found by somebody's hang or by a search; each is closed here by one sentence that rows of the tables cite. What the
rows and the proofs say is not repeated: the manual's page adds it from the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pvpci.model.catalogue import Needs


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision. `elsewhere`: where it stands if not (only) in a row; `needs`: what is missing for a proof."""

    title: str
    decided: str
    why: str
    prevents: str
    elsewhere: str = ""
    needs: str = ""
    properties: tuple[str, ...] = ()  #: what proves it, beside what its dialects break


DECISIONS: Final[Mapping[str, Decision]] = MappingProxyType(
    {
        "RB-1": Decision(
            title="Connected needs a page and a channel",
            decided=(
                "The frontend's state 4 means something only while we hold its page and its channel and "
                "our own state is Connected or Reconfigured. Anywhere else it changes nothing and is "
                "reported once. A round of hot-plug is run for an attached guest only; without a page it "
                "is a failure."
            ),
            why=(
                "4 in our node tells the toolstack that the device works. A guest that can bring it about "
                "by writing a digit can say so of a device that it never attached, and an attach begins "
                "in state 3, so none could follow."
            ),
            prevents=(
                "A device that reads as connected and answers nothing; a round that ends in 8 without a "
                "page, after which nobody is owed a step."
            ),
        ),
        "RB-2": Decision(
            title="The keys of an attach are read together",
            decided="The grant, the port, the magic and the frontend's state come from one transaction.",
            why=(
                "A frontend that starts again rewrites its keys one by one. Whoever reads them one by one "
                "can get the old grant with the new port, and both are valid numbers."
            ),
            prevents="A page of one life of the guest with the doorbell of the next: connected, and mute.",
        ),
        "RB-3": Decision(
            title="What is stored decides",
            decided=(
                "We keep no copy of our own state. Each step reads the node in the transaction that "
                "writes it, and a step whose ground has gone ends in another look. A node that is found "
                "in Closing or Reconfiguring without an instance is closed by us."
            ),
            why=(
                "The toolstack writes our node too: 7 for a round, 5 to close, and it may delete it or "
                "put a new one in its place. A copy is wrong from that moment, and the write that would "
                "put things right is then left out as a repetition."
            ),
            prevents=(
                "A 7 that stays for ever because the last thing we wrote was 4; a node that waits for an "
                "instance that there is not."
            ),
        ),
        "RB-4": Decision(
            title="A failure is final, or the round still ends",
            decided=(
                "If setting up fails as a whole, the device is closed, the error is written and what was "
                "taken is given back. One function that cannot be had in a round does not stop the "
                "others: its own state stays as the toolstack left it."
            ),
            why=(
                "An error that only returns leaves 7 in the store, and then both ends wait. The toolstack "
                "gives up after ten seconds with exit code 0, so nobody is told."
            ),
            prevents="A round of hot-plug that never ends, and a function that no guest has and none can get.",
            elsewhere="`impl/handshake.py`, which attaches and detaches",
        ),
        "RB-5": Decision(
            title="Detaching what is gone is done",
            decided=(
                "A function that is listed for detaching and not attached counts as detached, and the "
                "round goes on with the next."
            ),
            why=(
                "After a detach nobody changes the function's own state but the toolstack, and a "
                "toolstack that lost patience with a slow guest does not come back to it. The next round "
                "finds the same wish again."
            ),
            prevents="Every later attach and detach of that guest hanging in 7, because one slow detach came before.",
            elsewhere="`impl/handshake.py`, `_bring_once`",
            needs=Needs.HOT_PLUG.value,
            properties=("I-22",),
        ),
        "RB-6": Decision(
            title="Closing waits for one request",
            decided=(
                "The loop serves one request, then looks whether it is to close and lets everybody else "
                "have a turn. Closing waits for the request in dispatch and for nothing that the guest "
                "can prolong."
            ),
            why=(
                "A guest with two processors can post the next request before the last one is over, for "
                "as long as it likes."
            ),
            prevents="A guest that cannot be ended, and one that keeps the backend of all others busy.",
        ),
        "RB-7": Decision(
            title="An answer goes to the request that was copied, or to nobody",
            decided=(
                "Before the answer is stored, the clock, the flag and the request in the page are looked "
                "at again, in this order and last of all. An answer that took longer than a frontend "
                "waits is dropped, and so is one whose request was withdrawn or changed. `value` is "
                "stored only where it differs from what the guest put there."
            ),
            why=(
                "There is no sequence number. A frontend gives up after two seconds, clears the flag and "
                "posts something else into the same page; nothing there says whose answer comes next."
            ),
            prevents=(
                "A read answered with the value of an earlier one. It is not prevented in the few steps "
                "between the last look and the clearing of the flag: no backend can do that alone."
            ),
        ),
        "RB-8": Decision(
            title="Offsets are inside the function's own space",
            decided=(
                "A read or write that is not 1, 2 or 4 aligned bytes inside the 256 or 4096 bytes of the "
                "function is answered with -2, before any field is looked up. Offsets are signed on the "
                "wire; a negative one is outside as well."
            ),
            why=(
                "What lies outside is decided by the platform's accessor and not by the function: no field "
                "of ours is asked."
            ),
            prevents="An access that goes round the virtual registers.",
        ),
        "RB-9": Decision(
            title="A function has an owner before it has an address",
            decided=(
                "The guest is registered as the owner of a function's interrupts before the function can "
                "be reached through the page, and until it no longer can."
            ),
            why=(
                "A vector is mapped for whoever is registered when it is asked for, and a guest may ask "
                "from the first moment."
            ),
            prevents=(
                "A vector of dom0 in the hands of a guest; a refusal that no driver can explain, each "
                "time a function comes or goes."
            ),
            elsewhere=(
                "`impl/toolstack.py`, which gives a function before it lists it, and takes it back when the guest has "
                "let go; under `xl` the order is xl's"
            ),
            needs=Needs.HOT_PLUG.value,
            properties=("I-20",),
        ),
        "RB-10": Decision(
            title="A failed enable changes nothing",
            decided=(
                "Whether the interrupt line is claimed changes only when the kind of interrupt really "
                "changes. An enable with no entries is a failure as well."
            ),
            why=(
                "On a shared line somebody must claim the interrupts until messages take over; a refused "
                "request is no reason to stop."
            ),
            prevents="A line that nobody claims and the host then switches off, with a disk of its own on it.",
            elsewhere=(
                "in user space a line cannot be claimed: what is said here of claiming is kept for INTX_DISABLE, which a "
                "failed enable leaves as it was"
            ),
            properties=("I-44", "I-52"),
        ),
        "RB-11": Decision(
            title="Nothing of one guest is seen by the next",
            decided=(
                "Virtual registers, size probes, permissions and reports that were given once are those "
                "of one attachment. The function is quieted and reset in between."
            ),
            why=(
                "What a guest left in COMMAND is a message to the next one at best; a permission that "
                "outlives its guest is a hole."
            ),
            prevents=(
                "Guests that read each other's leavings; a guest that may write registers because its "
                "predecessor might."
            ),
            elsewhere="`model/config/view.py`, whose `reset` forgets; `impl/handshake.py`, which quiets and resets",
            needs=Needs.OWNERSHIP.value,
            properties=("I-55",),
        ),
        "RB-12": Decision(
            title="Error reports end, one way or another",
            decided=(
                "An exchange about an error of the device ends when the guest disconnects and when its "
                "time is over, and then with the verdict that the device is lost. Verdicts that are none "
                "count as that one. The time is an option, and far below five minutes."
            ),
            why=("The host waits for the verdict, and a guest need not give one."),
            prevents=(
                "A release that waits for a mute guest, and a recovery that is called successful because "
                "nobody answered."
            ),
            elsewhere="nowhere yet: pvpci has no source of such errors",
            needs=Needs.AER.value,
            properties=("I-60", "I-61", "I-62", "I-63", "I-64", "L-14"),
        ),
        "RB-13": Decision(
            title="Ending a guest has an effect or says that it has none",
            decided=(
                "What follows when a guest cannot handle an error is an option; without one the store is "
                "told, and the log says that nobody may be listening."
            ),
            why=(
                "The node that once asked the toolstack to end such a guest has had no reader for years, "
                "and its path holds for dom0 only."
            ),
            prevents="A guest that goes on with a broken device while the log says that it was ended.",
            elsewhere="nowhere yet: pvpci has no source of such errors",
            needs=Needs.AER.value,
            properties=("I-65",),
        ),
        "RB-14": Decision(
            title="A closed device can come back",
            decided="Closed, with `online` still 1 and a frontend that starts again at 1, we start again at 2.",
            why=(
                "PV-GRUB and Mini-OS close the device and hand it on to the kernel that they load; a "
                "kernel that is started from another does the same. Nobody else would take the step."
            ),
            prevents="A guest that boots without its devices.",
        ),
        "RB-15": Decision(
            title="Error numbers on the wire are Linux's",
            decided=(
                "What the host says is answered as it is: -5 for every failure of MSI, the kernel's own "
                "number for MSI-X. In configuration space the profile `strict` has the protocol's codes only."
            ),
            why="Drivers and people have learnt these numbers. Better ones would be a different protocol.",
            prevents=(
                "A guest's driver that falls back differently than under Linux's backend. `pvpci explain` "
                "tells what the numbers can mean."
            ),
            properties=("D-01",),
        ),
        "RB-16": Decision(
            title="Several messages of MSI are served where that was asked for",
            decided=(
                "Command 10 is answered with -4, as are all others that we do not serve; the request's value is echoed. "
                "With `serve --multi-msi` it maps a block of at least `info` messages, rounded up to a power of two, and "
                "`value` is the first number; it fails as one message does, with -5 and 0. `info` stays as it is: a frontend "
                "reads from it that it may ask for one."
            ),
            why="Upstream Linux's backend does not serve it, and -4 tells a frontend so; not every host has the hardware.",
            prevents="A frontend that takes our answer for one that no backend ever gave; messages that nobody has mapped.",
            properties=("I-36", "D-16", "D-17"),
        ),
        "RB-17": Decision(
            title="Flags change by locked instructions",
            decided=(
                "Our bit of the flag word is cleared by one locked instruction, which leaves the others as they are."
            ),
            why=(
                "The guest changes its own bits of the same word at the same time. Loading, changing and "
                "storing loses what it did in between."
            ),
            prevents="A request or an error report that was posted and is gone.",
            elsewhere="`impl/atomic.py`",
        ),
        "RB-18": Decision(
            title="A ring without a request costs the one who rings",
            decided=(
                "The first such event after a request is forgiven; each further one keeps its port closed "
                "twice as long, up to a second."
            ),
            why=(
                "The kernel does this for its own backends, but not for ports of a program: there an "
                "event is simply given back."
            ),
            prevents="A guest that keeps dom0 busy by ringing.",
            properties=("L-11",),
        ),
        "RB-19": Decision(
            title="A node that is gone ends the instance",
            decided=(
                "When our node is deleted, or replaced by a new one in state 1, we let go of the page and "
                "the channel, give the functions back and write nothing."
            ),
            why=(
                "With the last function of a guest the toolstack deletes the whole folder, without any "
                "closing. It is the usual end, not an accident."
            ),
            prevents=(
                "A page of a dead guest that stays mapped and keeps the domain from going; a state "
                "written into the successor's node."
            ),
        ),
        "RB-20": Decision(
            title="A backend that was killed can come back",
            decided=(
                "A new process takes the functions over as its predecessor kept them, and attaches to the page and the "
                "channel of a guest that was attached, if it still has the same keys. A request that was under way is done "
                "again if it cannot have changed anything, and fails with -5 if it can. What cannot be had again is closed."
            ),
            why=(
                "The grant and the port stay valid when the process dies, and the flag says that a request is waiting."
            ),
            prevents="A guest that loses its devices to a restart of the backend.",
            elsewhere="nowhere: the guest has to be started again",
            properties=("D-08", "D-09", "D-10"),
        ),
        "RB-21": Decision(
            title="What an enable has mapped, its failure gives back",
            decided=(
                "If anything fails while vectors are mapped, the enable bits are cleared, every vector is given back, last "
                "first, and only then is the failure answered. A vector that the hypervisor does not take back, or an "
                "enable bit that cannot be cleared, keeps the function from being enabled again and from every other guest."
            ),
            why=(
                "A vector list is mapped call by call, and any call may fail. What is left mapped is lost to the machine "
                "until the guest dies, and an enable bit that is left set silences the line that the driver falls back to."
            ),
            prevents="A guest that uses up the machine's vectors by asking for one too many, again and again.",
            properties=("I-47", "I-49", "I-52"),
        ),
        "RB-22": Decision(
            title="Disabling MSI turns off what is on",
            decided="The request to disable MSI turns MSI-X off too, if that is what is on.",
            why=(
                "The frontend of Linux 6.1 sends it for both. A backend that takes it by the letter leaves MSI-X enabled, "
                "and the driver's next enable is refused with -114: it falls back to the line, or gives up."
            ),
            prevents="A driver that works once and, loaded again, has no interrupts of its kind.",
            properties=("D-06",),
        ),
    }
)

#: What tables and dialects cite beside files, properties and the decisions above.
SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "XSA-155": (
            "The request was read more than once from a page that the guest can rewrite in between, so "
            "that what was checked was not what was done. The first correction then counted the vectors "
            "after the answer had replaced their number."
        ),
        "XSA-331": (
            "An event channel was taken down while its handler ran, because the guest rang and closed at the same time."
        ),
        "XSA-332": ("Events were given back as soon as they came, so that a guest that only rings could occupy dom0."),
        "XSA-349": "A guest that writes its state in a loop made the backend's watch events pile up in memory.",
        "xen 93bb8669b3": (
            "Requests are served where sleeping is allowed: enabling a function may wait for the firmware."
        ),
        "xen b11a028b04": (
            "The flag is tested again after the request is over, behind a barrier: else a request that "
            "was just posted is not seen."
        ),
        "xen b4adf19334": "The guest is rung when its request is answered; before, it had to look again and again.",
        "xen e7b9a93ed4": (
            "A state node that is not there is Unknown, which is not Closed: nobody may have written it yet."
        ),
        "D-01": "What is answered to a request is what the host said when it was asked to perform it.",
        "XSA-157": "Enabling was not refused when a kind of interrupt was on already, and the host's own checks then failed.",
        "XSA-237": "Errors while vectors were mapped left some mapped, or took away what had been there before.",
        "XSA-337": "The table of MSI-X was trusted to be where a function of the guest said that it was.",
        "CVE-2015-8553": "MSI-X was enabled while the function did not decode memory, and its table was touched.",
        "8d47065f7d19": "A virtual function's own COMMAND does not say whether memory is decoded; its physical function's does.",
        "D-05": "The answer to an enable is the number of the vector, or 0 with the list of numbers in the entries.",
        "D-06": "After a request to disable, nothing is on.",
        "D-08": "A guest whose backend died is served by the next one, or told.",
        "D-09": "A guest that was attached is attached again with its own keys, and the first request is in doubt.",
        "D-10": "What a request changes is begun at most once, whoever died meanwhile.",
        "D-11": "Who looks a function up gives back what it took, and is told if there is none.",
        "D-12": "What is remembered of a card is found by the card, not by its kind: its twin keeps its own.",
        "D-13": "What is allocated when a function is taken is freed when it goes, whether or not it can still be reached.",
        "D-14": "Nothing that may sleep, as writing to the store may, is done under a spinlock.",
        "D-15": "A node that an old removal left behind stops no later round of hot-plug.",
        "D-16": "A block of messages is as large as was asked for, or the next power of two, and not larger than the function's.",
        "D-17": "A function whose MSI is enabled tells as many messages apart as are mapped.",
        "XSA-120": "A guest could write COMMAND as it liked, and so take its function off the bus in the middle of an access.",
        "D-07": "Every operation on a function's interrupts ends.",
        "D-03": "What the frontend takes out of the page is what the backend answered to that request.",
    }
)
