"""Order statistics without allocation."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import device_function


@device_function
def gather(values, first, last, pivot, equal):  # type: ignore[no-untyped-def]
    """Put what is below `pivot`, or `equal` to it too, before the others; return their end.

    Every value is swapped, whether it belongs there or not (N. Lomuto's partition): there is no
    branch that could be mispredicted.
    """
    part = values[first : last + 1]
    end = 0
    for i in range(part.shape[0]):
        value = part[i]
        part[i] = part[end]
        part[end] = value
        end += (value < pivot) | (equal & (value == pivot))
    return first + end


@device_function
def middle_of(one, two, three):  # type: ignore[no-untyped-def]
    """Median of three."""
    low = one if one < two else two
    high = two if one < two else one
    high = high if high < three else three
    return low if low > high else high


@device_function
def select(values, count, rank):  # type: ignore[no-untyped-def]
    """Return the value of `rank` (from 0) among the first `count`; reorders them (C.A.R. Hoare).

    values : (at least count,) float64, without NaN (with one, any of them is returned)
    """
    low = 0
    high = count - 1
    while low < high:
        pivot = middle_of(values[low], values[(low + high) // 2], values[high])
        above = gather(values, low, high, pivot, False)
        if rank < above:
            high = above - 1
            continue
        low = above
        above = gather(values, low, high, pivot, True)
        # A pivot that is NaN is not even equal to itself.
        if rank < above or above == low:
            break
        low = above
    return values[rank]


@device_function
def median(values, count):  # type: ignore[no-untyped-def]
    """Return the (lower) median of the first `count` values; reorders them."""
    return select(values, count, (count - 1) // 2)
