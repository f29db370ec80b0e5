#!/bin/sh -e
# Topology dual-homed under the design l3-gateway; pods have an MTU of 1500.
# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;
#   . ./THIS-FILE; exec sh'

# --- Namespaces
ip netns add leaf1    # a router of the fabric
ip netns add leaf2    # a router of the fabric
ip netns add leaf3    # a router of the fabric
ip netns add leaf4    # a router of the fabric
ip netns add spine1    # a router of the fabric
ip netns add spine2    # a router of the fabric
ip netns add node1    # a node
ip netns add node2    # a node
ip netns add node3    # a node
ip netns add client    # a pod on node1
ip netns add web-1    # a pod on node1
ip netns add web-2    # a pod on node2
ip netns add web-3    # a pod on node3

# --- leaf1: settings and devices
ip netns exec leaf1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n leaf1 link set lo up

# --- leaf2: settings and devices
ip netns exec leaf2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n leaf2 link set lo up

# --- leaf3: settings and devices
ip netns exec leaf3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n leaf3 link set lo up

# --- leaf4: settings and devices
ip netns exec leaf4 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n leaf4 link set lo up

# --- spine1: settings and devices
ip netns exec spine1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n spine1 link set lo up

# --- spine2: settings and devices
ip netns exec spine2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
ip -n spine2 link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip netns exec node1 sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node1 link set lo up
ip -n node1 link add kube-bridge index 129 address 02:e3:1c:80:29:64 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node1 link set kube-bridge up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip netns exec node2 sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node2 link set lo up
ip -n node2 link add kube-bridge index 134 address 02:8d:33:fd:2b:22 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node2 link set kube-bridge up

# --- node3: settings and devices
ip netns exec node3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip netns exec node3 sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node3 link set lo up
ip -n node3 link add kube-bridge index 137 address 02:0a:aa:15:b2:a1 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node3 link set kube-bridge up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-2 link set lo up

# --- web-3: settings and devices
ip netns exec web-3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-3 link set lo up

