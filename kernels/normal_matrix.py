"""Normal matrices of fits in which some parameters are pinned: factors, solutions, inverses.

They become a part of each fit, so that one with a fixed number of parameters has its loops unrolled
by the compiler: called, they take a fifth more of the whole fit.
"""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import inlined_function


@inlined_function
def factorise(matrix, n, side, damping, pinned, factor):  # type: ignore[no-untyped-def]
    """Cholesky factor of matrix + damping diag(matrix); pinned parameters become the identity.

    matrix, factor : (side * side,) float64, the lower triangles of `n` rows of `side` numbers

    Returns False where the matrix is not positive definite.
    """
    for i in range(n):
        for j in range(i + 1):
            if pinned[i] != 0.0 or pinned[j] != 0.0:
                value = 1.0 if i == j else 0.0
            else:
                value = matrix[i * side + j]
                if i == j:
                    value *= 1.0 + damping
            diagonal = value
            for k in range(j):
                value -= factor[i * side + k] * factor[j * side + k]
            if i == j:
                if not value > 1e-14 * diagonal:
                    return False
                factor[i * side + i] = math.sqrt(value)
            else:
                factor[i * side + j] = value / factor[j * side + j]
    return True


@inlined_function
def solve(factor, n, side, right, solution):  # type: ignore[no-untyped-def]
    """Solve L L^T solution = right."""
    for i in range(n):
        value = right[i]
        for k in range(i):
            value -= factor[i * side + k] * solution[k]
        solution[i] = value / factor[i * side + i]
    for back in range(n):
        i = n - 1 - back
        value = solution[i]
        for k in range(i + 1, n):
            value -= factor[k * side + i] * solution[k]
        solution[i] = value / factor[i * side + i]


@inlined_function
def invert(matrix, n, side, pinned, factor, column, covariance):  # type: ignore[no-untyped-def]
    """Covariance as the inverse of the normal matrix over the parameters that are not pinned."""
    if not factorise(matrix, n, side, 0.0, pinned, factor):
        return False
    for j in range(n):
        for i in range(n):
            column[i] = 1.0 if i == j else 0.0
        solve(factor, n, side, column, column)
        for i in range(n):
            free = pinned[i] == 0.0 and pinned[j] == 0.0
            covariance[i * side + j] = column[i] if free else 0.0
    return True
