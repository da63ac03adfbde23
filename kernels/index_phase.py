"""Name the phase whose reflections explain the peaks of a curve."""

from __future__ import annotations

import math
from typing import Annotated

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    FloatArray,
    Output,
    PerCurve,
    Row,
    Rows,
    ScratchOf,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.process_peak import lower_bound

MAX_LINES = 20
MAX_KNOWN_PHASES = 32

# Rows of the table of Bragg lines, lowest q first.
_Q = 0
_MATCH_SIGMA = 1
_FIT_SIGMA = 2
_LOG_HEIGHT = 3
_FWHM = 4
_RARITY = 5
_ASSIGNED = 6
_REACH = 7
_SIGNIFICANCE = 8
_LINE_ROWS = 9
# Rows of the table of the best lattice of each phase.
_SCORE = 0
_BETA = 1
_MATCHES = 2
_BEST_ROWS = 3
_REFLECTIONS = 20

Lines = Annotated[FloatArray, ScratchOf((_LINE_ROWS, MAX_LINES))]
Best = Annotated[FloatArray, ScratchOf((_BEST_ROWS, MAX_KNOWN_PHASES))]
Found = Annotated[FloatArray, ScratchOf((_REFLECTIONS,))]

# Entries of the array of limits, in the order in which the stage gives them.
MAX_RELATIVE_WIDTH = 0
MIN_SIGNIFICANCE = 1
SATELLITE = 2
WIDTH_SPREAD = 3
TOLERANCE = 4
TOLERANCE_SIGMAS = 5
CENTRE_BY_FWHM = 6
CENTRE_BY_Q = 7
MIN_SCORE = 8
MIN_MARGIN = 9
MIN_MARGIN_TWO_LINES = 10
DETECTION = 11
MIN_SCORE_TWO_LINES = 12
LIMITS = 13

# ln of the range of lattice parameters that is thought possible beforehand.
_LOG_LATTICE_RANGE = math.log(30.0)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
# Spread of ln intensity of reflections about a smooth envelope.
_LOG_HEIGHT_SPREAD = 1.3
# Missing reflections beyond the last matched one cost this share of the others.
_BEYOND_LAST = 0.1
# Lattices this close are one.
_SAME_LATTICE = 5e-4
# Lobes of a form factor are broader than this share of their distance, and evenly spaced.
_LOBE_WIDTH = 0.28
_LOBE_EVEN = 0.7
# The first of them is broader than this share of its q.
_FIRST_LOBE = 0.1
_NARROWEST_LOBE = 0.018
# What is left beside a line is wider than it by this factor, or lower than this share of it and
# closer than this share of its q.
_FOOT_WIDTH = 1.4
_FOOT_HEIGHT = 0.12
_SATELLITE_REACH = 0.05
# Height over its standard uncertainty of each of the two lines that name a phase.
_BEYOND_DOUBT = 5.0
# ln of how much fainter a third line must be where two name a phase.
_FAINT = math.log(2.0)
# A line that a phase leaves unexplained costs this much more than it would have gained.
_UNEXPLAINED = 1.5
# A reflection this close to a peak, in FWHM, cannot be told from it.
_BLENDED = 0.9


@device_function
def presence(rank):  # type: ignore[no-untyped-def]
    """Probability that the reflection of this rank has intensity at all."""
    if rank < 3:
        return 0.97
    if rank < 6:
        return 0.95
    return 0.92


