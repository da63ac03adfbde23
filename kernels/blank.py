"""Subtract a measured blank."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, PerCurve, Row, Shared, curve_kernel
from gpusaxs.kernels.process_peak import lower_bound


@curve_kernel
def blank(
    q: Row,
    intensity: Row,
    sigma: Row,
    background: Row,
    status: Output,
    blank_q: Shared,
    blank_intensity: Shared,
    blank_sigma: Shared,
    factor: PerCurve,
    by_window: Shared,
    window_q_min: Shared,
    window_q_max: Shared,
) -> None:
    """Subtract a blank, interpolated linearly to the curve's q, and propagate its sigma.

    A curve that the blank does not cover is left alone and its status says BLANK_MISMATCH; one
    whose factor, or ratio over the window, is not a positive number, BLANK_UNSCALED. The ratio has
    an uncertainty of its own, which is the same for all points and is not added to theirs.

    q, blank_q : (points,), (blank points,) float64, 1/nm
    intensity, sigma, background : (points,) float64, the curve's own unit
    factor : what the blank is multiplied by; `by_window` takes the ratio of the sums over the
        window instead
    window_q_min, window_q_max : 1/nm
    """
    points = q.shape[0]
    known = blank_q.shape[0]
    # A curve may reach half a step beyond: the same grid, read from other digits, is covered.
    before = 0.5 * (blank_q[1] - blank_q[0])
    beyond = 0.5 * (blank_q[known - 1] - blank_q[known - 2])
    if q[0] < blank_q[0] - before or q[points - 1] > blank_q[known - 1] + beyond:
        status[0] |= codes.BLANK_MISMATCH
        return
    scale = factor
    if by_window:
        mine = 0.0
        its = 0.0
        for i in range(points):
            if window_q_min <= q[i] <= window_q_max:
                k = min(max(1, lower_bound(blank_q, q[i])), known - 1)
                share = (q[i] - blank_q[k - 1]) / (blank_q[k] - blank_q[k - 1])
                mine += intensity[i]
                its += (1.0 - share) * blank_intensity[k - 1] + share * blank_intensity[k]
        scale = mine / its if mine > 0.0 and its > 0.0 else math.nan
    # Written so that NaN fails.
    if not 0.0 < scale < math.inf:
        status[0] |= codes.BLANK_UNSCALED
        return
    for i in range(points):
        k = min(max(1, lower_bound(blank_q, q[i])), known - 1)
        share = (q[i] - blank_q[k - 1]) / (blank_q[k] - blank_q[k - 1])
        base = scale * ((1.0 - share) * blank_intensity[k - 1] + share * blank_intensity[k])
        left = (1.0 - share) * scale * blank_sigma[k - 1]
        right = share * scale * blank_sigma[k]
        background[i] += base
        intensity[i] -= base
        sigma[i] = math.sqrt(sigma[i] * sigma[i] + left * left + right * right)
