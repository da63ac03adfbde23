"""The dimensionless Kratky curve: where its maximum is, and what is left of it at high q."""

from __future__ import annotations

import math

from gpusaxs.kernels import guinier
from gpusaxs.kernels.curve_kernel import Row, Rows, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_poly
from gpusaxs.kernels.regression import last_below, level_of

# Columns of the numbers.
POSITION = 0
POSITION_SIGMA = 1
HEIGHT = 2
HEIGHT_SIGMA = 3
PLATEAU = 4
PLATEAU_SIGMA = 5
MAXIMUM = 6
NUMBERS = 7

# Values of MAXIMUM.
FOUND = 0
NO_RG = 1
FEW_POINTS = 2
NO_MAXIMUM = 3

# (q Rg)^2 of the maximum of a globule, at which the search begins.
_GLOBULE = 3.0
# The window about a maximum, in shares of its (q Rg)^2.
_FROM = 0.5
_TO = 1.6
# Distance of the maximum from the window's centre that is good enough, as a share of it.
_NEAR = 0.1
_ROUNDS = 12
_NEWTON_STEPS = 30


@device_function
def parabola_fit(q, intensity, sigma, first, last, rg, i0, centre):  # type: ignore[no-untyped-def]
    """Least squares of i0 exp(p0 + p1 t + p2 t^2) with t = (q Rg)^2 - centre.

    Returns
    -------
    p0, p1, p2, and their variances and covariances in the order 00 01 02 11 12 22
        NaN where there is no minimum.
    """
    p0 = -centre / 3.0
    p1 = -1.0 / 3.0
    p2 = 0.0
    for _ in range(_NEWTON_STEPS):
        a00 = 0.0
        a01 = 0.0
        a02 = 0.0
        a12 = 0.0
        a22 = 0.0
        b0 = 0.0
        b1 = 0.0
        b2 = 0.0
        for i in range(first, last + 1):
            if sigma[i] > 0.0:
                t = rg * rg * q[i] * q[i] - centre
                model = i0 * exp_poly(p0 + t * (p1 + t * p2))
                gain = model / sigma[i]
                pull = gain * (intensity[i] - model) / sigma[i]
                gain *= gain
                a00 += gain
                a01 += gain * t
                a02 += gain * t * t
                a12 += gain * t * t * t
                a22 += gain * t * t * t * t
                b0 += pull
                b1 += pull * t
                b2 += pull * t * t
        # The matrix is a00 a01 a02, a01 a02 a12, a02 a12 a22; its inverse by cofactors.
        c00 = a02 * a22 - a12 * a12
        c01 = a02 * a12 - a01 * a22
        c02 = a01 * a12 - a02 * a02
        c11 = a00 * a22 - a02 * a02
        c12 = a01 * a02 - a00 * a12
        c22 = a00 * a02 - a01 * a01
        determinant = a00 * c00 + a01 * c01 + a02 * c02
        if not determinant > 1e-9 * a00 * a02 * a22:
            break
        d0 = (c00 * b0 + c01 * b1 + c02 * b2) / determinant
        d1 = (c01 * b0 + c11 * b1 + c12 * b2) / determinant
        d2 = (c02 * b0 + c12 * b1 + c22 * b2) / determinant
        p0 += d0
        p1 += d1
        p2 += d2
        if d0 * d0 * determinant <= 1e-16 * c00:
            return (
                p0,
                p1,
                p2,
                c00 / determinant,
                c01 / determinant,
                c02 / determinant,
                c11 / determinant,
                c12 / determinant,
                c22 / determinant,
            )
    nan = math.nan
    return nan, nan, nan, nan, nan, nan, nan, nan, nan