@device_function
def kind_of(line, q, strongest, limits):  # type: ignore[no-untyped-def]
    """Whether a fitted peak can be a Bragg line, by its own look: a LINE_... code.

    Its fit ended well, it is significant and narrow, it is not cut off by an end of the curve,
    and it is no satellite: below the strongest line in q and far below it in height.
    """
    status = line[table.STATUS]
    if status not in (codes.FIT_CONVERGED, codes.FIT_SHAPE_AT_LIMIT):
        return codes.LINE_NOT_FITTED
    centre, fwhm, height = line[table.Q], line[table.FWHM], line[table.HEIGHT]
    grow = math.sqrt(max(1.0, line[table.REDUCED_CHI2]))
    if not height > limits[MIN_SIGNIFICANCE] * grow * line[table.HEIGHT_SIGMA]:
        return codes.LINE_FAINT
    if not fwhm < limits[MAX_RELATIVE_WIDTH] * centre:
        return codes.LINE_BROAD
    if centre - fwhm < q[0] or centre + fwhm > q[q.shape[0] - 1]:
        return codes.LINE_AT_EDGE
    if strongest[table.HEIGHT] == strongest[table.HEIGHT]:
        below = centre < strongest[table.Q]
        if below and height < limits[SATELLITE] * strongest[table.HEIGHT]:
            return codes.LINE_SATELLITE
    return codes.LINE_BRAGG


@device_function
def typical_width(peaks, n_peaks):  # type: ignore[no-untyped-def]
    """FWHM of the Bragg line at the median, by counting; NaN without any."""
    n = 0
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == 1.0:
            n += 1
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == 1.0:
            narrower = 0
            equal = 0
            for k in range(n_peaks):
                if peaks[k, table.BRAGG] == 1.0:
                    if peaks[k, table.FWHM] < peaks[j, table.FWHM]:
                        narrower += 1
                    elif peaks[k, table.FWHM] == peaks[j, table.FWHM]:
                        equal += 1
            if narrower <= (n - 1) // 2 < narrower + equal:
                return peaks[j, table.FWHM]
    return math.nan


@device_function
def next_above(peaks, n_peaks, j, limits):  # type: ignore[no-untyped-def]
    """The significant peak that follows peak `j` in q; -1 without one."""
    following = -1
    for k in range(n_peaks):
        grow = math.sqrt(max(1.0, peaks[k, table.REDUCED_CHI2]))
        if (
            peaks[k, table.Q] > peaks[j, table.Q]
            and peaks[k, table.HEIGHT]
            > limits[MIN_SIGNIFICANCE] * grow * peaks[k, table.HEIGHT_SIGMA]
            and (following < 0 or peaks[k, table.Q] < peaks[following, table.Q])
        ):
            following = k
    return following


@device_function
def are_oscillations(peaks, n_peaks, limits):  # type: ignore[no-untyped-def]
    """Whether the peaks are the lobes of a form factor: equally spaced and as broad as that.

    The lobes of a sphere follow each other at pi / R with a FWHM of about half of it; the orders
    of a lamellar stack are equally spaced too, but narrow.
    """
    gaps = 0
    broad = 0
    similar = 0
    widest = 0.0
    for j in range(n_peaks):
        if not peaks[j, table.HEIGHT] > limits[MIN_SIGNIFICANCE] * peaks[j, table.HEIGHT_SIGMA]:
            continue
        k = next_above(peaks, n_peaks, j, limits)
        if k < 0:
            continue
        gap = peaks[k, table.Q] - peaks[j, table.Q]
        gaps += 1
        widest = max(widest, peaks[j, table.FWHM] / peaks[j, table.Q])
        wide = max(peaks[k, table.FWHM], peaks[j, table.FWHM])
        if wide > _LOBE_WIDTH * gap and wide > _NARROWEST_LOBE * peaks[j, table.Q]:
            broad += 1
        following = next_above(peaks, n_peaks, k, limits)
        if following >= 0:
            second = peaks[following, table.Q] - peaks[k, table.Q]
            if _LOBE_EVEN * gap < second < gap / _LOBE_EVEN:
                similar += 1
    even = gaps >= 4 and similar >= 0.45 * (gaps - 1)
    return even and broad >= 0.6 * gaps and widest > _FIRST_LOBE


@device_function
def is_foot(peaks, n_peaks, j):  # type: ignore[no-untyped-def]
    """Whether a peak is what a fit has left beside a stronger line, or that line's satellite."""
    fwhm = peaks[j, table.FWHM]
    for k in range(n_peaks):
        if peaks[k, table.BRAGG] != 1.0 or peaks[k, table.HEIGHT] <= peaks[j, table.HEIGHT]:
            continue
        distance = abs(peaks[k, table.Q] - peaks[j, table.Q])
        if distance < fwhm and fwhm > _FOOT_WIDTH * peaks[k, table.FWHM]:
            return True
        reach = max(1.5 * fwhm, _SATELLITE_REACH * peaks[k, table.Q])
        if distance < reach and peaks[j, table.HEIGHT] < _FOOT_HEIGHT * peaks[k, table.HEIGHT]:
            return True
    return False


