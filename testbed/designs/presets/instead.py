"""Designs to use instead of CNI plugins that work only with the agent of their CNI."""

from collections.abc import Mapping

_PRESETS = {
    "Calico": ("calico-bgp", ("calico", "calico-ipam")),
    "Cilium": ("cilium-native", ("cilium-cni",)),
    "Weave Net": ("weave-fastdp", ("weave-net", "weave-ipam")),
}
"""By CNI: the preset, and its plugins."""
_AGENTS = {
    "Antrea": ("antrea",),
    "AWS VPC CNI": ("aws-cni", "egress-cni"),
    "Azure CNI": ("azure-vnet", "azure-vnet-ipam", "azure-ipam"),
    "Canal": ("canal",),
    "Kube-OVN": ("kube-ovn",),
    "OpenShift SDN": ("openshift-sdn",),
    "Open vSwitch CNI": ("ovs",),
    "OVN-Kubernetes": ("ovn-k8s-cni-overlay",),
    "SR-IOV": ("sriov", "ib-sriov"),
}
"""CNIs without a preset."""
INSTEAD: Mapping[str, str] = {
    **{
        plugin: f"it needs {cni}'s agent; use the design {preset}, or others of {cni} in `testbed designs`"
        for cni, (preset, plugins) in _PRESETS.items()
        for plugin in plugins
    },
    **{
        plugin: f"it needs {cni}'s agent, which the testbed does not have; `testbed designs` lists what it has"
        for cni, plugins in _AGENTS.items()
        for plugin in plugins
    },
    "cilium-chaining": "it needs Cilium's agent; use the design cilium-native",
    "multus": "it calls the plugins of other networks; use the configuration of the one that attaches eth0 (delegates, "
    "or clusterNetwork) as the design",
    "multus-shim": "it calls the plugins of other networks; use the configuration of the one that attaches eth0",
    "whereabouts": "it stores its addresses in the Kubernetes API; use host-local with {{ node.pod_cidr }} instead",
    "istio-cni": "it redirects traffic to Istio's proxies, which labs do not have; remove it from `plugins`",
    "linkerd-cni": "it redirects traffic to Linkerd's proxies, which labs do not have; remove it from `plugins`",
}
"""What to do if a plugin is missing, by its name."""
