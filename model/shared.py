# SPDX-License-Identifier: Apache-2.0
"""What the parties share: a page, a doorbell, a few nodes of xenstore, and the watches on them.

A variable with a *cell* may be changed by somebody else between any two of our steps; our own machines touch one
cell a step. The event channel and the watches are part of the world: no table looks at them, they decide which
events happen.
"""

from __future__ import annotations

from pvpci.model.kernel.records import Record
from pvpci.model.kernel.terms import Bits, Choice, Flag
from pvpci.model.states import Xenbus


class PageFlags(Record):
    """The word at offset 0 of the page."""

    active = Flag()  #: F, ``_XEN_PCIF_active``
    handler = Flag()  #: H, ``_XEN_PCIB_AERHANDLER``
    aer = Flag()  #: B, ``_XEN_PCIB_active``


class Header(Record):
    """``struct xen_pci_op`` without `err` and the entries: what makes a request the request that it is."""

    cmd = Bits(32)
    domain = Bits(32)
    bus = Bits(32)
    devfn = Bits(32)
    offset = Bits(32)  #: signed on the wire
    size = Bits(32)  #: signed on the wire
    value = Bits(32)
    info = Bits(32)


class Posted(Header):
    """The request as it stands in the page, and where its answer goes."""

    err = Bits(32)


class Nodes(Record):
    """The nodes that decide about the connection, as one transaction sees them."""

    own = Choice(Xenbus)  #: the backend's `state`
    fe = Choice(Xenbus)  #: the frontend's `state`
    online = Flag()  #: the backend's `online`, missing counts as 0
    sound = Flag()  #: the frontend's keys are there, numbers in range, and `magic` is "7"
    ref = Bits(32)  #: `pci-op-ref`
    port = Bits(32)  #: `event-channel`
    listed = Flag()  #: some `state-N` says 1 or 5: the toolstack wants a function attached or detached


class Channel(Record):
    """The backend's end of the event channel, as the hypervisor keeps it."""

    pending = Flag()
    masked = Flag()


class Watches(Record):
    """For each watch, that something below it changed since its owner looked."""

    back = Flag()  #: ours, on the backend's own directory
    front = Flag()  #: ours, on the frontend's state
    waiting = Bits(3)  #: events on the frontend's state that wait to be looked at
    peer = Flag()  #: the frontend's, on the backend's state
    tool = Flag()  #: the toolstack's, on the backend's state


class Link(Record):
    """What the backend holds of the connection. Written by the connection machine, looked at by the request machine."""

    mapped = Flag()  #: the page is mapped
    bound = Flag()  #: the event channel is bound
    closing = Flag()  #: no further request is to be begun
    resumed = Flag()  #: attached again after a process died: it may have begun the request that is found first


class Kept(Record):
    """What a backend keeps, where nobody else writes, for the process that comes after it if it dies. Part of the world.

    In truth it goes with its node; that it stays here makes the next one take over more than there is.
    """

    ours = Flag()  #: an instance of ours serves the device
    held = Flag()  #: and the process that has it lives
    ref = Bits(32)  #: the keys with which it was attached last
    port = Bits(32)


flags = PageFlags("flags", cell="flags")
page = Posted("page", cell="request")
nodes = Nodes("nodes", cell="store")
channel = Channel("channel")
watches = Watches("watches")
link = Link("link")
kept = Kept("kept")
