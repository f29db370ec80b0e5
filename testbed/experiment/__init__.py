"""Experiments: the schedule of rounds, running it, and the results on disk."""
