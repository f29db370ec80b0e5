"""The ports that observations use in a lab; probes have others."""

REACH_PORT = 7471
"""Of the first process that asks who reaches whom; a second one uses the next port, before WIRE_PORT is used."""
WIRE_PORT = 7472
"""Of what is looked for on the fabric."""
TRACE_PORT = 7474
"""Where the answerer of a trace listens, unless told otherwise."""
