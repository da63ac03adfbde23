"""Name the phase, or the phases, whose reflections explain the peaks of a curve."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.coexistence import (
    add_phases,
    assign_sure,
    clear_lines_left,
    drop_repeated,
    has_idle_phase,
    is_left,
    keep_one,
    settle,
    worse_of,
)
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
from gpusaxs.kernels.free_ratio import fit_axes, place_reflections
from gpusaxs.kernels.lattice_fit import fit_lattice
from gpusaxs.kernels.one_phase import (
    best_axes,
    copy_explanation,
    first_two_suffice,
    lowest_but,
    most_promising,
    strongest_but,
    three_highest,
)
from gpusaxs.kernels.phase_verdict import chosen_of, is_chosen, lead_of, log_sum, probability
from gpusaxs.kernels.process_peak import is_drawn, profile_row
from gpusaxs.kernels.q_offset import FEWEST_LINES, best_with_offset
from numpy.typing import NDArray

MAX_KNOWN_PHASES = 32
MAX_REFLECTIONS = 20
_BEAM = 8
# Explanations by one phase: the best of each from its strongest lines, from others, and at an
# offset of q. Behind them those by two phases and by three, and each phase of the best alone.
_EXPLANATIONS = 3 * MAX_KNOWN_PHASES + 2 * _BEAM + bragg.MEMBERS

Lines = Annotated[FloatArray, ScratchOf((bragg.LINE_ROWS, bragg.MAX_LINES))]
Explanations = Annotated[FloatArray, ScratchOf((_EXPLANATIONS, explain.EXPLANATION_COLUMNS))]
Trial = Annotated[FloatArray, ScratchOf((explain.EXPLANATION_COLUMNS,))]
Positions = Annotated[FloatArray, ScratchOf((MAX_KNOWN_PHASES, MAX_REFLECTIONS))]
Order = Annotated[NDArray[np.int64], ScratchOf((MAX_KNOWN_PHASES, MAX_REFLECTIONS), "int64")]

# Explanations this far behind the best, in log Bayes factor, are looked at no closer.
_FAR_BEHIND = 6.0
# What each line beyond the third adds to the score that chance reaches.
_MORE_LINES = 1.0
# ln of how many lattices less are tried for the few phases that two lines name.
_FEWER_TRIALS = 8.0
# That the answer is one of the explanations is likelier than not, or there is none.
_LIKELY = 0.5
# Explanations this far behind the best are no candidates; so many are written at most.
_CANDIDATE = 3.0
_CANDIDATES = 3
# Lines that are explained this well show no offset of q.
_BEYOND_DOUBT = 25.0
# What one phase loses where two are tried, and lines that they take. A second one costs 20, or 10
# in a known ratio: 13 or 3 for being there, and 7 for the precision of its lattice.
_WORTH_ANOTHER = 16.0
_LINES_OF_TWO = 4
# Pairs whose first phase is looked for again.
_LOOKED_FOR_AGAIN = 2
# Clear lines that two phases leave where three are tried.
_LEFT_OVER = 2
# Lattices of one phase nearer than this are one answer, whatever offset of q goes with them.
_ONE_LATTICE = 0.06


@device_function
def assign_all(case, explanation):  # type: ignore[no-untyped-def]
    """Assign the sure lines to every phase of an explanation, doubtful ones to what is left."""
    known = case.known
    assign_sure(case, explanation)
    for member in range(int(explanation[explain.COUNT])):
        phase = int(explanation[explain.PHASE + member])
        explain.assign_doubtful(
            case.lines,
            case.size,
            member,
            known.positions[phase],
            known.reflections[phase],
            explanation[explain.BETA + member],
        )


@device_function
def take_up(case, explanation):  # type: ignore[no-untyped-def]
    """Give an explanation its lines, and each line to the phase that explains it best."""
    assign_all(case, explanation)
    span = case.curve.q[case.curve.q.shape[0] - 1] - case.curve.q[0]
    for j in range(case.size):
        explain.best_gain(case.lines, j, explanation, case.known.positions, span)


@device_function
def look_closer(case, explanation):  # type: ignore[no-untyped-def]
    """Score an explanation again: with doubtful peaks, and with looks at what is missing."""
    assign_all(case, explanation)
    explain.score(case, explanation, True, explain.UNEXPLAINED, -math.inf)


@device_function
def best_of(explanations, total):  # type: ignore[no-untyped-def]
    """Return the number of the explanation with the highest score."""
    best = 0
    for one in range(1, total):
        if explanations[one, explain.SCORE] > explanations[best, explain.SCORE]:
            best = one
    return best


@device_function
def look_at_the_best(case, explanations, total):  # type: ignore[no-untyped-def]
    """Look closer at the explanations that are not far behind, and drop the others.

    Returns the number of the best.
    """
    least = explanations[best_of(explanations, total), explain.SCORE] - _FAR_BEHIND
    for one in range(total):
        if not explanations[one, explain.SCORE] >= least:
            explanations[one, explain.SCORE] = -math.inf
        elif explanations[one, explain.SCORE] > -math.inf:
            look_closer(case, explanations[one])
    return best_of(explanations, total)


@device_function
def drop_repeated_lattices(explanations, n_known):  # type: ignore[no-untyped-def]
    """Of explanations by one phase with about the same lattice keep the best."""
    for phase in range(n_known):
        for one in range(phase, 3 * n_known, n_known):
            for other in range(phase, one, n_known):
                away = explanations[one, explain.BETA] / explanations[other, explain.BETA] - 1.0
                if abs(away) < _ONE_LATTICE:
                    worse = worse_of(explanations, one, other)
                    explanations[worse, explain.SCORE] = -math.inf


@device_function
def explain_by_one(case, explanations, trial, scanned, change):  # type: ignore[no-untyped-def]
    """Find the best explanations by one phase alone; return the number of the best of all.

    The strongest and the lowest line start them. Where that does not explain the lines, both may
    be no lines of the phase, and the strongest and the lowest of the others are tried, once; then
    an offset of q.
    """
    lines, count, known = case.lines, case.size, case.known
    n_known = known.prior.shape[0]
    for one in range(3 * n_known):
        explanations[one, explain.SCORE] = -math.inf
        explanations[one, explain.BETA] = math.nan
    for phase in range(n_known):
        place_reflections(
            known.planes[phase],
            known.reflections[phase],
            1.0,
            known.positions[phase],
            known.order[phase],
        )
    strongest = case.highest[0]
    lowest = lowest_but(lines, count, -1, -1)
    base = strongest
    best = 0
    for attempt in range(2):
        if strongest < 0:
            break
        # What the best explains, the others have to come near.
        top = explanations[best, explain.SCORE]
        first = most_promising(case, lowest)
        for turn in range(n_known):
            phase = (first + turn) % n_known
            if known.prior[phase] > -math.inf:
                found = explanations[attempt * n_known + phase]
                least = top - _FAR_BEHIND
                best_axes(case, phase, trial, scanned, found, strongest, lowest, least, change)
                top = max(top, found[explain.SCORE])
        best = look_at_the_best(case, explanations, 2 * n_known)
        if explanations[best, explain.SCORE] > case.limits[bragg.MIN_SCORE]:
            break
        one, other = strongest, lowest
        strongest = strongest_but(lines, count, one, other)
        lowest = lowest_but(lines, count, one, other)
    doubtful = not explanations[best, explain.SCORE] > _BEYOND_DOUBT
    if doubtful and case.sure >= FEWEST_LINES and leaves(case, explanations[best], 1):
        for phase in range(n_known):
            if known.prior[phase] > -math.inf and math.isnan(known.ratios[phase, 0]):
                found = explanations[2 * n_known + phase]
                best_with_offset(case, phase, trial, found, base)
        best = look_at_the_best(case, explanations, 3 * n_known)
    drop_repeated_lattices(explanations, n_known)
    return best


@device_function
def leaves(case, explanation, number):  # type: ignore[no-untyped-def]
    """Whether an explanation, if it is one, leaves so many clear lines."""
    if explanation[explain.SCORE] == -math.inf:
        return True
    return clear_lines_left(case, explanation) >= number


@device_function
def loses(case, explanation):  # type: ignore[no-untyped-def]
    """How far one phase stays behind what it would score if it explained every line exactly.

    Infinite where there is no explanation.
    """
    score = explanation[explain.SCORE]
    if score == -math.inf:
        return math.inf
    lines, known = case.lines, case.known
    assign_sure(case, explanation)
    phase = int(explanation[explain.PHASE])
    beta = explanation[explain.BETA]
    _, information = explain.fit_beta(lines, case.size, 0, 1, known.positions[phase])
    most = known.prior[phase] + explain.precision_cost(beta, information)
    for j in range(case.size):
        if lines[bragg.SURE, j] == 1.0:
            most += lines[bragg.MOST, j]
    return most - score


@device_function
def explain_by_several(case, explanations, total, trial):  # type: ignore[no-untyped-def]
    """Add the best explanations by two phases and by three; return how many there are then.

    Pairs are made of the best lattices of one phase that leave lines for another; then the first
    phases of the best pairs are looked for again, beside the second ones. The phases of the best
    explanation are explanations too, each alone.
    """
    firsts = explanations[total : total + _BEAM]
    seconds = explanations[total + _BEAM : total + 2 * _BEAM]
    seconds[0, explain.COUNT] = 0.0
    seconds[0, explain.OFFSET] = 0.0
    n_first = add_phases(case, seconds, 1, 0.0, trial, firsts, 0)
    n_second = add_phases(case, firsts, n_first, explain.UNEXPLAINED, trial, seconds, 0)
    if n_second == 0:
        return total
    n_first = min(n_second, _LOOKED_FOR_AGAIN)
    for one in range(n_first):
        keep_one(seconds[one], 1, firsts[one])
    n_second = add_phases(case, firsts, n_first, explain.UNEXPLAINED, trial, seconds, n_second)
    # Pairs take the place of what they were made from; triples follow them.
    for one in range(n_second):
        copy_explanation(seconds[one], firsts[one])
    end = total + n_second
    if leaves(case, firsts[0], _LEFT_OVER):
        n_third = add_phases(case, firsts, min(n_second, 3), explain.UNEXPLAINED, trial, seconds, 0)
        for one in range(n_third):
            copy_explanation(seconds[one], explanations[end])
            end += 1
    for one in range(total, end):
        settle(case, explanations[one])
        look_closer(case, explanations[one])
        if has_idle_phase(case, explanations[one]):
            explanations[one, explain.SCORE] = -math.inf
    best = best_of(explanations, end)
    members = int(explanations[best, explain.COUNT])
    if members > 1:
        for member in range(members):
            keep_one(explanations[best], member, explanations[end])
            look_closer(case, explanations[end])
            end += 1
    drop_repeated(explanations, end)
    return end


@device_function
def write_phase(case, row, candidate, sure, explanation, member, named):  # type: ignore[no-untyped-def]
    """Write a phase with its lattice parameter, and the reflections matched and missing.

    Lines are unexplained that none of the first `named` phases explains.
    """
    lines, count, known, curve = case.lines, case.size, case.known, case.curve
    phase = int(explanation[explain.PHASE + member])
    members = int(explanation[explain.COUNT])
    low, high = curve.q[0], curve.q[curve.q.shape[0] - 1]
    positions = known.positions[phase]
    beta, beta_sigma, offset, offset_sigma, chi2 = fit_lattice(
        lines, count, member, members, positions, explanation[explain.OFFSET]
    )
    order = known.order[phase]
    ratio = math.nan
    ratio_sigma = math.nan
    if not math.isnan(known.ratios[phase, 0]):
        beta, beta_sigma, ratio, ratio_sigma, chi2 = fit_axes(
            lines, count, member, known.planes[phase], order
        )
        offset = math.nan
    # The lines are shifted by the offset of the explanation already.
    start = 0.0 if math.isnan(offset) else offset - explanation[explain.OFFSET]
    matched = 0
    unexplained = 0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0:
            matched |= 1 << order[k]
        if is_left(lines, j, named):
            unexplained |= 1 << int(lines[bragg.PEAK, j])
    missing = 0
    for k in range(known.reflections[phase]):
        centre = start + beta * positions[k]
        if matched >> order[k] & 1 or not low < centre < high:
            continue
        height, sigma = explain.look_between(lines, count, member, centre, curve)
        if height > case.limits[bragg.EXPECTED_SIGNIFICANCE] * sigma:
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
def seen_of(case, explanation, group):  # type: ignore[no-untyped-def]
    """How many reflections of a group of an explanation's phases are seen."""
    members = int(explanation[explain.COUNT])
    if group == (1 << members) - 1:
        return explanation[explain.SEEN]
    seen = 0.0
    for j in range(case.size):
        owner = int(case.lines[bragg.OWNER, j])
        seen += owner >= 0 and is_chosen(group, owner)
    return seen