@device_function
def mark_bragg(peaks, n_peaks, q, limits):  # type: ignore[no-untyped-def]
    """Set the BRAGG column of every peak and return how many are lines."""
    strongest = -1
    # The strongest is sought among lines alone: a hump must not make satellites of them.
    for j in range(n_peaks):
        peaks[j, table.BRAGG] = kind_of(peaks[j], q, peaks[j], limits)
        if peaks[j, table.BRAGG] == codes.LINE_BRAGG and (
            strongest < 0 or peaks[j, table.HEIGHT] > peaks[strongest, table.HEIGHT]
        ):
            strongest = j
    if strongest < 0:
        return 0
    for j in range(n_peaks):
        peaks[j, table.BRAGG] = kind_of(peaks[j], q, peaks[strongest], limits)
    if are_oscillations(peaks, n_peaks, limits):
        for j in range(n_peaks):
            if peaks[j, table.BRAGG] == codes.LINE_BRAGG:
                peaks[j, table.BRAGG] = codes.LINE_LOBE
        return 0
    width = typical_width(peaks, n_peaks)
    count = 0
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == codes.LINE_BRAGG:
            ratio = peaks[j, table.FWHM] / width
            if ratio > limits[WIDTH_SPREAD] or ratio * limits[WIDTH_SPREAD] < 1.0:
                peaks[j, table.BRAGG] = codes.LINE_ODD_WIDTH
            elif is_foot(peaks, n_peaks, j):
                peaks[j, table.BRAGG] = codes.LINE_SATELLITE
            else:
                count += 1
    return count


@device_function
def collect_lines(peaks, n_peaks, limits, lines):  # type: ignore[no-untyped-def]
    """Fill the table of lines from the strongest Bragg peaks, sorted by q; return their number."""
    count = 0
    top = 0.0
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] != 1.0:
            continue
        top = max(top, peaks[j, table.HEIGHT])
        if count == MAX_LINES:
            continue
        # Peaks come strongest first, so a full table holds the strongest.
        centre = peaks[j, table.Q]
        place = count
        while place > 0 and lines[_Q, place - 1] > centre:
            for r in range(_LINE_ROWS):
                lines[r, place] = lines[r, place - 1]
            place -= 1
        fwhm = peaks[j, table.FWHM]
        grow = max(1.0, peaks[j, table.REDUCED_CHI2])
        fitted = peaks[j, table.Q_SIGMA] ** 2 * grow + (limits[CENTRE_BY_FWHM] * fwhm) ** 2
        lines[_Q, place] = centre
        lines[_FIT_SIGMA, place] = math.sqrt(fitted)
        lines[_MATCH_SIGMA, place] = math.sqrt(fitted + (limits[CENTRE_BY_Q] * centre) ** 2)
        lines[_REACH, place] = min(
            limits[TOLERANCE] * centre,
            limits[TOLERANCE_SIGMAS] * lines[_MATCH_SIGMA, place],
        )
        lines[_SIGNIFICANCE, place] = peaks[j, table.HEIGHT] / (
            math.sqrt(grow) * peaks[j, table.HEIGHT_SIGMA]
        )
        lines[_LOG_HEIGHT, place] = math.log(peaks[j, table.HEIGHT])
        lines[_FWHM, place] = fwhm
        count += 1
    for j in range(count):
        # A spurious peak is the rarer the stronger it is.
        relative = math.exp(lines[_LOG_HEIGHT, j]) / top
        lines[_RARITY, j] = 0.7 + 1.6 * math.sqrt(relative)
    return count


