# SPDX-License-Identifier: Apache-2.0
"""All properties of the protocol notes by identifier, and where each stands.

A property is claimed in a system of `proofs.systems`, or it belongs to something that is not there yet; the test of this
table compares it with what is really claimed, so that nothing is forgotten and nothing is claimed twice under two names.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pvpci.model import topology_properties
from pvpci.model.config import properties as config


class Needs(Enum):
    """What has to be there before a property can be claimed."""

    NOTHING = "claimed"
    CONFIG = "claimed of configuration space, as C-15"
    HOT_PLUG = "hot-plug of devices"
    OWNERSHIP = "ownership of functions and reset between guests"
    AER = "error reporting (AER)"


_N, _C, _P, _O, _A = Needs.NOTHING, Needs.CONFIG, Needs.HOT_PLUG, Needs.OWNERSHIP, Needs.AER

# fmt: off
PROPERTIES: Final[dict[str, tuple[str, Needs]]] = {
    # Connection
    "I-01": ("Connected is written only while a page and a channel are held", _N),
    "I-02": ("a mapped page belongs to a node that is open, or is about to be let go", _N),
    "I-03": ("the page is mapped before the channel is bound, and unmapped after it is unbound", _N),
    "I-04": ("an attach begins on Initialised and Initialised, read together, and at most once", _N),
    "I-05": ("the grant and the port of one attach come from one read", _N),
    "I-06": ("nothing is held when we write Closed or end the instance", _N),
    "I-07": ("functions go back when the device is offline and the frontend has closed", _N),
    "I-08": ("we never create our own state node", _N),
    "I-09": ("we write 2, 3, 4, 5, 6 and 8, never 1 or 7", _N),
    "I-10": ("we move only along our own edges", _N),
    "I-11": ("closing states are told by name, never by order", _N),
    "I-12": ("what is stored decides, not what we last wrote", _N),
    "I-13": ("a failure is reported, closes the device and leaves nothing held", _N),
    "I-14": ("in Reconfiguring somebody owes a step", _N),
    "I-15": ("unexpected states change nothing; a missing one is not Closed", _N),
    # Hot-plug and topology
    "I-16": ("a function said to be attached is parsed, held, visible and published", _P),
    "I-17": ("the published address is where the function is found", _P),
    "I-18": ("no two functions share an address, no function has two", _P),
    "I-19": ("held and visible are the same set", _P),
    "I-20": ("the owner is registered before a function can be reached", _P),
    "I-21": ("roots are counted after they are written, and only grow", _P),
    "I-22": ("a round of hot-plug run twice is one run once", _P),
    "I-23": ("moving an index does not move a device", _P),
    "I-24": ("bridges are not on the virtual bus", _P),
    "I-25": ("num_devs is bounded before anything loops", _P),
    # Requests
    "I-26": ("only the copy of a request decides", _N),
    "I-27": ("as many vectors go out as were asked for, and at most 128", _N),
    "I-28": ("only the answer and the one flag are written", _N),
    "I-29": ("one request is in dispatch at a time", _N),
    "I-30": ("results, flag, ring, idle: in that order", _N),
    "I-31": ("an answer is given at most once, to the request that was copied", _N),
    "I-32": ("other flags survive the clearing of ours", _N),
    "I-33": ("no page, no access; no channel, no use", _N),
    "I-34": ("the function is looked up before anything is done", _N),
    "I-35": ("only aligned accesses inside the function's space reach it", _N),
    "I-36": ("what is refused is echoed, and every refusal is written", _N),
    "I-37": ("a guest cannot fill the log", _N),
    "I-38": ("nothing that may sleep is done while an event is being judged", _N),
    "I-39": ("a taken event is given back once, unless the port goes first", _N),
    "I-40": ("an event is called spurious only if there was nothing to do", _N),
    # Interrupts
    "I-41": ("MSI and MSI-X are never on together", _N),
    "I-42": ("enabling what is on changes nothing", _N),
    "I-43": ("the line is quiet while messages are on", _N),
    "I-44": ("the line changes only with the kind of interrupt", _N),
    "I-45": ("MSI-X needs memory decode of the physical function", _N),
    "I-46": ("a guest never turns decode off", _C),
    "I-47": ("mapped vectors are those returned and not yet disabled", _N),
    "I-48": ("a vector is mapped for the guest that gets it", _N),
    "I-49": ("nothing of a function's interrupts survives its release", _N),
    "I-50": ("a vector fits its 16 bits and is not 0", _N),
    "I-51": ("a line that is shared with the host is never opened", _N),
    "I-52": ("a failed enable leaves nothing behind", _N),
    # Ownership
    "I-53": ("a function has at most one holder", _O),
    "I-54": ("references count what refers", _O),
    "I-55": ("between two guests a function is reset and all permissions are cleared", _O),
    "I-56": ("MSI-X preparation and release are paired", _O),
    "I-57": ("nobody points at an instance that is gone", _O),
    "I-58": ("reset happens under one lock, taken once", _O),
    "I-59": ("what was permitted is what is revoked", _O),
    # AER
    "I-60": ("an error is sent only to an attached guest that handles it, one at a time", _A),
    "I-61": ("an exchange is pending exactly while somebody waits for it", _A),
    "I-62": ("only the six verdicts count", _A),
    "I-63": ("a time-out is a failure of the request that timed out", _A),
    "I-64": ("disconnecting ends an exchange before the page goes", _A),
    "I-65": ("a kill policy has an effect or says that it has none", _A),
    # Progress
    "L-01": ("setting up ends", _N),
    "L-02": ("a frontend that posted its page is answered", _N),
    "L-03": ("every device listed before the frontend connects is attached", _P),
    "L-04": ("every request is answered", _N),
    "L-05": ("every answer is followed by a ring", _N),
    "L-06": ("a round of hot-plug goes on", _N),
    "L-07": ("a round of hot-plug ends", _N),
    "L-08": ("a guest that goes is let go, whatever it does", _N),
    "L-09": ("the work for one event is bounded", _N),
    "L-10": ("a masked port is opened again", _N),
    "L-11": ("rings without a request cost the guest more and more", _N),
    "L-12": ("closing ends", _N),
    "L-13": ("a deleted node frees everything", _N),
    "L-14": ("release does not wait for a mute guest", _A),
    "L-15": ("a frontend's wait is bounded", _N),
    "L-16": ("an error posted during a request is served after it", _A),
    # Configuration space
    **{name: (known.sentence, _N) for name, known in config.PROPERTIES.items()},
    **{name: (text, _N) for name, text in topology_properties.PROPERTIES.items()},
}
# fmt: on
