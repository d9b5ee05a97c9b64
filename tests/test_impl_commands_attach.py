# SPDX-License-Identifier: Apache-2.0
"""``pvpci attach``, ``detach`` and ``list`` as people type them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from tests.backend_rig import EDU, GUEST, RTL, Rig, rig, run_cli


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    with rig() as made:
        yield made


@pytest.fixture
def made(served: Rig) -> Iterator[Rig]:
    served.dom0.create_domain(GUEST)
    yield served
    served.clean()


def pvpci(made: Rig, command: str, *arguments: str) -> tuple[int, str, str]:
    done = run_cli(command, "--box", made.box.path, *arguments)
    return done.returncode, done.stdout, done.stderr


def test_attach_list_detach(made: Rig) -> None:
    attached = pvpci(made, "attach", "7", "07.0", "00:07.0")[0], pvpci(made, "attach", "7", "00:07.0", str(RTL))
    listed = pvpci(made, "list")
    detached = pvpci(made, "detach", "7", str(EDU), str(RTL))

    assert 2 == attached[0]
    assert (
        0,
        f"{EDU}  domain 7  at 0000:00:00.00  state 3\n{RTL}  domain 7  at 0000:00:01.00  state 3\n",
        "",
    ) == attached[1]
    assert [
        "DOMID  DEV  FUNCTION      GUEST SEES     FUNCTION IS  BACKEND        FRONTEND",
        f"7      0    {EDU}  0000:00:00.00  attached     3 initialised  1 initialising",
        f"7      0    {RTL}  0000:00:01.00  attached     3 initialised  1 initialising",
    ] == listed[1].splitlines()
    assert (0, "removed the device of domain 7", "") == (detached[0], detached[1].splitlines()[0], detached[2])
    assert () == made.dom0.account().leaks


def test_reports_for_programs(made: Rig) -> None:
    attached = json.loads(pvpci(made, "attach", "--json", "7", str(EDU))[1])
    listed = json.loads(pvpci(made, "list", "--json", "7")[1])
    none = json.loads(pvpci(made, "list", "--json", "8")[1])
    would = json.loads(pvpci(made, "detach", "-N", "--json", "7", str(EDU))[1])
    detached = json.loads(pvpci(made, "detach", "--json", "7", str(EDU))[1])

    assert (attached["attached"], []) == (listed["devices"], none["devices"])
    assert {
        "domain": 7, "device": 0, "index": 0, "function": str(EDU), "slot": "0000:00:00.00", "state": "3", "backend": "3",
        "frontend": "1",
    } == attached["attached"][0] | {"backend": "3"}  # fmt: skip
    assert {"domain": 7, "would": "remove the device", "functions": [str(EDU)]} == would
    assert (7, [str(EDU)]) == (detached["domain"], detached["detached"])


def test_a_dry_run_changes_nothing(made: Rig) -> None:
    assert (0, f"would make the device: {EDU} for domain 7\n", "") == pvpci(made, "attach", "-N", "7", str(EDU))
    assert () == made.dom0.account().assigned
    pvpci(made, "attach", "7", str(EDU))
    assert (0, f"would remove the device: {EDU} of domain 7\n", "") == pvpci(made, "detach", "-N", "7", str(EDU))
    assert [str(EDU)] == [each.bdf for each in made.dom0.account().assigned]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (
            "attach",
            ("7", "0000:00:1e.0"),
            "pvpci: 0000:00:1e.0: no such function; name one that exists; `lspci -D` lists them",
        ),
        (
            "attach",
            ("99", str(EDU)),
            "pvpci: domain 99: there is no such domain; name one that runs; `xl list` lists them",
        ),
        ("attach", ("7", "nonsense"), "pvpci: device address 'nonsense': not an address of a PCI function; write "),
        ("attach", ("0", str(EDU)), "pvpci: domain '0': this is dom0"),
        (
            "attach",
            ("7", "07.0,permissive=1"),
            "pvpci: device address '07.0': not an address",
        ),
        (
            "attach",
            ("7", "00:07.0,permissive"),
            "pvpci: device '00:07.0,permissive': permissive='': expected permissive=0 or permissive=1; grants are permissive=1, ",
        ),
        (
            "attach",
            ("7", "00:07.0,rdm_policy=strict"),
            "pvpci: device '00:07.0,rdm_policy=strict': 'rdm_policy=strict' is no grant; grants are permissive=1, ",
        ),
        ("attach", ("7", "00:07.0,"), "pvpci: device '00:07.0,': '' is no grant; grants are "),
        (
            "attach",
            ("7", "00:07.0,quirk=40:3:ff"),
            "pvpci: device '00:07.0,quirk=40:3:ff': '40:3:ff': expected OFFSET:WIDTH:MASK, for example 40:2:ffff; "
            "the width is 1, 2 or 4; grants are ",
        ),
        ("detach", ("7", str(EDU)), "pvpci: domain 7: it has no functions; see `pvpci list`"),
        ("detach", ("seven", str(EDU)), "pvpci: domain 'seven': not a number"),
        ("list", ("x",), "pvpci: domain 'x': not a number"),
        ("attach", ("7",), "pvpci: attach: missing argument 'BDF[,GRANT]...'"),
    ],
)
def test_what_cannot_be_done_is_one_line(made: Rig, command: str, arguments: tuple[str, ...], said: str) -> None:
    code, output, error = pvpci(made, command, *arguments)

    assert (2, "", 1) == (code, output, error.count("\n"))
    assert error.startswith(said)


def test_what_is_granted_is_in_the_log_and_gone_with_the_guest(made: Rig) -> None:
    wish = f"{EDU},extended=1,quirk=f0:2:ff"
    would = pvpci(made, "attach", "-N", "7", wish)
    attached = pvpci(made, "attach", "7", wish)
    said = made.log.getvalue()
    pvpci(made, "detach", "7", str(EDU))
    again = pvpci(made, "attach", "7", str(EDU))

    assert (0, f"would make the device: {wish} for domain 7\n", "") == would
    assert (0, 0) == (attached[0], again[0])
    assert 'event="granted beyond the usual"' in said
    assert 'grants="extended=1,quirk=f0:2:ff"' in said
    assert 1 == made.log.getvalue().count("granted beyond the usual")


def test_what_the_profile_refuses_is_said(made: Rig) -> None:
    code, output, error = pvpci(made, "attach", "7", f"{EDU},quirk=4:2:ffff")

    assert (2, "", 1) == (code, output, error.count("\n"))
    assert "quirk=4:2:ffff: meets COMMAND at 4, which has rules of its own" in error


def test_a_busy_device_names_its_holder(made: Rig) -> None:
    function = made.dom0.open_function(EDU)
    held = pvpci(made, "attach", "7", str(EDU))
    function.close()
    made.toolstack.attach(GUEST, [EDU])
    attached = pvpci(made, "attach", "7", str(EDU))

    assert (2, f"pvpci: {EDU}: busy: {EDU} is held by toolstack (process {os.getpid()}); free it first, or name another\n") == (
        held[0], held[2],
    )  # fmt: skip
    assert (2, f"pvpci: {EDU}: busy: domain 7 has it; detach it there first, or name another\n") == (
        attached[0],
        attached[2],
    )


def test_the_embedded_host_needs_a_box() -> None:
    done = run_cli("list", "--host", "embedded", environment=[("PVPCI_BOX", "")])

    assert (2, "pvpci: list: the embedded host needs a box; name the socket that `pvpci serve` printed with --box\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip


def test_the_box_may_be_in_the_environment(made: Rig) -> None:
    done = run_cli("list", "--json", environment=[("PVPCI_BOX", made.box.path)])

    assert (0, '{"devices": []}\n') == (done.returncode, done.stdout)


def test_texts_of_a_guest_stay_in_their_column(made: Rig) -> None:
    made.toolstack.attach(GUEST, [EDU])
    made.dom0.store.write("/local/domain/7/device/pci/0/state", "a\nb\x1b[31m")
    code, output, _ = pvpci(made, "list")

    assert (0, 2) == (code, output.count("\n"))
    assert "\x1b" not in output
