"""The lattice of one phase that explains the lines of a curve best."""

from __future__ import annotations

import math

from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.free_ratio import fit_axes, place_reflections, ratio_at, ratio_steps

# Height over its standard uncertainty of each of the two lines that name a phase.
_BEYOND_DOUBT = 5.0
# ln of how much fainter a third line must be where two name a phase.
_FAINT = math.log(2.0)
# ln of how much higher than the unexplained lines a first reflection is that dominates a curve.
_DOMINANT = math.log(5.0)


@device_function
def copy_explanation(source, target):  # type: ignore[no-untyped-def]
    """Copy a row of the table of explanations."""
    for column in range(explain.EXPLANATION_COLUMNS):
        target[column] = source[column]


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
def first_two_suffice(case, phase):  # type: ignore[no-untyped-def]
    """Whether a phase may be named from its first two reflections.

    Both are matched and beyond doubt. Every line that is left unexplained is much fainter than
    both, or the first reflection dominates the curve: small lines may be the instrument's.
    """
    lines = case.lines
    strongest = -math.inf
    lowest = math.inf
    others = -math.inf
    found = 0
    for j in range(case.size):
        rank = lines[bragg.ASSIGNED, j]
        if 0.0 <= rank <= 1.0 and lines[bragg.SIGNIFICANCE, j] > _BEYOND_DOUBT:
            found += 1
            lowest = min(lowest, lines[bragg.LOG_HEIGHT, j])
            strongest = max(strongest, lines[bragg.LOG_HEIGHT, j])
        elif rank < 0.0 and lines[bragg.SURE, j] == 1.0:
            others = max(others, lines[bragg.LOG_HEIGHT, j])
    enough = others < max(lowest - _FAINT, strongest - _DOMINANT)
    return case.known.first_two[phase] and found == 2 and enough


@device_function
def strongest_but(lines, count, one, other):  # type: ignore[no-untyped-def]
    """Strongest sure line but for two of them; -1 without one."""
    strongest = -1
    for j in range(count):
        if (
            lines[bragg.SURE, j] == 1.0
            and j not in (one, other)
            and (strongest < 0 or lines[bragg.LOG_HEIGHT, j] > lines[bragg.LOG_HEIGHT, strongest])
        ):
            strongest = j
    return strongest


@device_function
def three_highest(lines, count):  # type: ignore[no-untyped-def]
    """Return the three highest sure lines, the highest first; -1 for none."""
    one = strongest_but(lines, count, -1, -1)
    two = strongest_but(lines, count, one, one)
    return one, two, strongest_but(lines, count, one, two)


@device_function
def lowest_but(lines, count, one, other):  # type: ignore[no-untyped-def]
    """Sure line of lowest q but for two of them; -1 without one."""
    for j in range(count):
        if lines[bragg.SURE, j] == 1.0 and j not in (one, other):
            return j
    return -1


@device_function
def two_beside(highest, base):  # type: ignore[no-untyped-def]
    """Return the first two of the three highest lines that are not the base line."""
    one, two, three = highest
    if base == one:
        return two, three
    return (one, three) if base == two else (one, two)


@device_function
def is_explained(lines, j, positions, reflections, beta):  # type: ignore[no-untyped-def]
    """Whether a line lies within reach of a reflection."""
    if j < 0:
        return False
    explained = False
    for k in range(reflections):
        explained |= abs(beta * positions[k] - lines[bragg.CENTRE, j]) <= lines[bragg.REACH, j]
    return explained


