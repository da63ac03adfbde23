"""Which fitted peaks are Bragg lines: the gates, and the table of lines that a lattice explains."""

from __future__ import annotations

import math

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.height_alone import height_alone

# Entries of the array of limits that every part of naming a phase reads, in the order in which
# the stage gives them.
MAX_RELATIVE_WIDTH = 0
MIN_SIGNIFICANCE = 1
SATELLITE = 2
WIDTH_SPREAD = 3
TOLERANCE = 4
TOLERANCE_SIGMAS = 5
CENTRE_BY_FWHM = 6
CENTRE_BY_Q = 7
DETECTION = 8
EXPECTED_SIGNIFICANCE = 9
MIN_SCORE = 10
MIN_PROBABILITY = 11
MIN_MARGIN = 12
LIMITS = 13

MAX_LINES = 24
# Rows of the table of lines, lowest q first: centre and FWHM in 1/nm, the uncertainty of the
# centre by the fit alone, with what no fit knows, and with an error of the q scale.
CENTRE = 0
FIT_SIGMA = 1
CLOSE_SIGMA = 2
MATCH_SIGMA = 3
# Largest distance from a reflection.
REACH = 4
LOG_HEIGHT = 5
FWHM = 6
# ln of how rare a spurious line of this height is.
RARITY = 7
# Height over its standard uncertainty.
SIGNIFICANCE = 8
# 1.0 for a Bragg line, 0.0 for a peak that can be one where a reflection is expected.
SURE = 9
# Row of the table of peaks; -1.0 for a line that was seen only where it was expected.
PEAK = 10
# What a lattice that explains the line gains at most.
MOST = 11
# Of the centre in a fit of the lattice.
WEIGHT = 12
# The centre that was fitted: `CENTRE` is that less an offset of q.
MEASURED = 13
# Which of the phases explains the line best; -1.0 for none.
OWNER = 14
# The reflection that each of up to three phases gives the line; -1.0 for none.
ASSIGNED = 15
MEMBERS = 3
LINE_ROWS = ASSIGNED + MEMBERS

# The height of a line alone is so much more significant than that of all it is to count as much.
_ALONE = 1.25
# Lines below and above need no second look.
_LEAST_OF_ALL = 1.6
_STRONG = 8.0
# The lobes of a form factor are broader than this share of their q.
_NARROWEST_LOBE = 0.018
# Three in a row are as even as this, broader than this share of their distance, and that is more
# than this share of their q.
_ROW_EVEN = 0.8
_ROW_WIDTH = 0.38
_LOBE_APART = 0.08
# A peak that is not narrower than this share of a lobe is none of a lattice.
_LIKE_A_LOBE = 0.6
# Lobes differ in width by less than this factor, and one follows another within this many of its
# FWHM, though some between them are not found.
_ALIKE = 2.0
_LOBES_MISSED = 12.0
# What is left beside a line is wider than it by this factor, or lower than this share of it and
# closer than this share of its q.
_FOOT_WIDTH = 1.4
_FOOT_HEIGHT = 0.12
_SATELLITE_REACH = 0.05
# The uncertainty of a centre that is known well, over q.
_CLOSE_BY_Q = 0.0004
# Peaks this significant can be reflections where one is expected.
_DOUBTFUL = 3.0


@device_function
def significance(line, q, intensity, sigma):  # type: ignore[no-untyped-def]
    """Height of a peak over its standard uncertainty, in a fit of all that it is or of it alone.

    A faint line's width and place are as unsure as its height, and share its uncertainty.
    """
    height = line[table.HEIGHT] / math.sqrt(max(1.0, line[table.REDUCED_CHI2]))
    of_all = height / line[table.HEIGHT_SIGMA]
    if of_all > _STRONG or not of_all > _LEAST_OF_ALL:
        return of_all
    _, alone, _ = height_alone(q, intensity, sigma, line[table.Q], line[table.FWHM])
    return max(of_all, height / (_ALONE * alone))


@device_function
def is_within(centre, windows):  # type: ignore[no-untyped-def]
    """Whether one of some windows of q holds a peak."""
    for window in range(windows.shape[0]):
        if windows[window, 0] <= centre <= windows[window, 1]:
            return True
    return False


