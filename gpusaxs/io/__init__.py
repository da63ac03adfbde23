"""Read curves from files: one module a format, each found by its module."""

from gpusaxs.io.discover import Source, discover, read

__all__ = ["Source", "discover", "read"]
