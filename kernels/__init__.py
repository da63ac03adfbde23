"""Numeric loops over one curve, compiled for the CPU and for a GPU from the same source.

`number_table` alone runs on the CPU only: it parses the text in which a curve comes.

Installed as ``gpusaxs.kernels``. Nothing is imported here, so that the plain constants of
`status` and `peak_table` can be read without loading Numba.
"""
