"""Service proxies, one file a proxy: the rules of a node, from the ports of Services.

node        the node that a proxy serves
iptables, nftables
            the rules of kube-proxy's modes
planned     `with_services`: a plan with the rules of a proxy on every node
"""