@curve_kernel
def kratky(
    q: Row,
    intensity: Row,
    sigma: Row,
    of_guinier: Rows,
    plateau_from: Shared,
    plateau_to: Shared,
    max_position: Shared,
    min_points: Shared,
    numbers: Rows,
) -> None:
    """Find the maximum of (q Rg)^2 I / I0 over q Rg, and its mean level beyond (D. Durand 2010).

    About the maximum ln I is a parabola of q^2: Guinier's law is one, so its maximum, at sqrt(3)
    and 3 / e, comes out as it is.

    q, intensity, sigma : (points,) float64; q in 1/nm
    of_guinier : (guinier.NUMBERS,) float64, what the kernel `guinier` found
    plateau_from, plateau_to, max_position : q Rg
    numbers : (NUMBERS,) float64, written
    """
    for column in range(NUMBERS):
        numbers[column] = math.nan
    rg = of_guinier[guinier.RG]
    if not rg > 0.0:
        numbers[MAXIMUM] = NO_RG
        return
    i0 = of_guinier[guinier.I0]
    by_rg = of_guinier[guinier.RG_SIGMA] / rg
    by_i0 = of_guinier[guinier.I0_SIGMA] / i0
    correlation = of_guinier[guinier.CORRELATION]
    # Relative variance of Rg^2 / I0.
    scale = 4.0 * by_rg * (by_rg - correlation * by_i0) + by_i0 * by_i0
    first = last_below(q, plateau_from / rg) + 1
    last = last_below(q, plateau_to / rg)
    if last - first + 1 >= min_points and q[q.shape[0] - 1] * rg >= plateau_to:
        total = 0.0
        variance = 0.0
        width = 0.0
        for i in range(first, last + 1):
            dq = 0.5 * (q[min(i + 1, last)] - q[max(i - 1, first)])
            gain = dq * rg * rg * q[i] * q[i] / i0
            total += gain * intensity[i]
            variance += gain * gain * sigma[i] * sigma[i]
            width += dq
        level = total / width
        # What a larger Rg changes: q Rg, and with it the q at which the mean begins and ends.
        begin = plateau_from * plateau_from * level_of(intensity, first) / i0
        end = plateau_to * plateau_to * level_of(intensity, last) / i0
        turn = (plateau_to * end - plateau_from * begin) / (plateau_to - plateau_from)
        from_rg = (3.0 * level - turn) * by_rg
        from_i0 = level * by_i0
        shared = from_rg * (from_rg - 2.0 * correlation * from_i0) + from_i0 * from_i0
        numbers[PLATEAU] = level
        numbers[PLATEAU_SIGMA] = math.sqrt(variance / (width * width) + shared)
    centre = _GLOBULE
    numbers[MAXIMUM] = NO_MAXIMUM
    for _ in range(_ROUNDS):
        # Points of the Guinier range have had their say in Rg and I0.
        first = last_below(q, max(math.sqrt(_FROM * centre) / rg, of_guinier[guinier.Q_MAX])) + 1
        last = last_below(q, math.sqrt(_TO * centre) / rg)
        if last - first + 1 < min_points or last == q.shape[0] - 1:
            numbers[MAXIMUM] = FEW_POINTS
            return
        p0, p1, p2, v00, v01, v02, v11, v12, v22 = parabola_fit(
            q, intensity, sigma, first, last, rg, i0, centre
        )
        # d ln y / du = 1 / u + p1 + 2 p2 (u - centre), y = u exp(...), u = (q Rg)^2.
        b = p1 - 2.0 * p2 * centre
        square = b * b - 8.0 * p2
        if not v00 > 0.0:
            return
        u = 2.0 / (math.sqrt(square) - b) if square >= 0.0 and math.sqrt(square) > b else math.inf
        if u > 1.5 * centre:
            u = 1.5 * centre
        elif u < centre / 1.5:
            u = centre / 1.5
        elif abs(u - centre) < _NEAR * centre:
            t = u - centre
            steepness = 1.0 / (u * u) - 2.0 * p2
            u_sigma = math.sqrt(v11 + 4.0 * t * v12 + 4.0 * t * t * v22) / steepness
            at_top = v00 + 2.0 * t * v01 + t * t * (v11 + 2.0 * v02)
            at_top += 2.0 * t * t * t * v12 + t * t * t * t * v22
            height = u * exp_poly(p0 + t * (p1 + t * p2))
            numbers[POSITION] = math.sqrt(u)
            relative = 0.5 * u_sigma / u
            numbers[POSITION_SIGMA] = math.sqrt(u * (relative * relative + by_rg * by_rg))
            numbers[HEIGHT] = height
            numbers[HEIGHT_SIGMA] = height * math.sqrt(at_top + scale)
            numbers[MAXIMUM] = FOUND
            return
        centre = u
        if centre > max_position * max_position:
            return
