"""kube-router: BGP between all nodes, the CNI plugin `bridge`, and policies by iptables and ipset."""
