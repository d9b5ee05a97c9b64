# SPDX-License-Identifier: Apache-2.0
"""A function as a trace describes it, made again."""

from __future__ import annotations

import msgspec

from pvpci.model.config.grants import parse as parse_grants
from pvpci.model.config.identity import Identity
from pvpci.model.config.view import ConfigView
from pvpci.model.config.walk import Capability
from pvpci.traces.format import Function, TraceError


class _Resource(msgspec.Struct, frozen=True):
    start: int
    end: int
    flags: int


class _Identity(msgspec.Struct, frozen=True, kw_only=True):
    vendor: int
    device: int
    irq: int
    config_size: int
    is_virtual: bool
    resources: list[_Resource]
    header_type: int = 0
    pin: int = 0
    class_code: int = 0
    chain: list[Capability]
    cache_line: int = 16
    command: int = 0
    cache_and_latency: int = 0
    pmc: int = 0
    msi_flags: int = 0
    line_shared: bool = False
    no_d1d2: bool = False
    no_d3: bool = False
    grants: str = ""
    remembered: dict[str, int] = {}


def view_of(line: Function, where: str, number: int) -> ConfigView:
    """The function's configuration space as its guest saw it at first. Raises TraceError."""
    right = "record it again with a pvpci of the version that reads it"
    try:
        known = msgspec.convert(line.identity, _Identity, strict=False)
        found = msgspec.structs.asdict(known)
        grants, remembered = parse_grants(found.pop("grants")), found.pop("remembered")
        view = ConfigView(Identity(**found), line.profile, grants)
        if remembered:
            view.remember(remembered)
        return view
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise TraceError(where, number, f"the identity of {line.function} is not usable: {error}", right) from None
