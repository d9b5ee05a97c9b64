# SPDX-License-Identifier: Apache-2.0
"""The properties C-nn of configuration space, each as a question to one step. True: holds, or does not speak of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.config_programs import BAR_OFFSETS, Step, touches
from tests.config_registers import Range

from pvpci.model.config.fields import Plan
from pvpci.model.config.state import Device, Kind

IO, MEM, MASTER, MWI, INTX = 0x1, 0x2, 0x4, 0x10, 0x400
DECODE = IO | MEM


def unchanged(step: Step) -> bool:
    return step.before == step.after and step.device == step.then


def invalid_requests_do_nothing(step: Step) -> bool:
    return step.answer is None or step.valid or (step.answer.err == -2 and unchanged(step))


def nothing_beyond_the_function_is_accessed(step: Step) -> bool:
    _, offset, size, _ = step.op
    inside = 0 <= offset and offset + size <= step.limit
    return step.answer is None or inside or (step.answer.err == -2 and not step.reads and not step.writes)


def reads_change_nothing(step: Step) -> bool:
    return step.op[0] != "r" or (unchanged(step) and not step.writes)


def an_invalid_read_is_zero(step: Step) -> bool:
    return step.op[0] != "r" or step.valid or (step.answer is not None and step.answer.value == 0)


def each_byte_is_its_last_field_or_the_register(step: Step) -> bool:
    if step.op[0] != "r" or not step.answer or not step.valid:
        return True
    for place, byte in enumerate(step.lanes):
        expected = step.before[byte]
        for row in step.rows:
            if row.offset <= byte < row.offset + row.width:
                register = int.from_bytes(step.before[row.offset : row.offset + row.width], "little")
                expected = row.reads.value(step.device, step.facts, register) >> 8 * (byte - row.offset) & 0xFF
        if step.answer.value >> 8 * place & 0xFF != expected:
            return False
    return True


def values_fit_their_size(step: Step) -> bool:
    return step.op[0] != "r" or not step.valid or not step.answer or 0 <= step.answer.value < 1 << 8 * step.op[2]


def covered(step: Step, byte: int) -> bool:
    return any(row.offset <= byte < row.offset + row.width for row in step.rows)


def a_write_without_a_field_is_dropped_and_told_once(step: Step) -> bool:
    if step.op[0] != "w" or not step.answer or not step.lanes or any(covered(step, byte) for byte in step.lanes):
        return True
    told = Kind.WRITE_DROPPED in step.then.noticed and step.warnings <= len(Kind)
    return step.answer == (0, step.op[3]) and step.before == step.after and not step.writes and told


def bytes_without_a_field_keep_their_value(step: Step) -> bool:
    if step.op[0] != "w":
        return True
    return all(step.before[byte] == step.after[byte] for byte in step.lanes if not covered(step, byte))


def fields_are_evaluated_in_order(step: Step) -> bool:
    """The writes of the fields under test that store what they are told come in the order of registration."""
    order = [row.offset for row in step.rows if row.offset in (0x41, 0x40)]
    return [o for o, _, _ in step.writes if o in order] in ([], order, order[:1], order[1:]) and (
        step.again is None or step.again == step.answer
    )


def peek(step: Step, offset: int, size: int) -> int:
    return int.from_bytes(step.before[offset : offset + size], "little")


def plans(step: Step) -> list[Plan]:
    """What each field that a write meets would say to it, asked of each alone."""
    found = []
    _, offset, size, value = step.op
    for row in step.rows:
        if row.writes.plan and any(row.offset <= byte < row.offset + row.width for byte in step.lanes):
            register = int.from_bytes(step.before[row.offset : row.offset + row.width], "little")
            wanted = bytearray(row.reads.value(step.device, step.facts, register).to_bytes(row.width, "little"))
            for place in range(size):
                if row.offset <= offset + place < row.offset + row.width:
                    wanted[offset + place - row.offset] = value >> 8 * place & 0xFF
            found.append(
                row.writes.plan(
                    step.device, step.facts, int.from_bytes(wanted, "little"), register, partial(peek, step)
                )
            )
    return found


def the_first_error_is_answered(step: Step) -> bool:
    if step.op[0] != "w" or not step.answer or not step.valid:
        return True
    return step.answer.err == next((plan.error for plan in plans(step) if plan.error), 0)


def a_refused_request_does_nothing(step: Step) -> bool:
    return not step.answer or not step.answer.err or unchanged(step)


def errors_are_of_the_protocol(step: Step) -> bool:
    return not step.answer or step.answer.err in (0, -1, -2, -3, -4, -5)


def real(step: Step) -> tuple[int, int]:
    return step.real(step.before), step.real(step.after)


def guest_request(step: Step) -> bool:
    return step.answer is not None


def decoding_is_never_cleared(step: Step) -> bool:
    before, after = real(step)
    return not guest_request(step) or not before & ~after & DECODE


def the_line_is_never_disabled(step: Step) -> bool:
    before, after = real(step)
    return not guest_request(step) or not after & ~before & INTX


def other_bits_of_command_are_the_hosts(step: Step) -> bool:
    before, after = real(step)
    return not guest_request(step) or not (before ^ after) & ~(DECODE | MASTER | MWI | INTX)


def virtual_bits_are_the_guests_last(step: Step) -> bool:
    return step.seen & 0x07EB == step.told


def command_write(step: Step) -> bool:
    return step.wrote(0x04, 2)


def enabled_is_what_was_written(step: Step) -> bool:
    return not command_write(step) or bool(step.then.command & DECODE) == bool(step.wanted & DECODE)


def enabling_happens_once(step: Step) -> bool:
    before, after = real(step)
    already = step.device.command & DECODE and before & step.facts.decode == step.facts.decode
    if not command_write(step) or not already or not step.wanted & DECODE:
        return True
    return not (before ^ after) & (DECODE | INTX)


def mastering_is_what_was_written(step: Step) -> bool:
    return not command_write(step) or not (real(step)[1] ^ step.wanted) & MASTER & step.mask[0x04]


def write_and_invalidate_needs_a_line_size(step: Step) -> bool:
    before, after = real(step)
    rising = step.wanted & ~before & MWI
    if not command_write(step):
        return not any(o == 0x0C for o, _, _ in step.writes)
    if any(o == 0x0C for o, _, _ in step.writes) and not rising:
        return False
    line = step.after[0x0C]
    usable = line and line % 16 == 0
    return bool(after & MWI) == bool(step.wanted & MWI and (usable or not rising)) or not step.mask[0x04] & MWI


def enabling_frees_the_line(step: Step) -> bool:
    before, after = real(step)
    enables = step.wanted & DECODE and (not step.device.command & DECODE or step.facts.decode & ~before)
    if not command_write(step) or not enables or not before & INTX or not step.mask[0x05] & INTX >> 8:
        return True
    messages = step.before[0xD2] & 1 or step.before[0xA3] & 0x80
    return bool(after & INTX) == bool(messages or not step.facts.pin)


def a_guest_starts_with_nothing(step: Step) -> bool:
    return step.op[0] != "guest" or step.then == Device()


def reserved_bits_are_zero(step: Step) -> bool:
    return not step.seen & 0xF800


def lost_decoding_comes_back(step: Step) -> bool:
    _, after = real(step)
    return not command_write(step) or not step.wanted & DECODE or not step.facts.decode & ~after


def address(resources: tuple[Range, ...], place: int) -> tuple[int, int]:
    """What a BAR reads and sizes as, byte by byte from the resources, in exact arithmetic."""
    below = resources[place - 1] if 0 < place < 6 else Range(0, 0, 0)
    own = resources[place]
    if below.flags & 0x100000:
        size = below.end - below.start + 1
        return below.start // 2**32, (2**64 - size) // 2**32
    if not own.flags:
        return 0, 0
    size = own.end - own.start + 1
    return own.start % 2**32 | own.flags & 0xF, (2**64 - size) % 2**32 | own.flags & 0xF


def expected(step: Step) -> list[tuple[int, int]]:
    return [address(tuple(step.resources), place) for place in range(7)]


def bars_keep_what_the_host_put_there(step: Step) -> bool:
    places = [byte for start in BAR_OFFSETS for byte in range(start, start + 4)]
    return not guest_request(step) or all(step.before[byte] == step.after[byte] for byte in places)


def a_bar_reads_as_one_of_two_values(step: Step) -> bool:
    return all(seen in both for seen, both in zip(step.bars, expected(step), strict=True))


def the_size_is_read_after_all_ones(step: Step) -> bool:
    return list(step.bars) == [both[sized] for both, sized in zip(expected(step), step.sizing, strict=True)]


def size_masks_are_those_of_the_resources(step: Step) -> bool:
    return all(
        seen == both[1] for seen, both, sized in zip(step.bars, expected(step), step.sizing, strict=True) if sized
    )


def a_bar_that_is_not_there_is_zero(step: Step) -> bool:
    return all(not seen for seen, both in zip(step.bars, expected(step), strict=True) if both == (0, 0))


def sizing_one_leaves_the_others(step: Step) -> bool:
    return not guest_request(step) or all(
        then == now
        for start, now, then in zip(BAR_OFFSETS, step.bars_before, step.bars, strict=True)
        if not touches(step, start, 4)
    )


def sizing_does_not_reach_the_function(step: Step) -> bool:
    return not any(touches(step, start, 4) for start in BAR_OFFSETS) or not step.writes


def the_rom_is_never_switched(step: Step) -> bool:
    return not guest_request(step) or step.before[0x30] & 1 == step.after[0x30] & 1


def halves_of_a_bar_have_their_own_mask(step: Step) -> bool:
    name, offset, size, value = step.op
    for place, start in enumerate(BAR_OFFSETS[:6]):
        if name == "w" and (offset, size) == (start, 4) and place and step.resources[place - 1].flags & 0x100000:
            return step.bars[place] == expected(step)[place][value == 0xFFFFFFFF]
    return True


def a_guest_starts_with_addresses(step: Step) -> bool:
    return step.op[0] != "guest" or list(step.bars) == [both[0] for both in expected(step)]


CHECKS: dict[str, Callable[[Step], bool]] = {
    "C-01": invalid_requests_do_nothing,
    "C-02": nothing_beyond_the_function_is_accessed,
    "C-03": reads_change_nothing,
    "C-04": an_invalid_read_is_zero,
    "C-05": each_byte_is_its_last_field_or_the_register,
    "C-06": values_fit_their_size,
    "C-08": a_write_without_a_field_is_dropped_and_told_once,
    "C-09": bytes_without_a_field_keep_their_value,
    "C-10": fields_are_evaluated_in_order,
    "C-11": the_first_error_is_answered,
    "C-12": a_refused_request_does_nothing,
    "C-13": errors_are_of_the_protocol,
    "C-15": decoding_is_never_cleared,
    "C-16": the_line_is_never_disabled,
    "C-17": other_bits_of_command_are_the_hosts,
    "C-19": virtual_bits_are_the_guests_last,
    "C-20": enabled_is_what_was_written,
    "C-21": enabling_happens_once,
    "C-22": mastering_is_what_was_written,
    "C-23": write_and_invalidate_needs_a_line_size,
    "C-24": enabling_frees_the_line,
    "C-26": a_guest_starts_with_nothing,
    "C-27": reserved_bits_are_zero,
    "C-28": lost_decoding_comes_back,
    "C-29": bars_keep_what_the_host_put_there,
    "C-30": a_bar_reads_as_one_of_two_values,
    "C-31": the_size_is_read_after_all_ones,
    "C-32": size_masks_are_those_of_the_resources,
    "C-33": a_bar_that_is_not_there_is_zero,
    "C-34": sizing_one_leaves_the_others,
    "C-35": sizing_does_not_reach_the_function,
    "C-36": the_rom_is_never_switched,
    "C-37": halves_of_a_bar_have_their_own_mask,
    "C-38": a_guest_starts_with_addresses,
}
