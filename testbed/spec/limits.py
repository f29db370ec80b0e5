"""Limits of what a user may write, shared by the file formats and the command line."""

MAX_SEED = 2**32 - 1
"""Of the seed of a run; numpy takes no more."""