@device_function
def assign(lines, count, positions, reflections, beta):  # type: ignore[no-untyped-def]
    """Give each line the nearest reflection within tolerance, one to one; return the matches."""
    matches = 0
    k = 0
    inverse = 1.0 / beta
    for j in range(count):
        s = lines[_Q, j] * inverse
        while k + 1 < reflections and positions[k] + positions[k + 1] <= 2.0 * s:
            k += 1
        lines[_ASSIGNED, j] = -1.0
        distance = abs(positions[k] - s)
        if distance > lines[_REACH, j] * inverse:
            continue
        previous = j - 1
        if previous >= 0 and lines[_ASSIGNED, previous] == k:
            if abs(positions[k] - lines[_Q, previous] * inverse) <= distance:
                continue
            lines[_ASSIGNED, previous] = -1.0
            matches -= 1
        lines[_ASSIGNED, j] = k
        matches += 1
    return matches


@device_function
def fit_beta(lines, count, positions):  # type: ignore[no-untyped-def]
    """Weighted least squares through the origin of q on s; return beta and its information."""
    cross = 0.0
    information = 0.0
    for j in range(count):
        k = int(lines[_ASSIGNED, j])
        if k >= 0:
            weight = 1.0 / (lines[_FIT_SIGMA, j] * lines[_FIT_SIGMA, j])
            cross += weight * positions[k] * lines[_Q, j]
            information += weight * positions[k] * positions[k]
    return cross / information, information


@device_function
def expected_log_height(lines, count, centre):  # type: ignore[no-untyped-def]
    """Return ln height of a reflection at `centre`, from the matched lines beside it."""
    below = -1
    above = -1
    for j in range(count):
        if lines[_ASSIGNED, j] >= 0.0:
            if lines[_Q, j] <= centre:
                below = j
            elif above < 0:
                above = j
    if below < 0:
        return lines[_LOG_HEIGHT, above]
    if above < 0:
        return lines[_LOG_HEIGHT, below]
    share = (centre - lines[_Q, below]) / (lines[_Q, above] - lines[_Q, below])
    return (1.0 - share) * lines[_LOG_HEIGHT, below] + share * lines[_LOG_HEIGHT, above]


@device_function
def missing_cost(rank, centre, lines, count, q, noise, limits):  # type: ignore[no-untyped-def]
    """-ln of the probability that a reflection in range is not among the peaks."""
    for j in range(count):
        if abs(lines[_Q, j] - centre) < _BLENDED * lines[_FWHM, j]:
            return 0.0
    point = min(lower_bound(q, centre), q.shape[0] - 1)
    limit = math.log(limits[DETECTION] * noise[point])
    excess = (expected_log_height(lines, count, centre) - limit) / _LOG_HEIGHT_SPREAD
    visible = 1.0 / (1.0 + math.exp(-1.7 * excess))
    return -math.log(1.0 - presence(rank) * visible)


@device_function
def score_lattice(  # type: ignore[no-untyped-def]
    lines, count, positions, reflections, beta, information, q, noise, limits, found, least
):
    """Log Bayes factor of a lattice against "all peaks are spurious".

    A matched line gains the precision of its prediction over the range in which a spurious peak
    could lie anywhere; a missing reflection costs ln(1 - p); the lattice parameter costs its
    prior range over its posterior width, which makes dense sets of reflections pay by themselves.
    Below `least` the sum is not carried on: what is left can only lower it.
    """
    low = q[0]
    high = q[q.shape[0] - 1]
    span = high - low
    for k in range(reflections):
        found[k] = 0.0
    last = 0
    score = 0.0
    for j in range(count):
        k = int(lines[_ASSIGNED, j])
        if k < 0:
            score -= _UNEXPLAINED * lines[_RARITY, j]
            continue
        found[k] = 1.0
        last = max(last, k)
        sigma = lines[_MATCH_SIGMA, j]
        deviation = (lines[_Q, j] - beta * positions[k]) / sigma
        score += math.log(span / (_ROOT_TWO_PI * sigma)) - 0.5 * deviation * deviation
        score += lines[_RARITY, j] + math.log(presence(k))
    # sigma_lnbeta with the tolerance for systematic errors of q in it.
    relative = math.sqrt(1.0 / (information * beta * beta) + limits[CENTRE_BY_Q] ** 2)
    score += math.log(_ROOT_TWO_PI * relative / _LOG_LATTICE_RANGE)
    for k in range(reflections):
        if score < least:
            break
        centre = beta * positions[k]
        if found[k] == 0.0 and low < centre < high:
            cost = missing_cost(k, centre, lines, count, q, noise, limits)
            score -= cost if k < last else _BEYOND_LAST * cost
    return score