# --- Cables: veth pairs, each end in its namespace
ip link add to-spine1 index 101 netns leaf1 address 02:5d:8d:46:cf:eb mtu 1500 type veth peer name to-leaf1 index 102 netns spine1 address 02:f6:8a:82:02:18 mtu 1500
ip -n leaf1 link set to-spine1 up
ip -n spine1 link set to-leaf1 up
ip link add to-spine2 index 103 netns leaf1 address 02:30:6c:08:c3:f0 mtu 1500 type veth peer name to-leaf1 index 104 netns spine2 address 02:02:bf:e1:a4:be mtu 1500
ip -n leaf1 link set to-spine2 up
ip -n spine2 link set to-leaf1 up
ip link add to-spine1 index 105 netns leaf2 address 02:94:43:aa:00:37 mtu 1500 type veth peer name to-leaf2 index 106 netns spine1 address 02:b5:41:e7:89:36 mtu 1500
ip -n leaf2 link set to-spine1 up
ip -n spine1 link set to-leaf2 up
ip link add to-spine2 index 107 netns leaf2 address 02:5a:14:e4:31:c1 mtu 1500 type veth peer name to-leaf2 index 108 netns spine2 address 02:86:4a:52:59:63 mtu 1500
ip -n leaf2 link set to-spine2 up
ip -n spine2 link set to-leaf2 up
ip link add to-spine1 index 109 netns leaf3 address 02:0c:94:ef:63:18 mtu 1500 type veth peer name to-leaf3 index 110 netns spine1 address 02:08:52:e0:fa:41 mtu 1500
ip -n leaf3 link set to-spine1 up
ip -n spine1 link set to-leaf3 up
ip link add to-spine2 index 111 netns leaf3 address 02:2c:d9:eb:ba:8e mtu 1500 type veth peer name to-leaf3 index 112 netns spine2 address 02:d2:a2:5f:d4:b4 mtu 1500
ip -n leaf3 link set to-spine2 up
ip -n spine2 link set to-leaf3 up
ip link add to-spine1 index 113 netns leaf4 address 02:3c:a6:5e:36:ab mtu 1500 type veth peer name to-leaf4 index 114 netns spine1 address 02:33:4a:b3:b0:35 mtu 1500
ip -n leaf4 link set to-spine1 up
ip -n spine1 link set to-leaf4 up
ip link add to-spine2 index 115 netns leaf4 address 02:0c:50:4f:6b:e1 mtu 1500 type veth peer name to-leaf4 index 116 netns spine2 address 02:75:f5:cb:a8:ff mtu 1500
ip -n leaf4 link set to-spine2 up
ip -n spine2 link set to-leaf4 up
ip link add eth0 index 117 netns node1 address 02:8b:a1:fa:84:72 mtu 1500 type veth peer name to-node1 index 118 netns leaf1 address 02:dc:6d:fb:14:e5 mtu 1500
ip -n node1 link set eth0 up
ip -n leaf1 link set to-node1 up
ip link add eth1 index 119 netns node1 address 02:2d:93:2c:18:c0 mtu 1500 type veth peer name to-node1 index 120 netns leaf2 address 02:8e:64:19:14:01 mtu 1500
ip -n node1 link set eth1 up
ip -n leaf2 link set to-node1 up
ip link add eth0 index 121 netns node2 address 02:43:11:61:5f:d5 mtu 1500 type veth peer name to-node2 index 122 netns leaf3 address 02:75:56:c4:ab:ce mtu 1500
ip -n node2 link set eth0 up
ip -n leaf3 link set to-node2 up
ip link add eth1 index 123 netns node2 address 02:e8:03:fb:4f:0b mtu 1500 type veth peer name to-node2 index 124 netns leaf4 address 02:c4:19:f9:73:78 mtu 1500
ip -n node2 link set eth1 up
ip -n leaf4 link set to-node2 up
ip link add eth0 index 125 netns node3 address 02:aa:b9:70:e4:b4 mtu 1500 type veth peer name to-node3 index 126 netns leaf1 address 02:0e:3f:4d:b9:04 mtu 1500
ip -n node3 link set eth0 up
ip -n leaf1 link set to-node3 up
ip link add eth1 index 127 netns node3 address 02:39:25:72:aa:33 mtu 1500 type veth peer name to-node3 index 128 netns leaf2 address 02:c5:1c:41:5a:46 mtu 1500
ip -n node3 link set eth1 up
ip -n leaf2 link set to-node3 up
ip link add veth-client index 130 netns node1 address 02:ac:6f:9b:bd:2a mtu 1500 type veth peer name eth0 index 131 netns client address 02:9b:d1:f3:d1:55 mtu 1500
ip -n node1 link set veth-client master kube-bridge up
ip -n client link set eth0 up
ip link add veth-web-1 index 132 netns node1 address 02:cd:c8:33:52:d7 mtu 1500 type veth peer name eth0 index 133 netns web-1 address 02:3e:4e:09:16:3e mtu 1500
ip -n node1 link set veth-web-1 master kube-bridge up
ip -n web-1 link set eth0 up
ip link add veth-web-2 index 135 netns node2 address 02:eb:2d:6d:ae:48 mtu 1500 type veth peer name eth0 index 136 netns web-2 address 02:8a:17:62:53:70 mtu 1500
ip -n node2 link set veth-web-2 master kube-bridge up
ip -n web-2 link set eth0 up
ip link add veth-web-3 index 138 netns node3 address 02:13:7f:6e:db:1a mtu 1500 type veth peer name eth0 index 139 netns web-3 address 02:d1:de:bc:d3:9a mtu 1500
ip -n node3 link set veth-web-3 master kube-bridge up
ip -n web-3 link set eth0 up

