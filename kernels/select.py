"""Order statistics without allocation."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import device_function


@device_function
def select(values, count, rank):  # type: ignore[no-untyped-def]
    """Return the value of `rank` (from 0) among the first `count`; reorders them (C.A.R. Hoare).

    values : (at least count,) float64, without NaN
    """
    low = 0
    high = count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i = low
        j = high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]


@device_function
def median(values, count):  # type: ignore[no-untyped-def]
    """Return the (lower) median of the first `count` values; reorders them."""
    return select(values, count, (count - 1) // 2)
