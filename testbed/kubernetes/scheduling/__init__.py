"""The scheduler: which node each pod runs on, or why none will do.

Each filter has a file: `fixed` (what depends on pod and node alone: names, labels, taints), `ports`, `neighbours` (pod
affinity and anti-affinity) and `spread`. `preferences` weighs the nodes that are left; between equal nodes the one with
the fewest pods of the same workload, then the fewest pods, then the first wins. `placing` puts it together.
"""

from testbed.kubernetes.scheduling.placing import schedule

__all__ = ["schedule"]
