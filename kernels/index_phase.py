"""Name the phase, or the phases, whose reflections explain the peaks of a curve."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.curve_kernel import (
    FloatArray,
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    ScratchOf,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.free_ratio import fit_axes, place_reflections, ratio_at, ratio_steps
from gpusaxs.kernels.lattice_fit import fit_lattice
from gpusaxs.kernels.phase_verdict import lead_over, log_sum, probability
from gpusaxs.kernels.process_peak import is_drawn, profile_row
from numpy.typing import NDArray

MAX_KNOWN_PHASES = 32
MAX_REFLECTIONS = 20
_BEAM = 8
# Explanations by one phase: the best of each. Behind them those by two and by three.
_EXPLANATIONS = MAX_KNOWN_PHASES + 2 * _BEAM
_COLUMNS = explain.EXPLANATION_COLUMNS

Lines = Annotated[FloatArray, ScratchOf((bragg.LINE_ROWS, bragg.MAX_LINES))]
Explanations = Annotated[FloatArray, ScratchOf((_EXPLANATIONS, _COLUMNS))]
Trial = Annotated[FloatArray, ScratchOf((_COLUMNS,))]
Positions = Annotated[FloatArray, ScratchOf((MAX_KNOWN_PHASES, MAX_REFLECTIONS))]
Order = Annotated[NDArray[np.int64], ScratchOf((MAX_KNOWN_PHASES, MAX_REFLECTIONS), "int64")]

# Height over its standard uncertainty of each of the two lines that name a phase.
_BEYOND_DOUBT = 5.0
# ln of how much fainter a third line must be where two name a phase.
_FAINT = math.log(2.0)
# ln of how much higher than the unexplained lines a first reflection is that dominates a curve.
_DOMINANT = math.log(5.0)
# Lines from which a lattice of a coexisting phase starts: the highest ones, and the lowest in q.
_BY_HEIGHT = 4
_BASES = 6
# Explanations this far behind the best, in log Bayes factor, are looked at no closer.
_FAR_BEHIND = 6.0
# What each line beyond the third adds to the score that chance reaches.
_MORE_LINES = 1.0
# ln of how many lattices less are tried for the few phases that two lines name.
_FEWER_TRIALS = 8.0
# An explanation less probable than this is none.
_UNLIKELY = 0.3
# Explanations this far behind the best are no candidates.
_CANDIDATE = 3.0
# Lattices that stand in a known ratio this well are related.
_RELATED = 0.3
# Lines left unexplained, of this significance, from which coexistence is tried.
_LEFT_OVER = 2
_CLEAR = 5.0


@device_function
def mean_width(lines, count, member):  # type: ignore[no-untyped-def]
    """Mean FWHM of the matched lines in 1/nm."""
    total = 0.0
    matches = 0
    for j in range(count):
        if lines[bragg.ASSIGNED + member, j] >= 0.0:
            total += lines[bragg.FWHM, j]
            matches += 1
    return total / matches


@device_function
def first_two_suffice(lines, count, first_two):  # type: ignore[no-untyped-def]
    """Whether a phase may be named from its first two reflections.

    Both are matched and beyond doubt. Every line that is left unexplained is much fainter than
    both, or the first reflection dominates the curve: small lines may be the instrument's.
    """
    strongest = -math.inf
    lowest = math.inf
    others = -math.inf
    found = 0
    for j in range(count):
        rank = lines[bragg.ASSIGNED, j]
        if 0.0 <= rank <= 1.0 and lines[bragg.SIGNIFICANCE, j] > _BEYOND_DOUBT:
            found += 1
            lowest = min(lowest, lines[bragg.LOG_HEIGHT, j])
            strongest = max(strongest, lines[bragg.LOG_HEIGHT, j])
        elif rank < 0.0 and lines[bragg.SURE, j] == 1.0:
            others = max(others, lines[bragg.LOG_HEIGHT, j])
    return first_two and found == 2 and others < max(lowest - _FAINT, strongest - _DOMINANT)


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
def bases(lines, count, members):  # type: ignore[no-untyped-def]
    """Strongest and lowest line that is left unexplained; -1 without one."""
    strongest = -1
    lowest = -1
    for j in range(count):
        if is_left(lines, j, members):
            if lowest < 0:
                lowest = j
            if strongest < 0 or lines[bragg.LOG_HEIGHT, j] > lines[bragg.LOG_HEIGHT, strongest]:
                strongest = j
    return strongest, lowest


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
def strongest_but(lines, count, one, other):  # type: ignore[no-untyped-def]
    """Strongest and lowest sure line but for two of them; -1 without one."""
    strongest = -1
    lowest = -1
    for j in range(count):
        if lines[bragg.SURE, j] == 1.0 and j not in (one, other):
            if lowest < 0:
                lowest = j
            if strongest < 0 or lines[bragg.LOG_HEIGHT, j] > lines[bragg.LOG_HEIGHT, strongest]:
                strongest = j
    return strongest, lowest


@device_function
def copy_explanation(source, target):  # type: ignore[no-untyped-def]
    """Copy a row of the table of explanations."""
    for column in range(_COLUMNS):
        target[column] = source[column]


@device_function
def best_lattice(  # type: ignore[no-untyped-def]
    lines, count, sure, phase, known, curve, limits, trial, best, strongest, lowest, least, change
):
    """Try two lines, the strongest and the lowest, as each of a phase's first reflections.

    `best` becomes the best explanation by this phase alone; its score is -inf where no lattice
    explains enough lines, or none scores more than `least`. `change` is what one line more can
    change: a lattice that is fitted to its lines may explain another one.
    """
    best[explain.SCORE] = -math.inf
    best[explain.BETA] = math.nan
    best_matches = 0
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    trial[explain.COUNT] = 1.0
    trial[explain.PHASE] = phase
    for attempt in range(2):
        base = strongest if attempt == 0 else lowest
        # Lattices that explain every line come up from any of them.
        if attempt == 1 and (strongest == lowest or best_matches == sure):
            break
        for k in range(min(known.candidates[phase], reflections)):
            beta = lines[bragg.CENTRE, base] / positions[k]
            # A lattice that was found from another line needs no second look, nor does one that
            # explains far less than the best.
            if abs(beta - best[explain.BETA]) < explain.SAME_LATTICE * beta:
                continue
            matches = explain.assign(lines, count, 0, positions, reflections, beta)
            if matches < 2 or 3 * matches < 2 * best_matches:
                continue
            beta, information = explain.fit_beta(lines, count, 0, 1, positions)
            if abs(beta - best[explain.BETA]) < explain.SAME_LATTICE * beta:
                continue
            enough_score = max(least, best[explain.SCORE])
            possible = explain.at_most(lines, count, phase, beta, information, known)
            if possible + change < enough_score:
                continue
            if mean_width(lines, count, 0) > known.broadest[phase] * beta:
                continue
            matches = explain.assign(lines, count, 0, positions, reflections, beta)
            enough = first_two_suffice(lines, count, known.first_two[phase])
            # Two lines may be those of any phase, though they name only a few.
            if matches < 2 or (matches < 3 and not enough and sure > 2):
                continue
            beta, information = explain.fit_beta(lines, count, 0, 1, positions)
            if explain.at_most(lines, count, phase, beta, information, known) < enough_score:
                continue
            trial[explain.BETA] = beta
            gained = explain.score(
                lines,
                count,
                trial,
                known,
                curve,
                limits,
                False,
                explain.UNEXPLAINED,
                enough_score,
            )
            if gained > enough_score:
                copy_explanation(trial, best)
                best_matches = matches


@device_function
def best_axes(  # type: ignore[no-untyped-def]
    lines,
    count,
    sure,
    phase,
    known,
    curve,
    limits,
    trial,
    scanned,
    best,
    strongest,
    lowest,
    least,
    change,
    planes,
    order,
):
    """`best_lattice` at the ratio of the axes that fits best, where that is free.

    The ratio is scanned, then fitted to the lines. It has to explain four lines or more.
    """
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    low, high = known.ratios[phase]
    if math.isnan(low):
        place_reflections(planes, reflections, 1.0, positions, order)
        best_lattice(
            lines,
            count,
            sure,
            phase,
            known,
            curve,
            limits,
            trial,
            best,
            strongest,
            lowest,
            least,
            change,
        )
        return
    ratio = math.nan
    for step in range(ratio_steps(low, high)):
        place_reflections(planes, reflections, ratio_at(low, high, step), positions, order)
        best_lattice(
            lines,
            count,
            sure,
            phase,
            known,
            curve,
            limits,
            trial,
            scanned,
            strongest,
            lowest,
            least,
            change,
        )
        if scanned[explain.SCORE] > best[explain.SCORE] and scanned[explain.MATCHES] > 3.0:
            copy_explanation(scanned, best)
            ratio = ratio_at(low, high, step)
    if math.isnan(ratio):
        return
    place_reflections(planes, reflections, ratio, positions, order)
    explain.assign(lines, count, 0, positions, reflections, best[explain.BETA])
    beta, _, fitted, _, _ = fit_axes(lines, count, 0, planes, order)
    if low <= fitted <= high:
        place_reflections(planes, reflections, fitted, positions, order)
        best[explain.BETA] = beta
        explain.assign(lines, count, 0, positions, reflections, beta)
        explain.score(
            lines, count, best, known, curve, limits, False, explain.UNEXPLAINED, -math.inf
        )


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
def assign_sure(lines, count, explanation, known):  # type: ignore[no-untyped-def]
    """Assign the sure lines to every phase of an explanation."""
    for member in range(int(explanation[explain.COUNT])):
        phase = int(explanation[explain.PHASE + member])
        explain.assign(
            lines,
            count,
            member,
            known.positions[phase],
            known.reflections[phase],
            explanation[explain.BETA + member],
        )


@device_function
def two_suffice(lines, count, explanation, known):  # type: ignore[no-untyped-def]
    """Whether two lines of its own name the last phase of an explanation.

    They are its first two and it is known by these, or its lattice is related to another's.
    """
    member = int(explanation[explain.COUNT]) - 1
    for other in range(member):
        if explain.relation(explanation, other, member, known) > _RELATED:
            return True
    found = 0
    for j in range(count):
        if 0.0 <= lines[bragg.ASSIGNED + member, j] <= 1.0:
            found += not explain.is_shared(lines, j, member, member + 1)
    return known.first_two[int(explanation[explain.PHASE + member])] and found == 2


@device_function
def add_phase(  # type: ignore[no-untyped-def]
    lines, count, given, phase, unexplained, known, curve, limits, trial, beam, number
):
    """Add a phase to an explanation, from the lines that it leaves; return the beam's new number.

    The phase explains three lines that the others do not, or two where `two_suffice`.
    """
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
            own = explain.own_lines(lines, count, member, members)
            if own < 3 and not two_suffice(lines, count, trial, known):
                continue
            if mean_width(lines, count, member) > known.broadest[phase] * beta:
                continue
            explain.score(lines, count, trial, known, curve, limits, False, unexplained, -math.inf)
            number = insert_explanation(trial, beam, number)
    return number


@device_function
def add_phases(  # type: ignore[no-untyped-def]
    lines, count, givens, n_given, unexplained, known, curve, limits, trial, beam
):
    """Fill a beam with the explanations of another, each with one more phase; return its number."""
    number = 0
    for one in range(n_given):
        assign_sure(lines, count, givens[one], known)
        for phase in range(known.prior.shape[0]):
            if known.prior[phase] > -math.inf:
                number = add_phase(
                    lines,
                    count,
                    givens[one],
                    phase,
                    unexplained,
                    known,
                    curve,
                    limits,
                    trial,
                    beam,
                    number,
                )
    return number


@device_function
def clear_lines_left(lines, count, explanation, known):  # type: ignore[no-untyped-def]
    """How many clear lines an explanation leaves."""
    assign_sure(lines, count, explanation, known)
    members = int(explanation[explain.COUNT])
    left = 0
    for j in range(count):
        left += is_left(lines, j, members) and lines[bragg.SIGNIFICANCE, j] > _CLEAR
    return left


@device_function
def assign_all(lines, count, explanation, known):  # type: ignore[no-untyped-def]
    """Assign the sure lines to every phase of an explanation, doubtful ones to what is left."""
    assign_sure(lines, count, explanation, known)
    for member in range(int(explanation[explain.COUNT])):
        phase = int(explanation[explain.PHASE + member])
        explain.assign_doubtful(
            lines,
            count,
            member,
            known.positions[phase],
            known.reflections[phase],
            explanation[explain.BETA + member],
        )


@device_function
def give_owners(lines, count, explanation, known, curve):  # type: ignore[no-untyped-def]
    """Say which phase of an explanation explains each line best."""
    span = curve.q[curve.q.shape[0] - 1] - curve.q[0]
    for j in range(count):
        explain.best_gain(lines, j, explanation, known, span)


@device_function
def look_closer(lines, count, explanation, known, curve, limits):  # type: ignore[no-untyped-def]
    """Score an explanation again: with doubtful peaks, and with looks at what is missing."""
    assign_all(lines, count, explanation, known)
    explain.score(
        lines, count, explanation, known, curve, limits, True, explain.UNEXPLAINED, -math.inf
    )


@device_function
def look_at_the_best(lines, count, known, curve, limits, explanations, total):  # type: ignore[no-untyped-def]
    """Look closer at the explanations that are not far behind, and drop the others.

    Returns the number of the best; -1 without one.
    """
    top = -math.inf
    for one in range(total):
        top = max(top, explanations[one, explain.SCORE])
    best = -1
    for one in range(total):
        if not explanations[one, explain.SCORE] >= top - _FAR_BEHIND:
            explanations[one, explain.SCORE] = -math.inf
        elif explanations[one, explain.SCORE] > -math.inf:
            look_closer(lines, count, explanations[one], known, curve, limits)
            if best < 0 or explanations[one, explain.SCORE] > explanations[best, explain.SCORE]:
                best = one
    return best


@device_function
def write_phase(  # type: ignore[no-untyped-def]
    row, candidate, sure, explanation, member, lines, count, known, curve, limits, planes, orders
):
    """Write a phase with its lattice parameter, and the reflections matched and missing."""
    phase = int(explanation[explain.PHASE + member])
    members = int(explanation[explain.COUNT])
    low, high = curve.q[0], curve.q[curve.q.shape[0] - 1]
    positions = known.positions[phase]
    beta, beta_sigma, offset, offset_sigma, chi2 = fit_lattice(
        lines, count, member, members, positions
    )
    order = orders[phase]
    ratio = math.nan
    ratio_sigma = math.nan
    if not math.isnan(known.ratios[phase, 0]):
        beta, beta_sigma, ratio, ratio_sigma, chi2 = fit_axes(
            lines, count, member, planes[phase], order
        )
        offset = math.nan
    start = 0.0 if math.isnan(offset) else offset
    matched = 0
    unexplained = 0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0:
            matched |= 1 << order[k]
        if is_left(lines, j, members):
            unexplained |= 1 << int(lines[bragg.PEAK, j])
    missing = 0
    for k in range(known.reflections[phase]):
        centre = start + beta * positions[k]
        if matched >> order[k] & 1 or not low < centre < high:
            continue
        height, sigma = explain.look_between(lines, count, member, centre, curve)
        if height > limits[bragg.EXPECTED_SIGNIFICANCE] * sigma:
            matched |= 1 << order[k]
        else:
            missing |= 1 << order[k]
    lattice = 2.0 * math.pi / beta
    for column in range(table.PHASE_COLUMNS):
        row[column] = math.nan
    row[table.PHASE] = phase
    row[table.LATTICE] = lattice
    row[table.LATTICE_SIGMA] = lattice * beta_sigma / beta
    row[table.SCORE] = explanation[explain.SCORE]
    row[table.MATCHED] = matched
    row[table.MISSING] = missing
    row[table.UNEXPLAINED] = unexplained
    row[table.CANDIDATE] = candidate
    row[table.PROBABILITY] = sure
    row[table.RATIO] = ratio
    row[table.RATIO_SIGMA] = ratio_sigma
    row[table.OFFSET] = offset
    row[table.OFFSET_SIGMA] = offset_sigma
    row[table.LINES_CHI2] = chi2


@device_function
def sure_lines(lines, count):  # type: ignore[no-untyped-def]
    """How many of the lines are sure."""
    sure = 0
    for j in range(count):
        sure += lines[bragg.SURE, j] == 1.0
    return sure


@device_function
def conclude(  # type: ignore[no-untyped-def]
    lines,
    count,
    total,
    known,
    curve,
    limits,
    explanations,
    phases,
    n_phases,
    verdict,
    margin,
    planes,
    order,
):
    """Write the best explanations and the verdict on them."""
    scores = explanations[:, explain.SCORE]
    best = 0
    for one in range(total):
        if scores[one] > scores[best]:
            best = one
    top = scores[best]
    if not top > 0.0:
        return
    assign_all(lines, count, explanations[best], known)
    give_owners(lines, count, explanations[best], known, curve)
    members = int(explanations[best, explain.COUNT])
    seen = explanations[best, explain.SEEN]
    named_by_two = first_two_suffice(
        lines, count, known.first_two[int(explanations[best, explain.PHASE])]
    )
    if seen < 3.0 and not named_by_two:
        return
    chance = limits[bragg.MIN_SCORE] + _MORE_LINES * max(0, sure_lines(lines, count) - 3)
    if named_by_two:
        chance -= _FEWER_TRIALS
    # That it is one of them, whichever.
    if probability(log_sum(scores, total) - chance, seen, members) < _UNLIKELY:
        return
    lead = lead_over(scores, total, best, chance)
    sure = probability(lead, seen, members)
    # What the best leaves is shared out among the others by their odds.
    share = (1.0 - sure) * math.exp(lead)
    identified = lead >= limits[bragg.MIN_MARGIN] and sure >= limits[bragg.MIN_PROBABILITY]
    verdict[0] = table.VERDICT_IDENTIFIED if identified else table.VERDICT_AMBIGUOUS
    margin[0] = lead
    rows = 0
    for candidate in range(3):
        if candidate > 0:
            best = 0
            for one in range(total):
                if scores[one] > scores[best]:
                    best = one
            if identified or not scores[best] > top - _CANDIDATE:
                break
            members = int(explanations[best, explain.COUNT])
            sure = share * math.exp(scores[best] - top)
            assign_all(lines, count, explanations[best], known)
            give_owners(lines, count, explanations[best], known, curve)
        if rows + members > table.MAX_PHASES:
            break
        for member in range(members):
            write_phase(
                phases[rows],
                candidate,
                sure,
                explanations[best],
                member,
                lines,
                count,
                known,
                curve,
                limits,
                planes,
                order,
            )
            rows += 1
        scores[best] = -math.inf
    n_phases[0] = rows


@device_function
def take_away(q, intensity, peaks, n_peaks, residual, profile):  # type: ignore[no-untyped-def]
    """Write what the fitted peaks leave of a curve, as their fits left it to the search."""
    for i in range(q.shape[0]):
        residual[i] = intensity[i]
    for j in range(n_peaks):
        if is_drawn(peaks[j]):
            first, last = profile_row(q, peaks[j], profile)
            for i in range(first, last):
                residual[i] -= profile[i]


@curve_kernel
def index_phase(
    q: Row,
    intensity: Row,
    sigma: Row,
    noise: Row,
    peaks: Rows,
    n_peaks: PerCurve,
    planes: Shared,
    reflections: Shared,
    candidates: Shared,
    first_two: Shared,
    broadest: Shared,
    prior: Shared,
    related: Shared,
    ratios: Shared,
    limits: Shared,
    phases: Rows,
    n_phases: Output,
    verdict: Output,
    margin: Output,
    lines: Lines,
    explanations: Explanations,
    trial: Trial,
    scanned: Trial,
    positions: Positions,
    order: Order,
    residual: Scratch,
    profile: Scratch,
) -> None:
    """Score every phase against the peaks of a curve and conclude.

    q : (points,) float64, 1/nm
    intensity, sigma, noise : (points,) float64, the reduced curve, its uncertainty, and that of
        the curve that was searched
    planes : (phases, reflections, 2) float64, see `free_ratio.place_reflections`
    reflections, candidates, first_two, broadest, prior, related, ratios : see
        `lattice_score.Known`
    limits : (LIMITS,) float64
    """
    curve = explain.Curve(q, residual, sigma, noise)
    known = explain.Known(
        positions, reflections, candidates, first_two, broadest, prior, related, ratios
    )
    n_known = prior.shape[0]
    n_phases[0] = 0
    margin[0] = math.nan
    if bragg.mark_bragg(peaks, n_peaks, q, intensity, sigma, limits) == 0:
        verdict[0] = table.VERDICT_NONE
        return
    verdict[0] = table.VERDICT_UNINDEXED
    count, sure = bragg.collect_lines(peaks, n_peaks, limits, lines)
    if sure < 2:
        return

    take_away(q, intensity, peaks, n_peaks, residual, profile)
    change = explain.fill_most(lines, count, curve)
    strongest, lowest = bases(lines, count, 0)
    best = -1
    for _ in range(2):
        top = -math.inf
        for phase in range(n_known):
            explanations[phase, explain.SCORE] = -math.inf
            if prior[phase] > -math.inf:
                best_axes(
                    lines,
                    count,
                    sure,
                    phase,
                    known,
                    curve,
                    limits,
                    trial,
                    scanned,
                    explanations[phase],
                    strongest,
                    lowest,
                    top - _FAR_BEHIND,
                    change,
                    planes[phase],
                    order[phase],
                )
                top = max(top, explanations[phase, explain.SCORE])
        best = look_at_the_best(lines, count, known, curve, limits, explanations, n_known)
        if best >= 0 and explanations[best, explain.SCORE] > limits[bragg.MIN_SCORE]:
            break
        # Both may be no lines of the phase: the strongest of the others, once.
        strongest, lowest = strongest_but(lines, count, strongest, lowest)
        if strongest < 0:
            break
    total = n_known
    left = sure
    if best >= 0:
        left = clear_lines_left(lines, count, explanations[best], known)
    if left >= _LEFT_OVER and sure >= 4:
        firsts = explanations[n_known : n_known + _BEAM]
        seconds = explanations[n_known + _BEAM : n_known + 2 * _BEAM]
        seconds[0, explain.COUNT] = 0.0
        n_first = add_phases(lines, count, seconds, 1, 0.0, known, curve, limits, trial, firsts)
        n_second = add_phases(
            lines,
            count,
            firsts,
            n_first,
            explain.UNEXPLAINED,
            known,
            curve,
            limits,
            trial,
            seconds,
        )
        if n_second > 0:
            # Pairs take the place of what they were made from; triples follow them.
            for one in range(n_second):
                copy_explanation(seconds[one], firsts[one])
            total = n_known + n_second
            if clear_lines_left(lines, count, firsts[0], known) >= _LEFT_OVER:
                n_third = add_phases(
                    lines,
                    count,
                    firsts,
                    min(n_second, 3),
                    explain.UNEXPLAINED,
                    known,
                    curve,
                    limits,
                    trial,
                    seconds,
                )
                for one in range(n_third):
                    copy_explanation(seconds[one], explanations[total])
                    total += 1
            for one in range(n_known, total):
                look_closer(lines, count, explanations[one], known, curve, limits)

    conclude(
        lines,
        count,
        total,
        known,
        curve,
        limits,
        explanations,
        phases,
        n_phases,
        verdict,
        margin,
        planes,
        order,
    )