@device_function
def mean_width(lines, count):  # type: ignore[no-untyped-def]
    """Mean FWHM of the matched lines in 1/nm."""
    total = 0.0
    matches = 0
    for j in range(count):
        if lines[_ASSIGNED, j] >= 0.0:
            total += lines[_FWHM, j]
            matches += 1
    return total / matches


@device_function
def first_two_suffice(lines, count, first_two):  # type: ignore[no-untyped-def]
    """Whether a phase may be named from its first two reflections.

    Both are matched and beyond doubt, and every line that is left unexplained is much fainter.
    """
    lowest = math.inf
    others = -math.inf
    found = 0
    for j in range(count):
        rank = lines[_ASSIGNED, j]
        if 0.0 <= rank <= 1.0 and lines[_SIGNIFICANCE, j] > _BEYOND_DOUBT:
            found += 1
            lowest = min(lowest, lines[_LOG_HEIGHT, j])
        elif rank < 0.0:
            others = max(others, lines[_LOG_HEIGHT, j])
    return first_two and found == 2 and others < lowest - _FAINT


@device_function
def best_lattice(  # type: ignore[no-untyped-def]
    lines, count, positions, reflections, first_two, broadest, candidates, q, noise, limits, found
):
    """Try the strongest and the lowest lines as each of a phase's first reflections.

    Returns the score, beta and number of matches of the best; a score of -inf where no lattice
    explains enough lines.
    """
    best_score = -math.inf
    best_beta = math.nan
    best_matches = 0
    strongest = 0
    for j in range(1, count):
        if lines[_LOG_HEIGHT, j] > lines[_LOG_HEIGHT, strongest]:
            strongest = j
    for attempt in range(2):
        base = strongest if attempt == 0 else 0
        # Lattices that explain every line come up from any of them.
        if attempt == 1 and (strongest == 0 or best_matches == count):
            break
        for k in range(min(candidates, reflections)):
            beta = lines[_Q, base] / positions[k]
            # A lattice that was found from another line needs no second look, nor does one that
            # explains far less than the best.
            if abs(beta - best_beta) < _SAME_LATTICE * beta:
                continue
            matches = assign(lines, count, positions, reflections, beta)
            if matches < 2 or 3 * matches < 2 * best_matches:
                continue
            beta, information = fit_beta(lines, count, positions)
            if abs(beta - best_beta) < _SAME_LATTICE * beta:
                continue
            if mean_width(lines, count) > broadest * beta:
                continue
            matches = assign(lines, count, positions, reflections, beta)
            enough = first_two_suffice(lines, count, first_two)
            if matches < 2 or (matches < 3 and not enough):
                continue
            beta, information = fit_beta(lines, count, positions)
            least = limits[MIN_SCORE_TWO_LINES] if enough else limits[MIN_SCORE]
            least = max(least, best_score)
            score = score_lattice(
                lines,
                count,
                positions,
                reflections,
                beta,
                information,
                q,
                noise,
                limits,
                found,
                least,
            )
            if score < least:
                continue
            if score > best_score:
                best_score = score
                best_beta = beta
                best_matches = matches
    return best_score, best_beta, best_matches


