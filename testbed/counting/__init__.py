"""Counts the instructions of packets' paths, in a virtual machine whose clock counts instructions."""