@device_function
def kind_of(line, q, intensity, sigma, windows, limits):  # type: ignore[no-untyped-def]
    """Whether a fitted peak can be a Bragg line, by its own look: a LINE_... code.

    Its fit ended well, it is none of the instrument's, it is significant and narrow, and it is not
    cut off by an end of the curve.
    """
    status = line[table.STATUS]
    if status not in (codes.FIT_CONVERGED, codes.FIT_SHAPE_AT_LIMIT):
        return codes.LINE_NOT_FITTED
    centre, fwhm = line[table.Q], line[table.FWHM]
    if is_within(centre, windows):
        return codes.LINE_INSTRUMENT
    if not significance(line, q, intensity, sigma) > limits[MIN_SIGNIFICANCE]:
        return codes.LINE_FAINT
    if not fwhm < limits[MAX_RELATIVE_WIDTH] * centre:
        return codes.LINE_BROAD
    if centre - fwhm < q[0] or centre + fwhm > q[q.shape[0] - 1]:
        return codes.LINE_AT_EDGE
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
def next_broad(peaks, n_peaks, j, limits):  # type: ignore[no-untyped-def]
    """The peak that follows peak `j` in q among those that stand out and are no spikes; -1 without.

    With `j` of -1 the first of them.
    """
    following = -1
    for k in range(n_peaks):
        centre = peaks[k, table.Q]
        if (
            peaks[k, table.HEIGHT] > limits[MIN_SIGNIFICANCE] * peaks[k, table.HEIGHT_SIGMA]
            and peaks[k, table.FWHM] > _NARROWEST_LOBE * centre
            and (j < 0 or centre > peaks[j, table.Q])
            and (following < 0 or centre < peaks[following, table.Q])
        ):
            following = k
    return following


@device_function
def narrowest_lobe(peaks, n_peaks, limits):  # type: ignore[no-untyped-def]
    """FWHM of the narrowest peak in a row of three lobes of a form factor; inf without one.

    Lobes follow each other evenly and are about half as broad as their distance; the lines of a
    lattice are narrower, or far nearer to each other than their q.
    """
    narrowest = math.inf
    one = next_broad(peaks, n_peaks, -1, limits)
    while one >= 0:
        two = next_broad(peaks, n_peaks, one, limits)
        three = next_broad(peaks, n_peaks, two, limits) if two >= 0 else -1
        if three < 0:
            break
        gap = peaks[two, table.Q] - peaks[one, table.Q]
        second = peaks[three, table.Q] - peaks[two, table.Q]
        least = min(peaks[one, table.FWHM], peaks[two, table.FWHM], peaks[three, table.FWHM])
        even = _ROW_EVEN * gap < second < gap / _ROW_EVEN
        apart = min(gap, second) > _LOBE_APART * peaks[two, table.Q]
        if even and apart and least > _ROW_WIDTH * max(gap, second):
            narrowest = min(narrowest, least)
        one = two
    return narrowest


@device_function
def follow_a_lobe(peaks, n_peaks):  # type: ignore[no-untyped-def]
    """Whether the Bragg lines follow a higher peak that is none, but about as broad as they are.

    The lobes of a form factor fall with q and keep their width: the first of them are too broad
    over their q for lines. What lies below the lines of a lattice is far broader than these, or
    lower, or far away.
    """
    width = typical_width(peaks, n_peaks)
    lowest = math.inf
    highest = 0.0
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == codes.LINE_BRAGG:
            lowest = min(lowest, peaks[j, table.Q])
            highest = max(highest, peaks[j, table.HEIGHT])
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == codes.LINE_BROAD and peaks[j, table.HEIGHT] > highest:
            below = lowest - peaks[j, table.Q]
            alike = width / _ALIKE < peaks[j, table.FWHM] < _ALIKE * width
            if alike and 0.0 < below < _LOBES_MISSED * peaks[j, table.FWHM]:
                return True
    return False


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
def mark_bragg(peaks, n_peaks, q, intensity, sigma, windows, limits):  # type: ignore[no-untyped-def]
    """Set the BRAGG column of every peak and return how many are lines.

    windows : (windows, 2) float64, lowest and highest q of lines that the instrument makes
    """
    strongest = -1
    # The strongest is sought among lines alone: a hump must not make satellites of them.
    for j in range(n_peaks):
        peaks[j, table.BRAGG] = kind_of(peaks[j], q, intensity, sigma, windows, limits)
        if peaks[j, table.BRAGG] == codes.LINE_BRAGG and (
            strongest < 0 or peaks[j, table.HEIGHT] > peaks[strongest, table.HEIGHT]
        ):
            strongest = j
    if strongest < 0:
        return 0
    # A satellite lies below the strongest line in q, and far below it in height.
    for j in range(n_peaks):
        if (
            peaks[j, table.BRAGG] == codes.LINE_BRAGG
            and peaks[j, table.Q] < peaks[strongest, table.Q]
            and peaks[j, table.HEIGHT] < limits[SATELLITE] * peaks[strongest, table.HEIGHT]
        ):
            peaks[j, table.BRAGG] = codes.LINE_SATELLITE
    if follow_a_lobe(peaks, n_peaks):
        for j in range(n_peaks):
            if peaks[j, table.BRAGG] == codes.LINE_BRAGG:
                peaks[j, table.BRAGG] = codes.LINE_LOBE
        return 0
    lobe = _LIKE_A_LOBE * narrowest_lobe(peaks, n_peaks, limits)
    for j in range(n_peaks):
        if peaks[j, table.BRAGG] == codes.LINE_BRAGG and peaks[j, table.FWHM] > lobe:
            peaks[j, table.BRAGG] = codes.LINE_LOBE
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
def is_doubtful(line, limits):  # type: ignore[no-untyped-def]
    """Whether a peak that passes for no Bragg line can be one where a reflection is expected.

    It has to be significant besides.
    """
    kind = line[table.BRAGG]
    return (
        kind in (codes.LINE_FAINT, codes.LINE_SATELLITE, codes.LINE_ODD_WIDTH)
        and line[table.FWHM] < limits[MAX_RELATIVE_WIDTH] * line[table.Q]
    )


