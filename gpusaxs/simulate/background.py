"""Smooth scattering: what lies under the lines, and what has no lines at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpusaxs.simulate.recipe import log_uniform

FloatArray = NDArray[np.float64]


def sphere_amplitude(x: ArrayLike) -> FloatArray:
    """3 (sin x - x cos x) / x^3, one at x = 0."""
    x = np.maximum(np.asarray(x, dtype=np.float64), 1e-3)
    return np.asarray(3.0 * (np.sin(x) - x * np.cos(x)) / x**3)


def spheres(q: FloatArray, radius: float, polydispersity: float) -> FloatArray:
    """Scattering of spheres, one at q = 0 for a single size; radius in nm.

    Parameters
    ----------
    q : (points,) float64
        In 1/nm.
    radius, polydispersity
        Mean (nm) of a normal distribution of radii, and its standard deviation over the mean.
    """
    # Steps under one radian of q r at the largest q, so that no false oscillation is left.
    count = 2 * int(np.clip(3.0 * polydispersity * radius * q[-1], 8, 120)) + 1
    steps = np.linspace(-3.0, 3.0, count)
    radii = radius * np.maximum(1.0 + polydispersity * steps, 0.05)
    weights = np.exp(-0.5 * steps**2) * (radii / radius) ** 6
    amplitude = sphere_amplitude(radii[:, None] * q)
    return np.asarray(weights @ amplitude**2 / weights.sum())


def teubner_strey(q: FloatArray, peak: float, fwhm: float) -> FloatArray:
    """Correlation hump of a microemulsion, one at its maximum (M. Teubner, R. Strey 1987).

    I = 1 / (a + c1 q^2 + c2 q^4), written with the position of the maximum and about its FWHM,
    both in 1/nm.
    """
    half = 0.5 * fwhm
    return np.asarray(1.0 / (1.0 + ((q**2 - peak**2) / (2.0 * peak * half)) ** 2))


def globule(q: FloatArray, radius_of_gyration: float, exponent: float) -> FloatArray:
    """Guinier law that continues smoothly as q^-exponent (B. Hammouda 2010), one at q = 0.

    The radius of gyration is in nm.
    """
    knee = np.sqrt(1.5 * exponent) / radius_of_gyration
    guinier = np.exp(-((q * radius_of_gyration) ** 2) / 3.0)
    porod = np.exp(-exponent / 2.0) * (np.maximum(q, 1e-12) / knee) ** -exponent
    return np.asarray(np.where(q < knee, guinier, porod))


def draw_background(rng: np.random.Generator, q: FloatArray, q_reference: float) -> FloatArray:
    """Smooth background of a Bragg curve, one at `q_reference` (1/nm); (points,) float64.

    A power law (exponent 2 to 4) that may level off at low q, a constant that may rise towards
    high q, and in two of three curves a hump: a form factor or diffuse scattering.
    """
    exponent = rng.uniform(2.0, 4.0)
    knee = q[0] * log_uniform(rng, 0.1, 3.0)
    power = ((q**2 + knee**2) / (q_reference**2 + knee**2)) ** (-exponent / 2.0)
    rise = rng.uniform(0.0, 0.5) * rng.integers(0, 2)
    level = (1.0 + rise * (q / q[-1]) ** 2) / (1.0 + rise * (q_reference / q[-1]) ** 2)
    share = rng.beta(0.8, 0.8)
    total = share * power + (1.0 - share) * level
    shape = int(rng.integers(0, 3))
    strength = log_uniform(rng, 0.2, 3.0)
    centre = q_reference * log_uniform(rng, 0.3, 2.5)
    width = rng.uniform(0.3, 0.8) * centre
    radius = rng.uniform(2.0, 6.0) / q_reference
    if shape == 1:
        total = total + strength * teubner_strey(q, centre, width)
    elif shape == 2:
        curve = spheres(q, radius, rng.uniform(0.1, 0.3))
        total = total + strength * curve / np.interp(1.0 / radius, q, curve)
    return np.asarray(total / np.interp(q_reference, q, total))
