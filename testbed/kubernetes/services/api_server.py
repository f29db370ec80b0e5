"""The Service `kubernetes`, which every cluster has; the API server makes it and its endpoints."""

from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.services.admission import admitted
from testbed.kubernetes.services.ranges import NAME, Numbers, Ranges
from testbed.kubernetes.state import Metadata, Resource

NAMESPACE = "default"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def api_server(ranges: Ranges) -> Resource:
    """The Service: the first address of the primary range. It has no selector."""
    network = ranges.networks[0]
    data = {
        "spec": {
            "clusterIP": str(network[1]),
            "ports": [{"name": "https", "port": 443, "targetPort": 6443}],
        }
    }
    made = admitted(data, None, f"{NAMESPACE}/{NAME}", Numbers(ranges))
    return Resource(
        kind=BY_NAME["Service"],
        metadata=Metadata(name=NAME, namespace=NAMESPACE, labels=_LABELS),
        typed=made.typed,
        body={"spec": made.data["spec"]},
    )
