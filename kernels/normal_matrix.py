"""Normal matrices of fits in which some parameters are pinned: factors, solutions, inverses.

They become a part of each fit, so that one with a fixed number of parameters has its loops unrolled
by the compiler: called, they take a fifth more of the whole fit. For the same reason they have no
branches and divide once a row.
"""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import inlined_function

# A pivot below this share of its diagonal element is rounding.
_SINGULAR = 1e-14


@inlined_function
def factorise(matrix, n, side, damping, pinned, factor):  # type: ignore[no-untyped-def]
    """Factors L D L^T of matrix + damping diag(matrix); pinned parameters become the identity.

    matrix : (side * side,) float64, the lower triangle of `n` rows of `side` numbers
    factor : (side * side,) float64; on return L below the diagonal, D L^T above it, and the
        inverse of D on it

    Returns False where the matrix is not positive definite.
    """
    definite = True
    for i in range(n):
        free = 1.0 - pinned[i]
        for j in range(i):
            value = matrix[i * side + j] * free * (1.0 - pinned[j])
            for k in range(j):
                value -= factor[i * side + k] * factor[k * side + j]
            factor[j * side + i] = value
            factor[i * side + j] = value * factor[j * side + j]
        diagonal = matrix[i * side + i] * (1.0 + damping) * free + pinned[i]
        value = diagonal
        for k in range(i):
            value -= factor[i * side + k] * factor[k * side + i]
        sound = value > _SINGULAR * diagonal
        definite = definite & sound
        factor[i * side + i] = 1.0 / (value if sound else 1.0)
    return definite


@inlined_function
def eliminate(factor, n, side, right, solution):  # type: ignore[no-untyped-def]
    """Solve L solution = right; both may be the same."""
    for i in range(n):
        value = right[i]
        for k in range(i):
            value -= factor[i * side + k] * solution[k]
        solution[i] = value


@inlined_function
def substitute(factor, n, side, solution):  # type: ignore[no-untyped-def]
    """Solve D L^T x = solution in its place."""
    for back in range(n):
        i = n - 1 - back
        value = solution[i] * factor[i * side + i]
        for k in range(i + 1, n):
            value -= factor[k * side + i] * solution[k]
        solution[i] = value


@inlined_function
def solve(factor, n, side, right, solution):  # type: ignore[no-untyped-def]
    """Solve L D L^T solution = right; both may be the same."""
    eliminate(factor, n, side, right, solution)
    substitute(factor, n, side, solution)


@inlined_function
def invert(matrix, n, side, pinned, factor, covariance):  # type: ignore[no-untyped-def]
    """Covariance as the inverse of the normal matrix over the parameters that are not pinned.

    From L^-1, which is built where the covariance comes to stand.
    """
    if not factorise(matrix, n, side, 0.0, pinned, factor):
        return False
    for i in range(n):
        for j in range(i):
            value = -factor[i * side + j]
            for k in range(j + 1, i):
                value -= factor[i * side + k] * covariance[k * side + j]
            covariance[i * side + j] = value
    for i in range(n):
        for j in range(i + 1):
            value = factor[i * side + i]
            value = value * covariance[i * side + j] if j < i else value * (1.0 - pinned[i])
            for k in range(i + 1, n):
                value += covariance[k * side + i] * covariance[k * side + j] * factor[k * side + k]
            covariance[i * side + j] = value
            covariance[j * side + i] = value
    return True