@device_function
def best_lattice(case, phase, trial, best, strongest, lowest, least, change):  # type: ignore[no-untyped-def]
    """Try two lines, the strongest and the lowest, as each of a phase's first reflections.

    A lattice has to explain one of the two strongest lines beside it, but for phases that two lines
    name. `best` becomes the best
    explanation by this phase alone; its score is -inf where no lattice explains enough lines, or
    none scores more than `least`. `change` is what one line more can change: a lattice that is
    fitted to its lines may explain another one.
    """
    lines, count, sure, known = case.lines, case.size, case.sure, case.known
    best[explain.SCORE] = -math.inf
    best[explain.BETA] = math.nan
    best_matches = 0
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    trial[explain.COUNT] = 1.0
    trial[explain.PHASE] = phase
    trial[explain.OFFSET] = 0.0
    for attempt in range(2):
        base = strongest if attempt == 0 else lowest
        # Lattices that explain every line come up from any of them.
        if attempt == 1 and (strongest == lowest or best_matches == sure):
            break
        second, third = two_beside(case.highest, base)
        for k in range(min(known.candidates[phase], reflections)):
            beta = lines[bragg.CENTRE, base] / positions[k]
            # A lattice that was found from another line needs no second look, nor does one that
            # explains far less than the best.
            if abs(beta - best[explain.BETA]) < explain.SAME_LATTICE * beta:
                continue
            if not (
                known.first_two[phase]
                or is_explained(lines, second, positions, reflections, beta)
                or is_explained(lines, third, positions, reflections, beta)
            ):
                continue
            matches = explain.assign(lines, count, 0, positions, reflections, beta)
            if matches < 2 or 3 * matches < 2 * best_matches:
                continue
            beta, information = explain.fit_beta(lines, count, 0, 1, positions)
            if abs(beta - best[explain.BETA]) < explain.SAME_LATTICE * beta:
                continue
            enough_score = max(least, best[explain.SCORE])
            if explain.at_most(case, phase, beta, information) + change < enough_score:
                continue
            if mean_width(lines, count, 0) > known.broadest[phase] * beta:
                continue
            matches = explain.assign(lines, count, 0, positions, reflections, beta)
            # Two lines may be those of any phase, though they name only a few.
            if matches < 2 or (matches < 3 and sure > 2 and not first_two_suffice(case, phase)):
                continue
            beta, information = explain.fit_beta(lines, count, 0, 1, positions)
            if explain.at_most(case, phase, beta, information) < enough_score:
                continue
            trial[explain.BETA] = beta
            gained = explain.score(case, trial, False, explain.UNEXPLAINED, enough_score)
            if gained > enough_score:
                copy_explanation(trial, best)
                best_matches = matches


@device_function
def most_promising(case, base):  # type: ignore[no-untyped-def]
    """Return the phase that explains most lines with one line as its first reflection.

    Of several that explain as many, the one whose reflections reach the last of them soonest.
    """
    lines, count, known = case.lines, case.size, case.known
    best = 0
    most = -math.inf
    for phase in range(known.prior.shape[0]):
        if known.prior[phase] > -math.inf:
            positions = known.positions[phase]
            beta = lines[bragg.CENTRE, base] / positions[0]
            matches = explain.assign(lines, count, 0, positions, known.reflections[phase], beta)
            last = 0.0
            for j in range(count):
                last = max(last, lines[bragg.ASSIGNED, j])
            promise = matches - last / positions.shape[0]
            if promise > most:
                best = phase
                most = promise
    return best


@device_function
def best_axes(case, phase, trial, scanned, best, strongest, lowest, least, change):  # type: ignore[no-untyped-def]
    """`best_lattice` at the ratio of the axes that fits best, where that is free.

    The ratio is scanned, then fitted to the lines. It has to explain four lines or more.
    """
    known = case.known
    planes, order = known.planes[phase], known.order[phase]
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    low, high = known.ratios[phase]
    if math.isnan(low):
        best_lattice(case, phase, trial, best, strongest, lowest, least, change)
        return
    best[explain.SCORE] = -math.inf
    ratio = math.nan
    for step in range(ratio_steps(low, high)):
        place_reflections(planes, reflections, ratio_at(low, high, step), positions, order)
        best_lattice(case, phase, trial, scanned, strongest, lowest, least, change)
        if scanned[explain.SCORE] > best[explain.SCORE] and scanned[explain.MATCHES] > 3.0:
            copy_explanation(scanned, best)
            ratio = ratio_at(low, high, step)
    if math.isnan(ratio):
        return
    place_reflections(planes, reflections, ratio, positions, order)
    explain.assign(case.lines, case.size, 0, positions, reflections, best[explain.BETA])
    beta, _, fitted, _, _ = fit_axes(case.lines, case.size, 0, planes, order)
    if low <= fitted <= high:
        place_reflections(planes, reflections, fitted, positions, order)
        best[explain.BETA] = beta
        explain.assign(case.lines, case.size, 0, positions, reflections, beta)
        explain.score(case, best, False, explain.UNEXPLAINED, -math.inf)
