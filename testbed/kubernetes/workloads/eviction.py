"""Pods that cannot stay on their node: the node is gone, or has a NoExecute taint that they do not tolerate."""

from testbed.kubernetes.deleting import terminated
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.scheduling.fixed import tolerated
from testbed.kubernetes.state import ClusterState, Pod


def without_evicted(state: ClusterState) -> ClusterState:
    """The state with pods on tainted nodes terminating, and without the pods of nodes that are gone.

    Pods that name their node themselves wait for it. A toleration with tolerationSeconds is kept without end.
    """
    nodes = {name: node.typed for (_, name), node in state.of("Node").items()}
    taints = {
        name: [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
        for name, node in nodes.items()
        if isinstance(node, Node)
    }
    evicted: list[Pod] = []
    lost: list[Pod] = []
    for pod in state.pods:
        if not pod.node or pod.is_finished:
            continue
        if pod.node not in taints:
            lost += [] if pod.spec.node_name else [pod]
        elif not pod.is_terminating and not all(tolerated(pod.spec, taint) for taint in taints[pod.node]):
            evicted.append(pod)
    return state.changed((terminated(pod, state.now) for pod in evicted), lost) if evicted or lost else state