@device_function
def surest_group(case, explanations, total, best, chance):  # type: ignore[no-untyped-def]
    """The largest group of the best explanation's phases that is sure enough to be named.

    Of equally large ones it is the likeliest. Returns one bit a phase, their lead and
    their probability; zeros without one.
    """
    members = int(explanations[best, explain.COUNT])
    chosen = 0
    size = members
    margin = sure = 0.0
    while chosen == 0 and size > 0:
        for group in range(1, 1 << members):
            if chosen_of(group, members) != size:
                continue
            lead = lead_of(explanations, total, best, group, chance)
            likely = probability(lead, seen_of(case, explanations[best], group), size)
            if (
                lead >= case.limits[bragg.MIN_MARGIN]
                and likely >= case.limits[bragg.MIN_PROBABILITY]
                and likely > sure
            ):
                chosen, margin, sure = group, lead, likely
        size -= 1
    return chosen, margin, sure


@device_function
def put_first(explanation, group):  # type: ignore[no-untyped-def]
    """Let a group of an explanation's phases be the first ones; return how many they are."""
    first = 0
    for member in range(int(explanation[explain.COUNT])):
        if is_chosen(group, member):
            for column in (explain.PHASE, explain.BETA):
                moved = explanation[column + member]
                explanation[column + member] = explanation[column + first]
                explanation[column + first] = moved
            first += 1
    return first


