"""Prints a node's routes under each design, and whether a ping is answered.

sudo .venv/bin/python examples/routes_are_right.py
"""

from testbed import Lab

for design in ("l2", "l3-gateway", "l3-host-routes", "vxlan"):
    with Lab.up("topologies/two-nodes.yaml", design=design) as lab:
        print(f"--- {design}")
        lab["node1"].run(["ip", "route"], check=True)
        walk = lab.trace("client", "web-2")
        print(f"client to web-2: {walk.outcome}, seen on {len(walk.forth)} devices on its way")
