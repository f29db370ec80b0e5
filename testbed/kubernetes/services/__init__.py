"""Services: what the API server and the EndpointSlice controller add to them, and what proxies make of both.

ranges      the ranges of cluster addresses and node ports, and how numbers are chosen from them
admission   defaults, addresses and ports of a Service, or why the API server refuses it
slices      EndpointSlices of a Service, from its pods
controller  `with_services`: the slices of all Services, computed again for those whose pods changed
ports       the ports of Services with their endpoints, as proxies read them; the endpoints that a node uses
oracle      `where`: which endpoints a packet to an address and port reaches, and the source address that they see
"""
