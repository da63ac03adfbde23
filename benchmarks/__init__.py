"""How fast gpusaxs is, beside the same work written with SciPy."""
