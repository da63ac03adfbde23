"""The lattice parameter that matched lines give, its uncertainty, and an offset of q."""

from __future__ import annotations

import math

from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.lattice_score import is_shared, own_lines

# Scatter of centres that no fit knows of, in FWHM: the first that makes the lines agree is taken.
_SCATTERS = 7
_LEAST_SCATTER = 0.002
_SCATTER_STEP = 2.5
# Lines agree where chi-squared exceeds its expectation by no more than this many of its standard
# deviations.
_AGREE = 2.5
# An offset of q is one beyond this many standard uncertainties, and below this share of the
# lowest line's q.
_OFFSET_SIGMAS = 4.0
_LARGEST_OFFSET = 0.02
# A fainter one may be there all the same: the odds against it, before the lines are looked at, and
# its spread over the q of the first reflection.
_ODDS_AGAINST = 4.0
_SPREAD = 0.0015


@device_function
def scatter_of(step):  # type: ignore[no-untyped-def]
    """Scatter number `step` in FWHM; the first is none."""
    return 0.0 if step == 0 else _LEAST_SCATTER * _SCATTER_STEP ** (step - 1)


@device_function
def straight_line(lines, count, member, members, positions, scatter, with_offset):  # type: ignore[no-untyped-def]
    """Weighted least squares of q = offset + beta s on the lines of one phase.

    Lines that other phases share are left out where two others are there. Returns beta and its
    sigma, the offset and its sigma (0, 0 without one), chi-squared, the number of lines and the
    lowest q.
    """
    shared_too = own_lines(lines, count, member, members) < 2
    n = 0
    lowest = math.inf
    s0 = s1 = s2 = t0 = t1 = 0.0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0 and (shared_too or not is_shared(lines, j, member, members)):
            w = 1.0 / (lines[bragg.FIT_SIGMA, j] ** 2 + (scatter * lines[bragg.FWHM, j]) ** 2)
            s = positions[k]
            q = lines[bragg.CENTRE, j]
            n += 1
            lowest = min(lowest, q)
            s0 += w
            s1 += w * s
            s2 += w * s * s
            t0 += w * q
            t1 += w * q * s
    offset = 0.0
    offset_sigma = 0.0
    if with_offset:
        det = s0 * s2 - s1 * s1
        beta = (s0 * t1 - s1 * t0) / det
        offset = (s2 * t0 - s1 * t1) / det
        beta_sigma = math.sqrt(s0 / det)
        offset_sigma = math.sqrt(s2 / det)
    else:
        beta = t1 / s2
        beta_sigma = 1.0 / math.sqrt(s2)
    chi2 = 0.0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0 and (shared_too or not is_shared(lines, j, member, members)):
            away = lines[bragg.CENTRE, j] - offset - beta * positions[k]
            chi2 += (
                away
                * away
                / (lines[bragg.FIT_SIGMA, j] ** 2 + (scatter * lines[bragg.FWHM, j]) ** 2)
            )
    return beta, beta_sigma, offset, offset_sigma, chi2, n, lowest


@device_function
def agree(chi2, free):  # type: ignore[no-untyped-def]
    """Whether chi-squared is what chance makes it, with `free` degrees of freedom."""
    return chi2 <= free + _AGREE * math.sqrt(2.0 * free)


@device_function
def believed_share(offset, sigma, spread):  # type: ignore[no-untyped-def]
    """Share of a measured offset that is to be believed: its posterior mean over it.

    There is none with the odds of `_ODDS_AGAINST`, else it is normal about zero with `spread`.
    """
    total = sigma * sigma + spread * spread
    away = offset * spread / sigma
    against = _ODDS_AGAINST * math.sqrt(total) / sigma * math.exp(-0.5 * away * away / total)
    return spread * spread / (total * (1.0 + against))


@device_function
def fit_lattice(lines, count, member, members, positions, known_offset):  # type: ignore[no-untyped-def]
    """Fit 2 pi / lattice, and an offset of q where the lines need one.

    The uncertainties of the centres are those of their fits. An offset is taken from four lines on
    where it is significant and the lines agree with it. One that is not moves the lattice by the
    share that is to be believed of it, from three lines on, and its sigma grows by as much. Where
    the lines agree neither with an offset nor without it, all centres scatter by a share of their
    FWHM, the least that makes them agree. Where an offset is known to be there, the lines are
    shifted by it and both are fitted.

    Returns beta, its sigma, the offset and its sigma (NaN without one), and the reduced
    chi-squared of the lines about beta s by their own uncertainties (NaN for one line).
    """
    reduced = math.nan
    beta = beta_sigma = math.nan
    for step in range(_SCATTERS):
        scatter = scatter_of(step)
        beta, beta_sigma, _, _, chi2, n, lowest = straight_line(
            lines, count, member, members, positions, scatter, False
        )
        if n < 2:
            break
        if step == 0:
            reduced = chi2 / (n - 1)
        if n > 2:
            slope, slope_sigma, offset, offset_sigma, chi2_with, _, _ = straight_line(
                lines, count, member, members, positions, scatter, True
            )
            small = abs(offset) < _LARGEST_OFFSET * lowest
            found = small and abs(offset) > _OFFSET_SIGMAS * offset_sigma
            if agree(chi2_with, n - 2.0):
                if n > 3 and (found or known_offset != 0.0):
                    return slope, slope_sigma, known_offset + offset, offset_sigma, reduced
                if small and known_offset == 0.0:
                    share = believed_share(offset, offset_sigma, _SPREAD * beta * positions[0])
                    moved = share * (slope - beta)
                    return beta + moved, math.hypot(beta_sigma, moved), math.nan, math.nan, reduced
        if agree(chi2, n - 1.0):
            break
    return beta, beta_sigma, math.nan, math.nan, reduced