# --- leaf1: addresses and routes
ip -n leaf1 address add 172.31.0.0/31 dev to-spine1
ip -n leaf1 address add fd00:172:31::/127 dev to-spine1
ip -n leaf1 address add 172.31.0.2/31 dev to-spine2
ip -n leaf1 address add fd00:172:31::2/127 dev to-spine2
ip -n leaf1 address add 172.31.0.17/31 dev to-node1
ip -n leaf1 address add fd00:172:31::11/127 dev to-node1
ip -n leaf1 address add 172.31.0.25/31 dev to-node3
ip -n leaf1 address add fd00:172:31::19/127 dev to-node3
ip -n leaf1 -4 route add 192.168.0.1/32 via 172.31.0.16 dev to-node1
ip -n leaf1 -6 route add fd00:192:168::1/128 via fd00:172:31::10 dev to-node1
ip -n leaf1 -4 route add 10.244.0.0/24 via 172.31.0.16 dev to-node1
ip -n leaf1 -6 route add fd00:10:244::/64 via fd00:172:31::10 dev to-node1
ip -n leaf1 -4 route add 192.168.0.2/32 nexthop via 172.31.0.1 dev to-spine1 nexthop via 172.31.0.3 dev to-spine2
ip -n leaf1 -6 route add fd00:192:168::2/128 nexthop via fd00:172:31::1 dev to-spine1 nexthop via fd00:172:31::3 dev to-spine2
ip -n leaf1 -4 route add 10.244.1.0/24 nexthop via 172.31.0.1 dev to-spine1 nexthop via 172.31.0.3 dev to-spine2
ip -n leaf1 -6 route add fd00:10:244:1::/64 nexthop via fd00:172:31::1 dev to-spine1 nexthop via fd00:172:31::3 dev to-spine2
ip -n leaf1 -4 route add 192.168.0.3/32 via 172.31.0.24 dev to-node3
ip -n leaf1 -6 route add fd00:192:168::3/128 via fd00:172:31::18 dev to-node3
ip -n leaf1 -4 route add 10.244.2.0/24 via 172.31.0.24 dev to-node3
ip -n leaf1 -6 route add fd00:10:244:2::/64 via fd00:172:31::18 dev to-node3
ip -n leaf1 -4 route add 172.31.0.4/31 via 172.31.0.1 dev to-spine1
ip -n leaf1 -6 route add fd00:172:31::4/127 via fd00:172:31::1 dev to-spine1
ip -n leaf1 -4 route add 172.31.0.8/31 via 172.31.0.1 dev to-spine1
ip -n leaf1 -6 route add fd00:172:31::8/127 via fd00:172:31::1 dev to-spine1
ip -n leaf1 -4 route add 172.31.0.12/31 via 172.31.0.1 dev to-spine1
ip -n leaf1 -6 route add fd00:172:31::c/127 via fd00:172:31::1 dev to-spine1

# --- leaf2: addresses and routes
ip -n leaf2 address add 172.31.0.4/31 dev to-spine1
ip -n leaf2 address add fd00:172:31::4/127 dev to-spine1
ip -n leaf2 address add 172.31.0.6/31 dev to-spine2
ip -n leaf2 address add fd00:172:31::6/127 dev to-spine2
ip -n leaf2 address add 172.31.0.19/31 dev to-node1
ip -n leaf2 address add fd00:172:31::13/127 dev to-node1
ip -n leaf2 address add 172.31.0.27/31 dev to-node3
ip -n leaf2 address add fd00:172:31::1b/127 dev to-node3
ip -n leaf2 -4 route add 192.168.0.1/32 via 172.31.0.18 dev to-node1
ip -n leaf2 -6 route add fd00:192:168::1/128 via fd00:172:31::12 dev to-node1
ip -n leaf2 -4 route add 10.244.0.0/24 via 172.31.0.18 dev to-node1
ip -n leaf2 -6 route add fd00:10:244::/64 via fd00:172:31::12 dev to-node1
ip -n leaf2 -4 route add 192.168.0.2/32 nexthop via 172.31.0.5 dev to-spine1 nexthop via 172.31.0.7 dev to-spine2
ip -n leaf2 -6 route add fd00:192:168::2/128 nexthop via fd00:172:31::5 dev to-spine1 nexthop via fd00:172:31::7 dev to-spine2
ip -n leaf2 -4 route add 10.244.1.0/24 nexthop via 172.31.0.5 dev to-spine1 nexthop via 172.31.0.7 dev to-spine2
ip -n leaf2 -6 route add fd00:10:244:1::/64 nexthop via fd00:172:31::5 dev to-spine1 nexthop via fd00:172:31::7 dev to-spine2
ip -n leaf2 -4 route add 192.168.0.3/32 via 172.31.0.26 dev to-node3
ip -n leaf2 -6 route add fd00:192:168::3/128 via fd00:172:31::1a dev to-node3
ip -n leaf2 -4 route add 10.244.2.0/24 via 172.31.0.26 dev to-node3
ip -n leaf2 -6 route add fd00:10:244:2::/64 via fd00:172:31::1a dev to-node3
ip -n leaf2 -4 route add 172.31.0.0/31 via 172.31.0.5 dev to-spine1
ip -n leaf2 -6 route add fd00:172:31::/127 via fd00:172:31::5 dev to-spine1
ip -n leaf2 -4 route add 172.31.0.2/31 via 172.31.0.7 dev to-spine2
ip -n leaf2 -6 route add fd00:172:31::2/127 via fd00:172:31::7 dev to-spine2
ip -n leaf2 -4 route add 172.31.0.8/31 via 172.31.0.5 dev to-spine1
ip -n leaf2 -6 route add fd00:172:31::8/127 via fd00:172:31::5 dev to-spine1
ip -n leaf2 -4 route add 172.31.0.12/31 via 172.31.0.5 dev to-spine1
ip -n leaf2 -6 route add fd00:172:31::c/127 via fd00:172:31::5 dev to-spine1

