"""arPLS background: a smooth curve that is drawn to the points below it."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_poly
from gpusaxs.kernels.snip import compress, counts_a_unit, expand

# Fewer points have no second difference.
_LEAST_POINTS = 3
# Standard deviation of residuals that are all the same.
_NO_SCATTER = 2.220446049250313e-16


@device_function
def solve_smooth(values, weight, lam, inverse, ratio, smooth):  # type: ignore[no-untyped-def]
    """Minimise sum(weight (values - smooth)^2) + lam sum(second difference of smooth)^2.

    The normal equations are symmetric, positive definite and have five diagonals: L D L^T from
    the first row to the last and back, without pivots.

    values, weight, smooth : (points,) float64, weight >= 0
    inverse, ratio : (points,) float64, working memory: 1 / D, and the first diagonal of L
    """
    points = values.shape[0]
    # Of the last row and the one before: the two off-diagonals over the diagonal, and the right
    # side; the first off-diagonal itself, once the rows above are eliminated from it, and its
    # square over the diagonal: each row waits for the division of the last, and for little else.
    one = two = two_before = side = side_before = upper = squared = 0.0
    for i in range(points):
        inner = i < points - 2
        middle = (i > 0) & (i < points - 1)
        diagonal = weight[i] + lam * ((1.0 if inner else 0.0) + (4.0 if middle else 0.0))
        diagonal += lam if i > 1 else 0.0
        next_one = lam * ((-2.0 if inner else 0.0) + (-2.0 if middle else 0.0))
        # Two rows up the second off-diagonal is lam, its share of the diagonal there two_before.
        diagonal = (diagonal - two_before * lam) - squared
        right = weight[i] * values[i] - one * side - two_before * side_before
        upper = next_one - one * lam
        inverse[i] = 1.0 / diagonal
        two_before = two
        two = lam * inverse[i] if inner else 0.0
        squared = (upper * upper) * inverse[i]
        one = upper * inverse[i]
        ratio[i] = one
        side_before = side
        side = right
        smooth[i] = right
    after = beyond = 0.0
    for k in range(points):
        i = points - 1 - k
        # Beyond the last two points there is nothing: their second off-diagonal is never used.
        here = (smooth[i] - lam * beyond) * inverse[i] - ratio[i] * after
        smooth[i] = here
        beyond = after
        after = here


@device_function
def reweight(values, smooth, weight, new):  # type: ignore[no-untyped-def]
    """Give each point the weight that its distance from the curve below asks for.

    1 / (1 + exp(2 (d - (2 s - m)) / s)), with m and s the mean and the standard deviation of the
    negative distances. Returns the relative change of the weights, by their Euclidean norm, and
    whether there are the two negative distances that it takes; without them nothing is changed.

    values, smooth, weight : (points,) float64
    new : (points,) float64, working memory
    """
    points = values.shape[0]
    count = 0
    total = 0.0
    for i in range(points):
        distance = values[i] - smooth[i]
        count += distance < 0.0
        total += distance if distance < 0.0 else 0.0
    if count < 2:
        return 0.0, False
    mean = total / count
    squares = 0.0
    for i in range(points):
        distance = values[i] - smooth[i]
        deviation = distance - mean if distance < 0.0 else 0.0
        squares += deviation * deviation
    scatter = math.sqrt(squares / (count - 1))
    scatter = scatter if scatter > 0.0 else _NO_SCATTER
    steepness = 2.0 / scatter
    start = 2.0 * scatter - mean
    # Without a sum in it LLVM vectorises this loop. Overflow gives inf, and a weight of zero.
    for i in range(points):
        new[i] = 1.0 / (1.0 + exp_poly(steepness * (values[i] - smooth[i] - start)))
    change = before = 0.0
    for i in range(points):
        difference = new[i] - weight[i]
        change += difference * difference
        before += weight[i] * weight[i]
        weight[i] = new[i]
    return math.sqrt(change / before), True


@curve_kernel
def arpls(
    intensity: Row,
    sigma: Row,
    background: Row,
    status: Output,
    lam: Shared,
    max_iter: Shared,
    tol: Shared,
    transform: Shared,
    values: Scratch,
    weight: Scratch,
    smooth: Scratch,
    inverse: Scratch,
    ratio: Scratch,
) -> None:
    """Subtract asymmetrically reweighted penalised least squares (S.-J. Baek et al. 2015).

    Analyst 140 (2015) 250. Solves for a curve that is smooth and near the points, gives points
    far above it next to no weight, and again, until the weights change by less than `tol` or
    `max_iter` times more. With `transform` on the scale of `compress`.

    intensity, sigma, background : (points,) float64, the curve's own unit; background adds up
    """
    points = intensity.shape[0]
    if points < _LEAST_POINTS:
        status[0] |= codes.BACKGROUND_FAILED
        return
    shift = 0.0
    counts = 1.0
    for i in range(points):
        values[i] = intensity[i]
        weight[i] = 1.0
    if transform:
        counts = counts_a_unit(intensity, sigma)
        for i in range(points):
            shift = min(shift, values[i])
        compress(values, shift, counts)
    for _ in range(max_iter + 1):
        solve_smooth(values, weight, lam, inverse, ratio, smooth)
        change, known = reweight(values, smooth, weight, inverse)
        if not known or change < tol:
            break
    if not math.isfinite(smooth[0] + smooth[points - 1]):
        status[0] |= codes.BACKGROUND_FAILED
        return
    if transform:
        expand(smooth, shift, counts)
    for i in range(points):
        background[i] += smooth[i]
        intensity[i] -= smooth[i]
