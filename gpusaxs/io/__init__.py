"""Read curves from files: one module a format, each found by its module."""

from gpusaxs.io.curves import Extent
from gpusaxs.io.discover import Source, discover, extent, find_files, read

__all__ = ["Extent", "Source", "discover", "extent", "find_files", "read"]