# --- leaf3: addresses and routes
ip -n leaf3 address add 172.31.0.8/31 dev to-spine1
ip -n leaf3 address add fd00:172:31::8/127 dev to-spine1
ip -n leaf3 address add 172.31.0.10/31 dev to-spine2
ip -n leaf3 address add fd00:172:31::a/127 dev to-spine2
ip -n leaf3 address add 172.31.0.21/31 dev to-node2
ip -n leaf3 address add fd00:172:31::15/127 dev to-node2
ip -n leaf3 -4 route add 192.168.0.1/32 nexthop via 172.31.0.9 dev to-spine1 nexthop via 172.31.0.11 dev to-spine2
ip -n leaf3 -6 route add fd00:192:168::1/128 nexthop via fd00:172:31::9 dev to-spine1 nexthop via fd00:172:31::b dev to-spine2
ip -n leaf3 -4 route add 10.244.0.0/24 nexthop via 172.31.0.9 dev to-spine1 nexthop via 172.31.0.11 dev to-spine2
ip -n leaf3 -6 route add fd00:10:244::/64 nexthop via fd00:172:31::9 dev to-spine1 nexthop via fd00:172:31::b dev to-spine2
ip -n leaf3 -4 route add 192.168.0.2/32 via 172.31.0.20 dev to-node2
ip -n leaf3 -6 route add fd00:192:168::2/128 via fd00:172:31::14 dev to-node2
ip -n leaf3 -4 route add 10.244.1.0/24 via 172.31.0.20 dev to-node2
ip -n leaf3 -6 route add fd00:10:244:1::/64 via fd00:172:31::14 dev to-node2
ip -n leaf3 -4 route add 192.168.0.3/32 nexthop via 172.31.0.9 dev to-spine1 nexthop via 172.31.0.11 dev to-spine2
ip -n leaf3 -6 route add fd00:192:168::3/128 nexthop via fd00:172:31::9 dev to-spine1 nexthop via fd00:172:31::b dev to-spine2
ip -n leaf3 -4 route add 10.244.2.0/24 nexthop via 172.31.0.9 dev to-spine1 nexthop via 172.31.0.11 dev to-spine2
ip -n leaf3 -6 route add fd00:10:244:2::/64 nexthop via fd00:172:31::9 dev to-spine1 nexthop via fd00:172:31::b dev to-spine2
ip -n leaf3 -4 route add 172.31.0.0/31 via 172.31.0.9 dev to-spine1
ip -n leaf3 -6 route add fd00:172:31::/127 via fd00:172:31::9 dev to-spine1
ip -n leaf3 -4 route add 172.31.0.2/31 via 172.31.0.11 dev to-spine2
ip -n leaf3 -6 route add fd00:172:31::2/127 via fd00:172:31::b dev to-spine2
ip -n leaf3 -4 route add 172.31.0.4/31 via 172.31.0.9 dev to-spine1
ip -n leaf3 -6 route add fd00:172:31::4/127 via fd00:172:31::9 dev to-spine1
ip -n leaf3 -4 route add 172.31.0.12/31 via 172.31.0.9 dev to-spine1
ip -n leaf3 -6 route add fd00:172:31::c/127 via fd00:172:31::9 dev to-spine1

