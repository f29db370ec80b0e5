"""The ports that observations use in a lab; probes use others."""

REACH_PORT = 7471
"""Reachability questions. A second process uses the next port, before WIRE_PORT is in use."""
WIRE_PORT = 7472
"""Packets observed on the fabric."""
TRACE_PORT = 7474
"""Default port of a trace."""
