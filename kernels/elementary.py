"""Elementary functions that LLVM can vectorise: the usual ones are calls, one point at a time."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import device_function

# exp(-41) is 1.6e-18: nothing beside one.
_NOTHING = 41.0


@device_function
def exp_minus(x):  # type: ignore[no-untyped-def]
    """exp(-x) for x >= 0, within 1e-13 of it; beyond x = 41 it stays at exp(-41).

    The Taylor series of exp(-x / 256), squared eight times: sums and products alone.
    """
    t = -min(x, _NOTHING) * 0.00390625
    y = 1.0 + t * (
        1.0
        + t
        * (
            0.5
            + t
            * (
                1.0 / 6.0
                + t
                * (
                    1.0 / 24.0
                    + t * (1.0 / 120.0 + t * (1.0 / 720.0 + t * (1.0 / 5040.0 + t / 40320.0)))
                )
            )
        )
    )
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    return y
