"""Many blocks of curves: from files to a run directory."""
