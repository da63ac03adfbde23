"""Numeric loops over one curve, compiled for the CPU and for a GPU from the same source.

Installed as ``gpusaxs.kernels``. Nothing is imported here, so that the plain constants of
`status` and `peak_table` can be read without loading Numba.
"""