# --- leaf4: addresses and routes
ip -n leaf4 address add 172.31.0.12/31 dev to-spine1
ip -n leaf4 address add fd00:172:31::c/127 dev to-spine1
ip -n leaf4 address add 172.31.0.14/31 dev to-spine2
ip -n leaf4 address add fd00:172:31::e/127 dev to-spine2
ip -n leaf4 address add 172.31.0.23/31 dev to-node2
ip -n leaf4 address add fd00:172:31::17/127 dev to-node2
ip -n leaf4 -4 route add 192.168.0.1/32 nexthop via 172.31.0.13 dev to-spine1 nexthop via 172.31.0.15 dev to-spine2
ip -n leaf4 -6 route add fd00:192:168::1/128 nexthop via fd00:172:31::d dev to-spine1 nexthop via fd00:172:31::f dev to-spine2
ip -n leaf4 -4 route add 10.244.0.0/24 nexthop via 172.31.0.13 dev to-spine1 nexthop via 172.31.0.15 dev to-spine2
ip -n leaf4 -6 route add fd00:10:244::/64 nexthop via fd00:172:31::d dev to-spine1 nexthop via fd00:172:31::f dev to-spine2
ip -n leaf4 -4 route add 192.168.0.2/32 via 172.31.0.22 dev to-node2
ip -n leaf4 -6 route add fd00:192:168::2/128 via fd00:172:31::16 dev to-node2
ip -n leaf4 -4 route add 10.244.1.0/24 via 172.31.0.22 dev to-node2
ip -n leaf4 -6 route add fd00:10:244:1::/64 via fd00:172:31::16 dev to-node2
ip -n leaf4 -4 route add 192.168.0.3/32 nexthop via 172.31.0.13 dev to-spine1 nexthop via 172.31.0.15 dev to-spine2
ip -n leaf4 -6 route add fd00:192:168::3/128 nexthop via fd00:172:31::d dev to-spine1 nexthop via fd00:172:31::f dev to-spine2
ip -n leaf4 -4 route add 10.244.2.0/24 nexthop via 172.31.0.13 dev to-spine1 nexthop via 172.31.0.15 dev to-spine2
ip -n leaf4 -6 route add fd00:10:244:2::/64 nexthop via fd00:172:31::d dev to-spine1 nexthop via fd00:172:31::f dev to-spine2
ip -n leaf4 -4 route add 172.31.0.0/31 via 172.31.0.13 dev to-spine1
ip -n leaf4 -6 route add fd00:172:31::/127 via fd00:172:31::d dev to-spine1
ip -n leaf4 -4 route add 172.31.0.2/31 via 172.31.0.15 dev to-spine2
ip -n leaf4 -6 route add fd00:172:31::2/127 via fd00:172:31::f dev to-spine2
ip -n leaf4 -4 route add 172.31.0.4/31 via 172.31.0.13 dev to-spine1
ip -n leaf4 -6 route add fd00:172:31::4/127 via fd00:172:31::d dev to-spine1
ip -n leaf4 -4 route add 172.31.0.8/31 via 172.31.0.13 dev to-spine1
ip -n leaf4 -6 route add fd00:172:31::8/127 via fd00:172:31::d dev to-spine1

# --- spine1: addresses and routes
ip -n spine1 address add 172.31.0.1/31 dev to-leaf1
ip -n spine1 address add fd00:172:31::1/127 dev to-leaf1
ip -n spine1 address add 172.31.0.5/31 dev to-leaf2
ip -n spine1 address add fd00:172:31::5/127 dev to-leaf2
ip -n spine1 address add 172.31.0.9/31 dev to-leaf3
ip -n spine1 address add fd00:172:31::9/127 dev to-leaf3
ip -n spine1 address add 172.31.0.13/31 dev to-leaf4
ip -n spine1 address add fd00:172:31::d/127 dev to-leaf4
ip -n spine1 -4 route add 192.168.0.1/32 nexthop via 172.31.0.0 dev to-leaf1 nexthop via 172.31.0.4 dev to-leaf2
ip -n spine1 -6 route add fd00:192:168::1/128 nexthop via fd00:172:31:: dev to-leaf1 nexthop via fd00:172:31::4 dev to-leaf2
ip -n spine1 -4 route add 10.244.0.0/24 nexthop via 172.31.0.0 dev to-leaf1 nexthop via 172.31.0.4 dev to-leaf2
ip -n spine1 -6 route add fd00:10:244::/64 nexthop via fd00:172:31:: dev to-leaf1 nexthop via fd00:172:31::4 dev to-leaf2
ip -n spine1 -4 route add 192.168.0.2/32 nexthop via 172.31.0.8 dev to-leaf3 nexthop via 172.31.0.12 dev to-leaf4
ip -n spine1 -6 route add fd00:192:168::2/128 nexthop via fd00:172:31::8 dev to-leaf3 nexthop via fd00:172:31::c dev to-leaf4
ip -n spine1 -4 route add 10.244.1.0/24 nexthop via 172.31.0.8 dev to-leaf3 nexthop via 172.31.0.12 dev to-leaf4
ip -n spine1 -6 route add fd00:10:244:1::/64 nexthop via fd00:172:31::8 dev to-leaf3 nexthop via fd00:172:31::c dev to-leaf4
ip -n spine1 -4 route add 192.168.0.3/32 nexthop via 172.31.0.0 dev to-leaf1 nexthop via 172.31.0.4 dev to-leaf2
ip -n spine1 -6 route add fd00:192:168::3/128 nexthop via fd00:172:31:: dev to-leaf1 nexthop via fd00:172:31::4 dev to-leaf2
ip -n spine1 -4 route add 10.244.2.0/24 nexthop via 172.31.0.0 dev to-leaf1 nexthop via 172.31.0.4 dev to-leaf2
ip -n spine1 -6 route add fd00:10:244:2::/64 nexthop via fd00:172:31:: dev to-leaf1 nexthop via fd00:172:31::4 dev to-leaf2
ip -n spine1 -4 route add 172.31.0.2/31 via 172.31.0.0 dev to-leaf1
ip -n spine1 -6 route add fd00:172:31::2/127 via fd00:172:31:: dev to-leaf1

