"""Limits shared by the file formats and the command line."""

MAX_SEED = 2**32 - 1
"""Largest seed of a run; numpy's limit."""
MAX_ROUNDS = 1000
"""Largest number of rounds of a run."""
