"""Observe a living lab: reachability, packet paths, differences from the plan.

Nothing is changed, except what the kernel learns from packets.
"""
