"""Service proxies, one file a proxy: the rules of a node, from the ports of Services.

node        the node that a proxy serves
iptables, nftables
            the rules of kube-proxy's modes
health      the health checks of load balancers that nodes answer
stale       flows of UDP that no longer fit the Services
planned     `with_services`: a plan with the rules of a proxy on every node
"""