@device_function
def write_answer(case, phases, rows, candidate, sure, explanation, named):  # type: ignore[no-untyped-def]
    """Write the first `named` phases of an explanation behind `rows` others; return the sum."""
    take_up(case, explanation)
    for member in range(named):
        write_phase(case, phases[rows + member], candidate, sure, explanation, member, named)
    return rows + named


@device_function
def conclude(case, explanations, total, phases, n_phases, verdict, margin):  # type: ignore[no-untyped-def]
    """Write the verdict, and the best explanations or what is sure of them."""
    scores = explanations[:, explain.SCORE]
    best = best_of(explanations, total)
    top = scores[best]
    if not top > 0.0:
        return
    take_up(case, explanations[best])
    members = int(explanations[best, explain.COUNT])
    seen = explanations[best, explain.SEEN]
    named_by_two = first_two_suffice(case, int(explanations[best, explain.PHASE]))
    if seen < 3.0 and not named_by_two:
        return
    chance = case.limits[bragg.MIN_SCORE] + _MORE_LINES * max(0, case.sure - 3)
    if named_by_two:
        chance -= _FEWER_TRIALS
    if probability(log_sum(scores, total) - chance, seen, members) < _LIKELY:
        return
    lead = lead_of(explanations, total, best, (1 << members) - 1, chance)
    sure = probability(lead, seen, members)
    # What the best leaves is shared out among the others by their odds.
    share = (1.0 - sure) * math.exp(lead)
    group, group_lead, group_sure = surest_group(case, explanations, total, best, chance)
    rows = candidate = 0
    verdict[0] = table.VERDICT_AMBIGUOUS
    margin[0] = lead
    if group > 0:
        verdict[0] = table.VERDICT_IDENTIFIED
        margin[0] = group_lead
        named = put_first(explanations[best], group)
        rows = write_answer(case, phases, 0, 0, group_sure, explanations[best], named)
        candidate = _CANDIDATES if named == members else 1
    while candidate < _CANDIDATES:
        members = int(explanations[best, explain.COUNT])
        if not scores[best] > top - _CANDIDATE or rows + members > table.MAX_PHASES:
            break
        rows = write_answer(case, phases, rows, candidate, sure, explanations[best], members)
        scores[best] = -math.inf
        best = best_of(explanations, total)
        sure = share * math.exp(scores[best] - top)
        candidate += 1
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
    windows: Shared,
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
    windows : see `bragg_lines.mark_bragg`
    limits : (LIMITS,) float64
    """
    n_phases[0] = 0
    margin[0] = math.nan
    if bragg.mark_bragg(peaks, n_peaks, q, intensity, sigma, windows, limits) == 0:
        verdict[0] = table.VERDICT_NONE
        return
    verdict[0] = table.VERDICT_UNINDEXED
    count, sure = bragg.collect_lines(peaks, n_peaks, q, intensity, sigma, limits, lines)
    if sure < 2:
        return

    take_away(q, intensity, peaks, n_peaks, residual, profile)
    curve = explain.Curve(q, residual, sigma, noise)
    known = explain.Known(
        positions,
        reflections,
        candidates,
        first_two,
        broadest,
        prior,
        related,
        ratios,
        planes,
        order,
    )
    case = explain.Case(lines, count, sure, three_highest(lines, count), known, curve, limits)
    change = explain.fill_most(case)
    best = explain_by_one(case, explanations, trial, scanned, change)
    total = 3 * prior.shape[0]
    if sure >= _LINES_OF_TWO and loses(case, explanations[best]) > _WORTH_ANOTHER:
        total = explain_by_several(case, explanations, total, trial)
    conclude(case, explanations, total, phases, n_phases, verdict, margin)