@device_function
def write_phase(  # type: ignore[no-untyped-def]
    row, phase, score, beta, lines, count, positions, reflections, q, limits
):
    """Write a phase with its lattice parameter, and the reflections matched and missing."""
    assign(lines, count, positions, reflections, beta)
    beta, information = fit_beta(lines, count, positions)
    matched = 0
    matches = 0
    chi2 = 0.0
    for j in range(count):
        k = int(lines[_ASSIGNED, j])
        if k >= 0:
            matched |= 1 << k
            matches += 1
            chi2 += ((lines[_Q, j] - beta * positions[k]) / lines[_FIT_SIGMA, j]) ** 2
    missing = 0
    for k in range(reflections):
        centre = beta * positions[k]
        if q[0] < centre < q[q.shape[0] - 1] and not matched >> k & 1:
            missing |= 1 << k
    grow = math.sqrt(max(1.0, chi2 / (matches - 1)))
    lattice = 2.0 * math.pi / beta
    row[table.PHASE] = phase
    row[table.LATTICE] = lattice
    row[table.LATTICE_SIGMA] = lattice * grow / (math.sqrt(information) * beta)
    row[table.SCORE] = score
    row[table.MATCHED] = matched
    row[table.MISSING] = missing
    for column in range(table.MISSING + 1, table.PHASE_COLUMNS):
        row[column] = math.nan


@curve_kernel
def index_phase(
    q: Row,
    noise: Row,
    peaks: Rows,
    n_peaks: PerCurve,
    positions: Shared,
    reflections: Shared,
    candidates: Shared,
    first_two: Shared,
    broadest: Shared,
    prior: Shared,
    limits: Shared,
    phases: Rows,
    n_phases: Output,
    verdict: Output,
    margin: Output,
    lines: Lines,
    best: Best,
    found: Found,
) -> None:
    """Score every phase against the peaks of a curve and conclude.

    q : (points,) float64, 1/nm
    noise : (points,) float64, standard uncertainty of the curve that was searched
    positions : (phases, reflections) float64, s of each reflection: q = 2 pi s / lattice
    reflections, candidates : (phases,) int64, how many there are, and how many of them a base
        line is tried as
    first_two : (phases,) bool, whether the first two reflections alone can name the phase
    broadest : (phases,) float64, largest mean FWHM of the lines over 2 pi / lattice
    prior : (phases,) float64, ln of the prior weight; -inf leaves a phase out
    limits : (LIMITS,) float64
    """
    known = positions.shape[0]
    n_phases[0] = 0
    margin[0] = math.nan
    if mark_bragg(peaks, n_peaks, q, limits) == 0:
        verdict[0] = table.VERDICT_NONE
        return
    verdict[0] = table.VERDICT_UNINDEXED
    count = collect_lines(peaks, n_peaks, limits, lines)
    if count < 2:
        return

    for phase in range(known):
        best[_SCORE, phase] = -math.inf
        if prior[phase] > -math.inf:
            score, beta, matches = best_lattice(
                lines,
                count,
                positions[phase],
                reflections[phase],
                first_two[phase],
                broadest[phase],
                candidates[phase],
                q,
                noise,
                limits,
                found,
            )
            best[_SCORE, phase] = score + prior[phase]
            best[_BETA, phase] = beta
            best[_MATCHES, phase] = matches

    runner_up = 0.0
    for rank in range(3):
        chosen = 0
        for phase in range(known):
            if best[_SCORE, phase] > best[_SCORE, chosen]:
                chosen = phase
        score = best[_SCORE, chosen]
        if score == -math.inf:
            break
        if rank == 0:
            top_score = score
            top_matches = best[_MATCHES, chosen]
        elif rank == 1:
            runner_up = score
        write_phase(
            phases[rank],
            chosen,
            score,
            best[_BETA, chosen],
            lines,
            count,
            positions[chosen],
            reflections[chosen],
            q,
            limits,
        )
        phases[rank, table.CANDIDATE] = rank
        best[_SCORE, chosen] = -math.inf
        n_phases[0] = rank + 1
    if n_phases[0] == 0:
        return
    margin[0] = top_score - max(runner_up, 0.0)
    needed = limits[MIN_MARGIN] if top_matches > 2 else limits[MIN_MARGIN_TWO_LINES]
    if margin[0] >= needed:
        verdict[0] = table.VERDICT_IDENTIFIED
        n_phases[0] = 1
        return
    verdict[0] = table.VERDICT_AMBIGUOUS
    while top_score - phases[n_phases[0] - 1, table.SCORE] >= needed:
        n_phases[0] -= 1