# --- spine2: addresses and routes
ip -n spine2 address add 172.31.0.3/31 dev to-leaf1
ip -n spine2 address add fd00:172:31::3/127 dev to-leaf1
ip -n spine2 address add 172.31.0.7/31 dev to-leaf2
ip -n spine2 address add fd00:172:31::7/127 dev to-leaf2
ip -n spine2 address add 172.31.0.11/31 dev to-leaf3
ip -n spine2 address add fd00:172:31::b/127 dev to-leaf3
ip -n spine2 address add 172.31.0.15/31 dev to-leaf4
ip -n spine2 address add fd00:172:31::f/127 dev to-leaf4
ip -n spine2 -4 route add 192.168.0.1/32 nexthop via 172.31.0.2 dev to-leaf1 nexthop via 172.31.0.6 dev to-leaf2
ip -n spine2 -6 route add fd00:192:168::1/128 nexthop via fd00:172:31::2 dev to-leaf1 nexthop via fd00:172:31::6 dev to-leaf2
ip -n spine2 -4 route add 10.244.0.0/24 nexthop via 172.31.0.2 dev to-leaf1 nexthop via 172.31.0.6 dev to-leaf2
ip -n spine2 -6 route add fd00:10:244::/64 nexthop via fd00:172:31::2 dev to-leaf1 nexthop via fd00:172:31::6 dev to-leaf2
ip -n spine2 -4 route add 192.168.0.2/32 nexthop via 172.31.0.10 dev to-leaf3 nexthop via 172.31.0.14 dev to-leaf4
ip -n spine2 -6 route add fd00:192:168::2/128 nexthop via fd00:172:31::a dev to-leaf3 nexthop via fd00:172:31::e dev to-leaf4
ip -n spine2 -4 route add 10.244.1.0/24 nexthop via 172.31.0.10 dev to-leaf3 nexthop via 172.31.0.14 dev to-leaf4
ip -n spine2 -6 route add fd00:10:244:1::/64 nexthop via fd00:172:31::a dev to-leaf3 nexthop via fd00:172:31::e dev to-leaf4
ip -n spine2 -4 route add 192.168.0.3/32 nexthop via 172.31.0.2 dev to-leaf1 nexthop via 172.31.0.6 dev to-leaf2
ip -n spine2 -6 route add fd00:192:168::3/128 nexthop via fd00:172:31::2 dev to-leaf1 nexthop via fd00:172:31::6 dev to-leaf2
ip -n spine2 -4 route add 10.244.2.0/24 nexthop via 172.31.0.2 dev to-leaf1 nexthop via 172.31.0.6 dev to-leaf2
ip -n spine2 -6 route add fd00:10:244:2::/64 nexthop via fd00:172:31::2 dev to-leaf1 nexthop via fd00:172:31::6 dev to-leaf2
ip -n spine2 -4 route add 172.31.0.0/31 via 172.31.0.2 dev to-leaf1
ip -n spine2 -6 route add fd00:172:31::/127 via fd00:172:31::2 dev to-leaf1
ip -n spine2 -4 route add 172.31.0.4/31 via 172.31.0.6 dev to-leaf2
ip -n spine2 -6 route add fd00:172:31::4/127 via fd00:172:31::6 dev to-leaf2
ip -n spine2 -4 route add 172.31.0.8/31 via 172.31.0.10 dev to-leaf3
ip -n spine2 -6 route add fd00:172:31::8/127 via fd00:172:31::a dev to-leaf3
ip -n spine2 -4 route add 172.31.0.12/31 via 172.31.0.14 dev to-leaf4
ip -n spine2 -6 route add fd00:172:31::c/127 via fd00:172:31::e dev to-leaf4