@device_function
def insert_line(lines, count, centre):  # type: ignore[no-untyped-def]
    """Make room for a line at `centre` in the table, which is sorted by q; return its place."""
    place = count
    while place > 0 and lines[CENTRE, place - 1] > centre:
        for r in range(LINE_ROWS):
            lines[r, place] = lines[r, place - 1]
        place -= 1
    return place


@device_function
def put_line(lines, place, centre, sigma, fwhm, height, significance, limits):  # type: ignore[no-untyped-def]
    """Write what follows from a line's centre, its sigma, width, height and significance."""
    close = sigma * sigma + (limits[CENTRE_BY_FWHM] * fwhm) ** 2
    lines[CENTRE, place] = centre
    lines[MEASURED, place] = centre
    lines[FIT_SIGMA, place] = sigma
    lines[CLOSE_SIGMA, place] = math.sqrt(close + (_CLOSE_BY_Q * centre) ** 2)
    lines[WEIGHT, place] = 1.0 / (close + (_CLOSE_BY_Q * centre) ** 2)
    lines[MATCH_SIGMA, place] = math.sqrt(close + (limits[CENTRE_BY_Q] * centre) ** 2)
    lines[REACH, place] = min(
        limits[TOLERANCE] * centre, limits[TOLERANCE_SIGMAS] * lines[MATCH_SIGMA, place]
    )
    lines[LOG_HEIGHT, place] = math.log(height)
    lines[FWHM, place] = fwhm
    lines[SIGNIFICANCE, place] = significance
    for member in range(MEMBERS):
        lines[ASSIGNED + member, place] = -1.0


@device_function
def collect_lines(peaks, n_peaks, q, intensity, sigma, limits, lines):  # type: ignore[no-untyped-def]
    """Fill the table of lines, sorted by q; return their number, and how many are sure.

    Where there is no room for all, Bragg lines come before doubtful ones.
    """
    count = 0
    sure = 0
    for doubtful in range(2):
        for j in range(n_peaks):
            if count == lines.shape[1]:
                break
            if doubtful == 0 and peaks[j, table.BRAGG] != codes.LINE_BRAGG:
                continue
            if doubtful == 1 and not is_doubtful(peaks[j], limits):
                continue
            certain = significance(peaks[j], q, intensity, sigma)
            if doubtful == 1 and not certain > _DOUBTFUL:
                continue
            place = insert_line(lines, count, peaks[j, table.Q])
            grow = math.sqrt(max(1.0, peaks[j, table.REDUCED_CHI2]))
            put_line(
                lines,
                place,
                peaks[j, table.Q],
                grow * peaks[j, table.Q_SIGMA],
                peaks[j, table.FWHM],
                peaks[j, table.HEIGHT],
                certain,
                limits,
            )
            lines[SURE, place] = 1.0 - doubtful
            lines[PEAK, place] = j
            count += 1
        if doubtful == 0:
            sure = count
    top = -math.inf
    for j in range(count):
        if lines[SURE, j] == 1.0:
            top = max(top, lines[LOG_HEIGHT, j])
    for j in range(count):
        # A spurious peak is the rarer the stronger it is.
        lines[RARITY, j] = 0.7 + 1.6 * math.sqrt(min(1.0, math.exp(lines[LOG_HEIGHT, j] - top)))
    return count, sure
