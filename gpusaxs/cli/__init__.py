"""The commands of gpusaxs: one file a command."""
