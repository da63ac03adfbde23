"""Curves of particles in solution whose answers are known."""

from __future__ import annotations

import numpy as np

Q = np.linspace(0.05, 5.0, 600)
I0 = 100.0


def sphere(q, radius):
    """Form factor of a sphere, 1 at q = 0 (Lord Rayleigh 1910)."""
    x = q * radius
    return (3.0 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2


def chain(q, rg):
    """Form factor of a Gaussian chain (P. Debye 1947)."""
    u = (q * rg) ** 2
    return 2.0 * (np.exp(-u) + u - 1.0) / u**2


def globule(q, rg):
    """Guinier's law to q Rg = sqrt(6), Porod's from there on (B. Hammouda 2010)."""
    u = (q * rg) ** 2
    porod = np.exp(-2.0) * 36.0 / np.maximum(u, 1e-9) ** 2
    return np.where(u <= 6.0, np.exp(-u / 3.0), porod)


def noise_of(intensity, relative):
    """Standard uncertainty as counting has it: `relative` at I0, and a floor for the detector."""
    return relative * np.sqrt(intensity * I0 + 1e-3 * I0**2)


def drawn(intensity, sigma, curves, seed):
    """Curves with normal noise; (curves, points) both."""
    rng = np.random.default_rng(seed)
    rows = intensity + sigma * rng.standard_normal((curves, intensity.size))
    return rows, np.broadcast_to(sigma, rows.shape).copy()
