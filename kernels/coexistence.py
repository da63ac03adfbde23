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
# Lines that each of coexisting phases explains and no other does.
_FEWEST_OWN = 2
# Rounds in which the lattices of coexisting phases settle.
_SETTLED = 2
# Lattices of one phase nearer than this are one answer.
ONE_ANSWER = 0.01


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
def has_phase(explanation, phase, beta, tolerance):  # type: ignore[no-untyped-def]
    """Whether an explanation has a phase with about this lattice."""
    found = False
    for member in range(int(explanation[explain.COUNT])):
        found |= (
            explanation[explain.PHASE + member] == phase
            and abs(explanation[explain.BETA + member] - beta) < tolerance * beta
        )
    return found


@device_function
def is_same(one, other, tolerance):  # type: ignore[no-untyped-def]
    """Whether two explanations are the same phases with the same lattices, in any order."""
    members = int(one[explain.COUNT])
    same = members == int(other[explain.COUNT])
    for member in range(members):
        phase, beta = one[explain.PHASE + member], one[explain.BETA + member]
        same &= has_phase(other, phase, beta, tolerance)
    return same


@device_function
def insert_explanation(trial, beam, number):  # type: ignore[no-untyped-def]
    """Put an explanation in its place in a beam, the best first; return how many there are."""
    for place in range(number):
        if is_same(trial, beam[place], 2.0 * explain.SAME_LATTICE):
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
def settle(case, explanation):  # type: ignore[no-untyped-def]
    """Fit the lattices of coexisting phases anew, each to the lines that are its own.

    A phase that was found alone has taken lines of the others, which pull at its lattice.
    """
    members = int(explanation[explain.COUNT])
    for _ in range(_SETTLED):
        assign_sure(case, explanation)
        for member in range(members):
            if explain.own_lines(case.lines, case.size, member, members) >= _FEWEST_OWN:
                positions = case.known.positions[int(explanation[explain.PHASE + member])]
                explanation[explain.BETA + member], _ = explain.fit_beta(
                    case.lines, case.size, member, members, positions
                )


@device_function
def keep_one(source, member, target):  # type: ignore[no-untyped-def]
    """Write an explanation that is one phase of another."""
    copy_explanation(source, target)
    target[explain.COUNT] = 1.0
    target[explain.PHASE] = source[explain.PHASE + member]
    target[explain.BETA] = source[explain.BETA + member]


@device_function
def worse_of(explanations, one, other):  # type: ignore[no-untyped-def]
    """Return which of two explanations has the lower score; of equal ones the first given."""
    if explanations[one, explain.SCORE] > explanations[other, explain.SCORE]:
        return other
    return one


@device_function
def drop_repeated(explanations, end):  # type: ignore[no-untyped-def]
    """Of explanations by the same phases with about the same lattices keep the best."""
    for one in range(end):
        for other in range(one):
            worse = worse_of(explanations, one, other)
            if explanations[worse, explain.SCORE] > -math.inf and is_same(
                explanations[one], explanations[other], ONE_ANSWER
            ):
                explanations[worse, explain.SCORE] = -math.inf


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
def clear_lines(case, member, others):  # type: ignore[no-untyped-def]
    """Lines that one phase explains and none of the first `others` does.

    Doubtful peaks count that are significant.
    """
    lines = case.lines
    clear = 0
    for j in range(case.size):
        clear += (
            lines[bragg.ASSIGNED + member, j] >= 0.0
            and not explain.is_shared(lines, j, member, others)
            and (
                lines[bragg.SURE, j] == 1.0
                or lines[bragg.SIGNIFICANCE, j] > case.limits[bragg.EXPECTED_SIGNIFICANCE]
            )
        )
    return clear


@device_function
def has_idle_phase(case, explanation):  # type: ignore[no-untyped-def]
    """Whether one of coexisting phases explains less than two lines that no other does."""
    members = int(explanation[explain.COUNT])
    idle = False
    for member in range(members):
        idle |= clear_lines(case, member, members) < _FEWEST_OWN
    return idle


@device_function
def add_phase(case, given, phase, unexplained, trial, beam, number):  # type: ignore[no-untyped-def]
    """Add a phase to an explanation, from the lines that it leaves; return the beam's new number.

    The phase explains three lines, or two where `two_suffice`, and two that no other explains.
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
            if explain.own_lines(lines, count, member, members) < _FEWEST_OWN:
                continue
            beta, _ = explain.fit_beta(lines, count, member, members, positions)
            explain.assign(lines, count, member, positions, reflections, beta)
            if explain.own_lines(lines, count, member, members) < _FEWEST_OWN:
                continue
            beta, _ = explain.fit_beta(lines, count, member, members, positions)
            trial[explain.BETA + member] = beta
            explain.assign_doubtful(lines, count, member, positions, reflections, beta)
            if clear_lines(case, member, 0) < 3 and not two_suffice(case, trial):
                continue
            if mean_width(lines, count, member) > known.broadest[phase] * beta:
                continue
            explain.score(case, trial, False, unexplained, -math.inf)
            number = insert_explanation(trial, beam, number)
    return number


@device_function
def add_phases(case, givens, n_given, unexplained, trial, beam, number):  # type: ignore[no-untyped-def]
    """Add the explanations of a beam, each with one more phase, to another; return its number."""
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