# --- node1: addresses and routes
ip -n node1 address add 172.31.0.16/31 dev eth0
ip -n node1 address add fd00:172:31::10/127 dev eth0
ip -n node1 address add 172.31.0.18/31 dev eth1
ip -n node1 address add fd00:172:31::12/127 dev eth1
ip -n node1 address add 192.168.0.1/32 dev lo
ip -n node1 address add fd00:192:168::1/128 dev lo
ip -n node1 address add 10.244.0.1/24 dev kube-bridge
ip -n node1 address add fd00:10:244::1/64 dev kube-bridge
ip -n node1 -4 route add default src 192.168.0.1 nexthop via 172.31.0.17 dev eth0 nexthop via 172.31.0.19 dev eth1
ip -n node1 -6 route add default src fd00:192:168::1 nexthop via fd00:172:31::11 dev eth0 nexthop via fd00:172:31::13 dev eth1

# --- node2: addresses and routes
ip -n node2 address add 172.31.0.20/31 dev eth0
ip -n node2 address add fd00:172:31::14/127 dev eth0
ip -n node2 address add 172.31.0.22/31 dev eth1
ip -n node2 address add fd00:172:31::16/127 dev eth1
ip -n node2 address add 192.168.0.2/32 dev lo
ip -n node2 address add fd00:192:168::2/128 dev lo
ip -n node2 address add 10.244.1.1/24 dev kube-bridge
ip -n node2 address add fd00:10:244:1::1/64 dev kube-bridge
ip -n node2 -4 route add default src 192.168.0.2 nexthop via 172.31.0.21 dev eth0 nexthop via 172.31.0.23 dev eth1
ip -n node2 -6 route add default src fd00:192:168::2 nexthop via fd00:172:31::15 dev eth0 nexthop via fd00:172:31::17 dev eth1

# --- node3: addresses and routes
ip -n node3 address add 172.31.0.24/31 dev eth0
ip -n node3 address add fd00:172:31::18/127 dev eth0
ip -n node3 address add 172.31.0.26/31 dev eth1
ip -n node3 address add fd00:172:31::1a/127 dev eth1
ip -n node3 address add 192.168.0.3/32 dev lo
ip -n node3 address add fd00:192:168::3/128 dev lo
ip -n node3 address add 10.244.2.1/24 dev kube-bridge
ip -n node3 address add fd00:10:244:2::1/64 dev kube-bridge
ip -n node3 -4 route add default src 192.168.0.3 nexthop via 172.31.0.25 dev eth0 nexthop via 172.31.0.27 dev eth1
ip -n node3 -6 route add default src fd00:192:168::3 nexthop via fd00:172:31::19 dev eth0 nexthop via fd00:172:31::1b dev eth1

# --- client: addresses and routes
ip -n client address add 10.244.0.2/24 dev eth0
ip -n client address add fd00:10:244::2/64 dev eth0
ip -n client -4 route add default via 10.244.0.1 dev eth0
ip -n client -6 route add default via fd00:10:244::1 dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/24 dev eth0
ip -n web-1 address add fd00:10:244::3/64 dev eth0
ip -n web-1 -4 route add default via 10.244.0.1 dev eth0
ip -n web-1 -6 route add default via fd00:10:244::1 dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/24 dev eth0
ip -n web-2 address add fd00:10:244:1::2/64 dev eth0
ip -n web-2 -4 route add default via 10.244.1.1 dev eth0
ip -n web-2 -6 route add default via fd00:10:244:1::1 dev eth0

# --- web-3: addresses and routes
ip -n web-3 address add 10.244.2.2/24 dev eth0
ip -n web-3 address add fd00:10:244:2::2/64 dev eth0
ip -n web-3 -4 route add default via 10.244.2.1 dev eth0
ip -n web-3 -6 route add default via fd00:10:244:2::1 dev eth0
