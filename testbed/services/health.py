"""The health checks that a proxy answers for load balancers: has a Service endpoints on this node?

Source: pkg/proxy/healthcheck/service_health.go of Kubernetes. Not here: kube-proxy's own check, port 10256.
"""

import json
from collections.abc import Iterable

from testbed.kubernetes.services.ports import ServicePort
from testbed.plan.objects.programs import OWN_PROGRAMS, PYTHON, File, Program, Says, Signal

PATH = "/etc/kube-proxy/health.json"
PROGRAM = "kube-proxy-health"


def health_checks(ports: Iterable[ServicePort], node: str) -> tuple[File, Program] | None:
    """The program of a node that answers, and its file; None if no Service has a health check."""
    addresses: dict[int, set[str]] = {}
    services: dict[int, tuple[str, str]] = {}
    for port in ports:
        if port.health_port:
            services[port.health_port] = port.namespace, port.service
            here = (one.address for one in port.endpoints if one.ready and one.node == node)
            addresses.setdefault(port.health_port, set()).update(here)
    if not services:
        return None
    data = {
        str(port): {"namespace": namespace, "name": name, "endpoints": len(addresses[port])}
        for port, (namespace, name) in sorted(services.items())
    }
    command = (PYTHON, "-I", "-S", f"{OWN_PROGRAMS}/service_health.py", PATH)
    program = Program(name=PROGRAM, command=command, ready=Says(), reload=Signal(), files=(PATH,))
    return File(PATH, json.dumps(data, indent=1) + "\n"), program
