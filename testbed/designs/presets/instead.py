"""Designs to use instead of CNI plugins that work only with the agent of their CNI."""

from collections.abc import Mapping

_PRESETS = {
    "Calico": ("calico-bgp", ("calico", "calico-ipam")),
    "Cilium": ("cilium-native", ("cilium-cni",)),
    "Weave Net": ("weave-fastdp", ("weave-net", "weave-ipam")),
}
"""By CNI: the preset, and its plugins."""
_AGENTS = {
    "Amazon": ("aws-cni", "egress-cni"),
    "Antrea": ("antrea",),
    "Azure": ("azure-vnet", "azure-vnet-ipam", "azure-ipam"),
    "Kube-OVN": ("kube-ovn",),
    "OpenShift SDN": ("openshift-sdn",),
    "OVN-Kubernetes": ("ovn-k8s-cni-overlay",),
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
    "sriov": "it needs hardware with virtual functions; use macvlan with the master eth0",
    "ib-sriov": "it needs InfiniBand hardware with virtual functions",
    "ovs": "it needs the daemons of Open vSwitch; use bridge",
    "cnv-bridge": "it is the plugin bridge under another name; write bridge",
    "cnv-tuning": "it is the plugin tuning under another name; write tuning",
    "macvtap": "it needs KubeVirt's device plugin; use macvlan",
    "multus": "it calls the plugins of other networks; use the configuration of the one that attaches eth0 (delegates, "
    "or clusterNetwork) as the design",
    "multus-shim": "it calls the plugins of other networks; use the configuration of the one that attaches eth0",
    "whereabouts": "it stores its addresses in the Kubernetes API; use host-local with {{ node.pod_cidr }} instead",
    "istio-cni": "it redirects traffic to Istio's proxies, which labs do not have; remove it from `plugins`",
    "linkerd-cni": "it redirects traffic to Linkerd's proxies, which labs do not have; remove it from `plugins`",
}
"""What to do if a plugin is missing, by its name."""
