# SPDX-License-Identifier: Apache-2.0
"""Bugs of configuration space, each named after the rule that it breaks.

CM01 to CM38 are the catalogue of the protocol notes, CX our own, so that no property goes unbroken. A dialect is a profile
with a few named things changed; `breaks` names the properties that must fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pvpci.model.config.profiles import STRICT, Edit, Profile, rule
from pvpci.model.config.profiles import dialect as changed


@dataclass(frozen=True, eq=False)
class ConfigDialect:
    """`base` with `edits`; `title` is the rule that is broken."""

    id: str
    title: str
    cite: str
    breaks: tuple[str, ...]
    edits: tuple[Edit, ...]
    base: Profile = STRICT

    @property
    def profile(self) -> Profile:
        return changed(self.base, f"{self.base.name} with {self.id}", *self.edits)


_SOURCE: Final = "conf_space.c:"

CONFIG_DIALECTS: Final[tuple[ConfigDialect, ...]] = (
    ConfigDialect(
        "CM01", "a request lies inside the function", _SOURCE + "valid_request", ("C-02",), (rule(bounded=False),)
    ),
    ConfigDialect(
        "CM03",
        "the value that is read has no bit beyond its size",
        _SOURCE + "xen_pcibk_config_read",
        ("C-06",),
        (rule(cut=False),),
    ),
)
