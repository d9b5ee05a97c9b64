# SPDX-License-Identifier: Apache-2.0
"""How many messages of MSI its control word speaks of: those that the function has (Multiple Message Capable), and those
that it may tell apart (Multiple Message Enable). Both stand there as powers of two. (PCI Local Bus 3.0, 6.8.1.3)
"""

from __future__ import annotations

from typing import Final

from pvpci.model.config import constants as pci

MOST_MESSAGES: Final = 32  #: exponents above are reserved
_CAPABLE_AT: Final = 1
_ENABLED_AT: Final = 4


def capable(control: int) -> int:
    """A reserved exponent is taken as it stands."""
    return 1 << ((control & pci.MSI_FLAGS_QMASK) >> _CAPABLE_AT)


def enabled(control: int) -> int:
    """As `capable`."""
    return 1 << ((control & pci.MSI_FLAGS_QSIZE) >> _ENABLED_AT)


def with_enabled(control: int, messages: int) -> int:
    """The word that tells so many apart, a power of two."""
    return control & ~pci.MSI_FLAGS_QSIZE | messages.bit_length() - 1 << _ENABLED_AT
