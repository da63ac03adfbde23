"""Phases that coexist: lattices that explain together the lines of a curve."""

from __future__ import annotations

import math

from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.one_phase import copy_explanation, mean_width

# Lines from which a lattice starts: the highest ones, and the lowest in q.
_BY_HEIGHT = 4
_BASES = 6
# Lattices that stand in a known ratio this well are related.
_RELATED = 0.3
# Lines left unexplained are clear above this significance.
_CLEAR = 5.0


@device_function
def is_left(lines, j, members):  # type: ignore[no-untyped-def]
    """Whether none of the first `members` phases explains a sure line."""
    left = lines[bragg.SURE, j] == 1.0
    for member in range(members):
        left &= lines[bragg.ASSIGNED + member, j] < 0.0
    return left


@device_function
def is_higher(lines, one, other):  # type: ignore[no-untyped-def]
    """Whether a line is higher than another one; of equal ones the first."""
    difference = lines[bragg.LOG_HEIGHT, one] - lines[bragg.LOG_HEIGHT, other]
    return difference > 0.0 or (difference == 0.0 and one < other)


@device_function
def base_line(lines, count, members, attempt):  # type: ignore[no-untyped-def]
    """One of the lines that the first phases leave, to start a lattice from; -1 without one.

    The first `_BY_HEIGHT` attempts take them by height, the others by q.
    """
    previous = -1
    for _ in range(attempt % _BY_HEIGHT + 1):
        chosen = -1
        for j in range(count):
            if is_left(lines, j, members):
                if attempt >= _BY_HEIGHT:
                    if j > previous and chosen < 0:
                        chosen = j
                elif (previous < 0 or is_higher(lines, previous, j)) and (
                    chosen < 0 or is_higher(lines, j, chosen)
                ):
                    chosen = j
        if chosen < 0:
            return -1
        previous = chosen
    return previous


@device_function
def is_same(one, other):  # type: ignore[no-untyped-def]
    """Whether two explanations are the same phases with the same lattices, in any order."""
    members = int(one[explain.COUNT])
    if members != int(other[explain.COUNT]):
        return False
    for i in range(members):
        found = False
        for j in range(members):
            beta = one[explain.BETA + i]
            found |= (
                one[explain.PHASE + i] == other[explain.PHASE + j]
                and abs(beta - other[explain.BETA + j]) < 2.0 * explain.SAME_LATTICE * beta
            )
        if not found:
            return False
    return True


@device_function
def insert_explanation(trial, beam, number):  # type: ignore[no-untyped-def]
    """Put an explanation in its place in a beam, the best first; return how many there are."""
    for place in range(number):
        if is_same(trial, beam[place]):
            if trial[explain.SCORE] > beam[place, explain.SCORE]:
                copy_explanation(trial, beam[place])
            return number
    room = beam.shape[0]
    if number == room and trial[explain.SCORE] <= beam[room - 1, explain.SCORE]:
        return number
    place = min(number, room - 1)
    while place > 0 and beam[place - 1, explain.SCORE] < trial[explain.SCORE]:
        copy_explanation(beam[place - 1], beam[place])
        place -= 1
    copy_explanation(trial, beam[place])
    return min(number + 1, room)


@device_function
def assign_sure(case, explanation):  # type: ignore[no-untyped-def]
    """Assign the sure lines to every phase of an explanation, at its offset of q."""
    known = case.known
    explain.shift_lines(case, explanation[explain.OFFSET])
    for member in range(int(explanation[explain.COUNT])):
        phase = int(explanation[explain.PHASE + member])
        explain.assign(
            case.lines,
            case.size,
            member,
            known.positions[phase],
            known.reflections[phase],
            explanation[explain.BETA + member],
        )


@device_function
def two_suffice(case, explanation):  # type: ignore[no-untyped-def]
    """Whether two lines of its own name the last phase of an explanation.

    They are its first two and it is known by these, or its lattice is related to another's.
    """
    lines, known = case.lines, case.known
    member = int(explanation[explain.COUNT]) - 1
    for other in range(member):
        if explain.relation(explanation, other, member, known) > _RELATED:
            return True
    found = 0
    for j in range(case.size):
        if 0.0 <= lines[bragg.ASSIGNED + member, j] <= 1.0:
            found += not explain.is_shared(lines, j, member, member + 1)
    return known.first_two[int(explanation[explain.PHASE + member])] and found == 2


@device_function
def clear_own_lines(case, member, members):  # type: ignore[no-untyped-def]
    """Lines that one phase explains alone, doubtful peaks included that are significant."""
    lines = case.lines
    own = 0
    for j in range(case.size):
        own += (
            lines[bragg.ASSIGNED + member, j] >= 0.0
            and not explain.is_shared(lines, j, member, members)
            and (
                lines[bragg.SURE, j] == 1.0
                or lines[bragg.SIGNIFICANCE, j] > case.limits[bragg.EXPECTED_SIGNIFICANCE]
            )
        )
    return own


@device_function
def add_phase(case, given, phase, unexplained, trial, beam, number):  # type: ignore[no-untyped-def]
    """Add a phase to an explanation, from the lines that it leaves; return the beam's new number.

    The phase explains three lines that the others do not, or two where `two_suffice`.
    """
    lines, count, known = case.lines, case.size, case.known
    member = int(given[explain.COUNT])
    members = member + 1
    for other in range(member):
        if int(given[explain.PHASE + other]) == phase:
            return number
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    copy_explanation(given, trial)
    trial[explain.COUNT] = members
    trial[explain.PHASE + member] = phase
    for attempt in range(_BASES):
        base = base_line(lines, count, member, attempt)
        if base < 0:
            continue
        for k in range(min(known.candidates[phase], reflections)):
            beta = lines[bragg.CENTRE, base] / positions[k]
            explain.assign(lines, count, member, positions, reflections, beta)
            if explain.own_lines(lines, count, member, members) < 2:
                continue
            beta, _ = explain.fit_beta(lines, count, member, members, positions)
            explain.assign(lines, count, member, positions, reflections, beta)
            if explain.own_lines(lines, count, member, members) < 2:
                continue
            beta, _ = explain.fit_beta(lines, count, member, members, positions)
            trial[explain.BETA + member] = beta
            explain.assign_doubtful(lines, count, member, positions, reflections, beta)
            own = clear_own_lines(case, member, members)
            if own < 3 and not two_suffice(case, trial):
                continue
            if mean_width(lines, count, member) > known.broadest[phase] * beta:
                continue
            explain.score(case, trial, False, unexplained, -math.inf)
            number = insert_explanation(trial, beam, number)
    return number


@device_function
def add_phases(case, givens, n_given, unexplained, trial, beam):  # type: ignore[no-untyped-def]
    """Fill a beam with the explanations of another, each with one more phase; return its number."""
    number = 0
    for one in range(n_given):
        assign_sure(case, givens[one])
        for phase in range(case.known.prior.shape[0]):
            if case.known.prior[phase] > -math.inf:
                number = add_phase(case, givens[one], phase, unexplained, trial, beam, number)
    return number


@device_function
def clear_lines_left(case, explanation):  # type: ignore[no-untyped-def]
    """How many clear lines an explanation leaves."""
    assign_sure(case, explanation)
    members = int(explanation[explain.COUNT])
    left = 0
    for j in range(case.size):
        left += is_left(case.lines, j, members) and case.lines[bragg.SIGNIFICANCE, j] > _CLEAR
    return left
