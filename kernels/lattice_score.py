"""How well lattices explain the lines of a curve: a log Bayes factor."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels.curve_kernel import FloatArray, device_function
from gpusaxs.kernels.height_alone import height_alone
from gpusaxs.kernels.process_peak import lower_bound
from numpy.typing import NDArray

# Columns of the table of explanations: one phase, or up to three that coexist.
SCORE = 0
# Phases of the explanation.
COUNT = 1
# Sure lines that it explains, and those with the doubtful ones and the reflections that are seen
# only where they are expected.
MATCHES = 2
SEEN = 3
# Phase and 2 pi / lattice of each.
PHASE = 4
BETA = PHASE + bragg.MEMBERS
# Of q, in 1/nm, which all its lattices have in common; 0.0 without one.
OFFSET = BETA + bragg.MEMBERS
EXPLANATION_COLUMNS = OFFSET + 1


class Curve(NamedTuple):
    """What is left of a curve when its peaks are taken away; (points,) float64 each.

    q in 1/nm; the residual and its uncertainty sigma; noise, the uncertainty of the curve that
    was searched.
    """

    q: FloatArray
    residual: FloatArray
    sigma: FloatArray
    noise: FloatArray


class Known(NamedTuple):
    """The phases that can be named.

    positions : (phases, reflections) float64, s of each reflection: q = 2 pi s / lattice; at the
        ratio of the axes that fits best where that is free
    reflections, candidates : (phases,) int64, how many there are, and how many of them a base
        line is tried as
    first_two : (phases,) bool, whether the first two reflections alone can name the phase
    broadest : (phases,) float64, largest mean FWHM of the lines over 2 pi / lattice
    prior : (phases,) float64, ln of the prior weight; -inf leaves a phase out
    related : (phases, phases) float64, lattice of the second over that of the first where they
        are known to coexist at a fixed ratio; NaN elsewhere
    ratios : (phases, 2) float64, lowest and highest ratio of the axes; NaN where there is one axis
    planes : (phases, reflections, 2) float64, see `free_ratio.place_reflections`
    order : (phases, reflections) int64, place of each of `positions` in the phase's own list
    """

    positions: FloatArray
    reflections: NDArray[np.int64]
    candidates: NDArray[np.int64]
    first_two: NDArray[np.bool_]
    broadest: FloatArray
    prior: FloatArray
    related: FloatArray
    ratios: FloatArray
    planes: FloatArray
    order: NDArray[np.int64]


class Case(NamedTuple):
    """A curve whose phase is asked for.

    lines : (LINE_ROWS, MAX_LINES) float64, see `bragg_lines`; the first `size` of them
    sure : how many of these are Bragg lines
    highest : the three highest of them, the highest first; -1 in the place of a third of two
    known, curve : what may be named, and where reflections are looked for
    limits : (LIMITS,) float64, see `bragg_lines`
    """

    lines: FloatArray
    size: int
    sure: int
    highest: tuple[int, int, int]
    known: Known
    curve: Curve
    limits: FloatArray


# ln of the range of lattice parameters that is thought possible beforehand.
_LOG_LATTICE_RANGE = math.log(30.0)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
# Spread of ln intensity of reflections about a smooth envelope.
_LOG_HEIGHT_SPREAD = 0.9
# Missing reflections beyond the last matched one cost this share of the others.
_BEYOND_LAST = 0.1
# Share of lines whose centre is off by no more than the fit says.
_CLOSE = 0.5
# The others are off by this much more than the model of their uncertainty says.
_WIDE = 1.5
# A lattice is known no better than this share of it.
_LATTICE_FLOOR = 0.001
# ln of the prior weight of each further phase, and what a known ratio of lattices gives back; the
# ratio holds within this share.
_LOG_COEXISTENCE = -13.0
_LOG_RELATED = 10.0
_RELATED = 0.012
# ln of how rare it is that a phase of many lines shows two alone.
_LOG_TWO_LINES = -4.5
# What a free ratio of the axes costs: ln of its precision over the range that is possible.
_LOG_RATIO = -5.0
# A line that is left unexplained costs this much more than it would have gained.
UNEXPLAINED = 2.0
# What a doubtful peak at a reflection's place gains at most.
_MOST_OF_DOUBTFUL = 3.0
# A reflection this close to a peak, in FWHM, cannot be told from it.
_BLENDED = 0.9
# ln of how much lower than a reflection a doubtful peak is that cannot hide it.
_FAR_LOWER = 1.5
# What an offset of q costs: ln of how rare a large one is, and of its precision.
_LOG_OFFSET = -8.0
# The same lattice, relative.
SAME_LATTICE = 5e-4


@device_function
def shift_lines(case, offset):  # type: ignore[no-untyped-def]
    """Take an offset of q from where the lines were measured."""
    for j in range(case.size):
        case.lines[bragg.CENTRE, j] = case.lines[bragg.MEASURED, j] - offset


@device_function
def offset_of(lines):  # type: ignore[no-untyped-def]
    """Return the offset of q that the lines are shifted by."""
    return lines[bragg.MEASURED, 0] - lines[bragg.CENTRE, 0]


@device_function
def presence(rank):  # type: ignore[no-untyped-def]
    """Probability that the reflection of this rank has intensity at all."""
    if rank < 3:
        return 0.97
    if rank < 6:
        return 0.95
    return 0.92


@device_function
def assign(lines, count, member, positions, reflections, beta):  # type: ignore[no-untyped-def]
    """Give each sure line the nearest reflection within tolerance, one to one; return the matches.

    `member` is the place of the phase among those that coexist.
    """
    given = lines[bragg.ASSIGNED + member]
    matches = 0
    k = 0
    inverse = 1.0 / beta
    # The last line that was given one: which, and how far away.
    previous = -1
    taken = -1
    apart = 0.0
    for j in range(count):
        s = lines[bragg.CENTRE, j] * inverse
        while k + 1 < reflections and positions[k] + positions[k + 1] <= 2.0 * s:
            k += 1
        distance = abs(positions[k] - s)
        near = (distance <= lines[bragg.REACH, j] * inverse) & (lines[bragg.SURE, j] == 1.0)
        if near & (k == taken):
            near = distance < apart
            if near:
                given[previous] = -1.0
                matches -= 1
        given[j] = k if near else -1.0
        previous = j if near else previous
        taken = k if near else taken
        apart = distance if near else apart
        matches += near
    return matches


@device_function
def assign_doubtful(lines, count, member, positions, reflections, beta):  # type: ignore[no-untyped-def]
    """Give doubtful peaks the reflections that `assign` left without a line."""
    given = lines[bragg.ASSIGNED + member]
    for j in range(count):
        if lines[bragg.SURE, j] == 1.0:
            continue
        best = -1
        distance = lines[bragg.REACH, j]
        for k in range(reflections):
            away = abs(lines[bragg.CENTRE, j] - beta * positions[k])
            if away < distance:
                best = k
                distance = away
        for i in range(count):
            if given[i] == best:
                best = -1
        given[j] = best


@device_function
def is_shared(lines, j, member, members):  # type: ignore[no-untyped-def]
    """Whether another of the phases explains a line too."""
    shared = False
    for other in range(members):
        shared |= other != member and lines[bragg.ASSIGNED + other, j] >= 0.0
    return shared


@device_function
def own_lines(lines, count, member, members):  # type: ignore[no-untyped-def]
    """Lines that one phase explains and no other one of the explanation."""
    own = 0
    for j in range(count):
        own += lines[bragg.ASSIGNED + member, j] >= 0.0 and not is_shared(lines, j, member, members)
    return own


@device_function
def fit_beta(lines, count, member, members, positions):  # type: ignore[no-untyped-def]
    """Weighted least squares through the origin of q on s; return beta and its information.

    Lines that other phases share are mixtures: they count only where no two others are left.
    """
    shared_too = members == 1 or own_lines(lines, count, member, members) < 2
    cross = 0.0
    information = 0.0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        counts = (k >= 0) & (shared_too or not is_shared(lines, j, member, members))
        s = positions[k] if counts else 0.0
        weight = lines[bragg.WEIGHT, j] * s
        cross += weight * lines[bragg.CENTRE, j]
        information += weight * s
    return cross / information, information


@device_function
def between_matched(lines, count, member, centre, quantity):  # type: ignore[no-untyped-def]
    """Interpolate a row of the table of lines between those beside `centre` that a phase owns."""
    below = -1
    above = -1
    for j in range(count):
        if lines[bragg.OWNER, j] == member:
            if lines[bragg.CENTRE, j] <= centre:
                below = j
            elif above < 0:
                above = j
    if below < 0 and above < 0:
        return math.nan
    if below < 0:
        return lines[quantity, above]
    if above < 0:
        return lines[quantity, below]
    share = (centre - lines[bragg.CENTRE, below]) / (
        lines[bragg.CENTRE, above] - lines[bragg.CENTRE, below]
    )
    return (1.0 - share) * lines[quantity, below] + share * lines[quantity, above]


@device_function
def hidden_under(lines, count, centre, log_expected):  # type: ignore[no-untyped-def]
    """Ln of the height of the highest line that a reflection at `centre` cannot be told from.

    -inf without one. A doubtful peak that is far lower than the reflection hides nothing.
    """
    highest = -math.inf
    for j in range(count):
        if abs(lines[bragg.CENTRE, j] - centre) < _BLENDED * lines[bragg.FWHM, j] and (
            lines[bragg.SURE, j] == 1.0 or lines[bragg.LOG_HEIGHT, j] > log_expected - _FAR_LOWER
        ):
            highest = max(highest, lines[bragg.LOG_HEIGHT, j])
    return highest


@device_function
def hidden_score(rank, log_expected, log_height):  # type: ignore[no-untyped-def]
    """Logarithm of the odds of a reflection that is no higher than a line that hides it."""
    excess = (log_expected - log_height) / _LOG_HEIGHT_SPREAD
    return math.log(1.0 - presence(rank) / (1.0 + math.exp(-1.7 * excess)))


@device_function
def look(curve, centre, fwhm):  # type: ignore[no-untyped-def]
    """Height of a Gaussian at `centre` in what the fitted peaks leave, and its uncertainty.

    The uncertainty grows with sqrt(reduced chi-squared) above one. (0, inf) where there are too
    few points.
    """
    height, sigma, chi2 = height_alone(curve.q, curve.residual, curve.sigma, centre, fwhm)
    return height, sigma * math.sqrt(max(1.0, chi2))


@device_function
def look_between(lines, count, member, centre, curve):  # type: ignore[no-untyped-def]
    """`look` with the width of the matched lines beside it; (0, inf) where a line hides it."""
    expected = between_matched(lines, count, member, centre, bragg.LOG_HEIGHT)
    if hidden_under(lines, count, centre, expected) > -math.inf:
        return 0.0, math.inf
    fwhm = between_matched(lines, count, member, centre, bragg.FWHM)
    return look(curve, centre + offset_of(lines), fwhm)


@device_function
def absence(rank, log_expected, height, sigma):  # type: ignore[no-untyped-def]
    """Logarithm of how much better "this phase" than "nothing" explains the look at a place.

    The reflection is there with its `presence`, and then its height is lognormal about the
    expected one: five nodes stand for it.
    """
    p = presence(rank)
    z = min(height / sigma, 6.0)
    likelihood = 0.0
    for node in range(5):
        t = math.exp(log_expected + (node - 2.0) * _LOG_HEIGHT_SPREAD) / sigma
        weight = 0.4 if node == 2 else (0.24 if node in (1, 3) else 0.06)
        likelihood += weight * math.exp(min(t * (z - 0.5 * t), 12.0))
    return min(math.log(1.0 - p + p * likelihood), _MOST_OF_DOUBTFUL)


@device_function
def missing_score(lines, count, rank, centre, member, curve, limits, careful):  # type: ignore[no-untyped-def]
    """Logarithm of the odds of a reflection without a line, and whether it is seen all the same.

    `careful` looks for it in what the fitted peaks leave.
    """
    expected = between_matched(lines, count, member, centre, bragg.LOG_HEIGHT)
    highest = hidden_under(lines, count, centre, expected)
    if highest > -math.inf:
        return hidden_score(rank, expected, highest), 0
    if careful:
        fwhm = between_matched(lines, count, member, centre, bragg.FWHM)
        height, sigma = look(curve, centre + offset_of(lines), fwhm)
        if sigma < math.inf:
            seen = height > limits[bragg.EXPECTED_SIGNIFICANCE] * sigma
            return absence(rank, expected, height, sigma), int(seen)
    point = min(lower_bound(curve.q, centre + offset_of(lines)), curve.q.shape[0] - 1)
    excess = (
        expected - math.log(limits[bragg.DETECTION] * curve.noise[point])
    ) / _LOG_HEIGHT_SPREAD
    visible = 1.0 / (1.0 + math.exp(-1.7 * excess))
    return math.log(1.0 - presence(rank) * visible), 0


@device_function
def match_gain(lines, j, expected, presence, span):  # type: ignore[no-untyped-def]
    """Logarithm of how much likelier a line lies there by a lattice's prediction than by chance.

    presence : probability that the reflection which is expected has intensity at all
    """
    deviation = lines[bragg.CENTRE, j] - expected
    close = lines[bragg.CLOSE_SIGMA, j]
    wide = _WIDE * lines[bragg.MATCH_SIGMA, j]
    u = deviation / close
    v = deviation / wide
    density = _CLOSE / close * math.exp(-0.5 * u * u) + (1.0 - _CLOSE) / wide * math.exp(
        -0.5 * v * v
    )
    return math.log(max(presence * density, 1e-300) * span / _ROOT_TWO_PI)


@device_function
def best_gain(lines, j, explanation, positions, span):  # type: ignore[no-untyped-def]
    """What a line gains by the phase that explains it best, which becomes its owner; -inf if none.

    A reflection that coincides with another phase's line is no sign of a phase.
    """
    best = -math.inf
    lines[bragg.OWNER, j] = -1.0
    for member in range(int(explanation[COUNT])):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0:
            phase = int(explanation[PHASE + member])
            expected = explanation[BETA + member] * positions[phase, k]
            gain = match_gain(lines, j, expected, presence(k), span)
            if gain > best:
                best = gain
                lines[bragg.OWNER, j] = member
    return best


@device_function
def fill_most(case):  # type: ignore[no-untyped-def]
    """Fill the row of what each line gains at most; return what one line more can change.

    A line gains most where the prediction is exact.
    """
    lines = case.lines
    span = case.curve.q[case.curve.q.shape[0] - 1] - case.curve.q[0]
    change = 0.0
    for j in range(case.size):
        most = lines[bragg.RARITY, j] + match_gain(lines, j, lines[bragg.CENTRE, j], 1.0, span)
        lines[bragg.MOST, j] = most
        change = max(change, most + UNEXPLAINED * lines[bragg.RARITY, j])
    return change


@device_function
def precision_cost(beta, information):  # type: ignore[no-untyped-def]
    """Logarithm of the precision of a lattice parameter over the range that is thought possible."""
    relative = math.sqrt(1.0 / (information * beta * beta) + _LATTICE_FLOOR**2)
    return math.log(_ROOT_TWO_PI * relative / _LOG_LATTICE_RANGE)


@device_function
def at_most(case, phase, beta, information):  # type: ignore[no-untyped-def]
    """What a phase alone can score with the lines that are assigned to it, at most."""
    lines = case.lines
    total = case.known.prior[phase] + precision_cost(beta, information)
    for j in range(case.size):
        lost = -UNEXPLAINED * lines[bragg.RARITY, j] * lines[bragg.SURE, j]
        total += lines[bragg.MOST, j] if lines[bragg.ASSIGNED, j] >= 0.0 else lost
    return total


@device_function
def relation(explanation, one, other, known):  # type: ignore[no-untyped-def]
    """How well the lattices of two phases stand in a known ratio, 0 to 1."""
    wanted = known.related[int(explanation[PHASE + one]), int(explanation[PHASE + other])]
    off = (explanation[BETA + one] / explanation[BETA + other] / wanted - 1.0) / _RELATED
    return math.exp(-0.5 * off * off) if not math.isnan(off) else 0.0


@device_function
def log_prior(explanation, known):  # type: ignore[no-untyped-def]
    """Logarithm of the prior weight of coexisting phases; higher for related lattices."""
    total = 0.0
    for member in range(int(explanation[COUNT])):
        phase = int(explanation[PHASE + member])
        total += known.prior[phase]
        if not math.isnan(known.ratios[phase, 0]):
            total += _LOG_RATIO
        if member > 0:
            total += _LOG_COEXISTENCE
        for other in range(member):
            total += _LOG_RELATED * relation(explanation, other, member, known)
    return total


@device_function
def score(case, explanation, careful, unexplained, least):  # type: ignore[no-untyped-def]
    """Log Bayes factor of an explanation against "all peaks are spurious".

    A matched line gains the precision of its prediction over the range in which a spurious peak
    could lie anywhere; a missing reflection costs ln(1 - p); a lattice parameter costs its
    prior range over its posterior width, which makes dense sets of reflections pay by themselves.
    A line that several phases share gains once, and one that none explains costs `unexplained`
    times its rarity. The prior weights are in it. The lines are assigned already. Below `least`
    the sum is not carried on: what is left hardly raises it.
    """
    lines, count, known = case.lines, case.size, case.known
    curve, limits = case.curve, case.limits
    low = curve.q[0]
    high = curve.q[curve.q.shape[0] - 1]
    span = high - low
    members = int(explanation[COUNT])
    total = log_prior(explanation, known)
    if explanation[OFFSET] != 0.0:
        total += _LOG_OFFSET
    matches = 0
    seen = 0
    for j in range(count):
        best = best_gain(lines, j, explanation, known.positions, span)
        if lines[bragg.SURE, j] == 0.0:
            if best > -math.inf:
                total += min(max(best, 0.0), _MOST_OF_DOUBTFUL)
                seen += lines[bragg.SIGNIFICANCE, j] > limits[bragg.EXPECTED_SIGNIFICANCE]
        elif best > -math.inf:
            total += best + lines[bragg.RARITY, j]
            matches += 1
        else:
            total -= unexplained * lines[bragg.RARITY, j]
    explanation[MATCHES] = matches
    if matches < 3 and not known.first_two[int(explanation[PHASE])]:
        total += _LOG_TWO_LINES
    for member in range(members):
        phase = int(explanation[PHASE + member])
        beta = explanation[BETA + member]
        _, information = fit_beta(lines, count, member, members, known.positions[phase])
        total += precision_cost(beta, information)
    for member in range(members):
        phase = int(explanation[PHASE + member])
        beta = explanation[BETA + member]
        last = -1
        matched = 0
        for j in range(count):
            if lines[bragg.OWNER, j] == member:
                k = int(lines[bragg.ASSIGNED + member, j])
                matched |= 1 << k
                if lines[bragg.SURE, j] == 1.0:
                    last = max(last, k)
        for k in range(known.reflections[phase]):
            if total < least:
                break
            centre = beta * known.positions[phase, k]
            if low < centre < high and not matched >> k & 1:
                # Three lines that are matched need no fourth one beyond them to be seen.
                closer = careful and (k < last or matches < 3)
                gain, visible = missing_score(
                    lines, count, k, centre, member, curve, limits, closer
                )
                seen += visible
                total += gain if k < last else _BEYOND_LAST * gain
    explanation[SEEN] = matches + seen
    explanation[SCORE] = total
    return total
