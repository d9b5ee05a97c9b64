# SPDX-License-Identifier: Apache-2.0
"""The Xen PV PCI protocol as explicit state machines: proved, run, checked and drawn."""
