#!/bin/sh -e
# Topology dual-stack under the design l2; pods have an MTU of 1500.
# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;
#   . ./THIS-FILE; exec sh'

# --- Namespaces
ip netns add fabric    # the fabric's switch
ip netns add gateway    # a router of the fabric
ip netns add node1    # a node
ip netns add node2    # a node
ip netns add client    # a pod on node1
ip netns add web-1    # a pod on node1
ip netns add web-2    # a pod on node2

# --- fabric: settings and devices
ip netns exec fabric sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip netns exec fabric sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n fabric link set lo up
ip -n fabric link add br0 index 101 address 02:96:ae:40:61:0f mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n fabric link set br0 up

# --- gateway: settings and devices
ip netns exec gateway sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -n gateway link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip netns exec node1 sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node1 link set lo up
ip -n node1 link add kube-bridge index 108 address 02:e3:1c:80:29:64 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node1 link set kube-bridge up
ip -n node1 link add br-node index 109 address 02:eb:10:90:c8:56 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node1 link set br-node up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip netns exec node2 sysctl -qew net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node2 link set lo up
ip -n node2 link add kube-bridge index 116 address 02:8d:33:fd:2b:22 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node2 link set kube-bridge up
ip -n node2 link add br-node index 117 address 02:f8:e9:f0:a2:6c mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node2 link set br-node up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-2 link set lo up

# --- Cables: veth pairs, each end in its namespace
ip link add to-gateway index 102 netns fabric address 02:b3:a0:95:66:1a mtu 1500 type veth peer name eth0 index 103 netns gateway address 02:a9:79:c9:b8:46 mtu 1500
ip -n fabric link set to-gateway master br0 up
ip -n gateway link set eth0 up
ip link add to-node1 index 104 netns fabric address 02:e4:03:c9:58:00 mtu 1500 type veth peer name eth0 index 105 netns node1 address 02:8b:a1:fa:84:72 mtu 1500
ip -n fabric link set to-node1 master br0 up
ip -n node1 link set eth0 master br-node up
ip link add to-node2 index 106 netns fabric address 02:c3:04:04:4e:27 mtu 1500 type veth peer name eth0 index 107 netns node2 address 02:43:11:61:5f:d5 mtu 1500
ip -n fabric link set to-node2 master br0 up
ip -n node2 link set eth0 master br-node up
ip link add to-fabric index 110 netns node1 address 02:a7:49:c8:32:97 mtu 1500 type veth peer name to-pods index 111 netns node1 address 02:80:c9:9e:2f:9a mtu 1500
ip -n node1 link set to-fabric master kube-bridge up
ip -n node1 link set to-pods master br-node up
ip link add veth-client index 112 netns node1 address 02:ac:6f:9b:bd:2a mtu 1500 type veth peer name eth0 index 113 netns client address 02:9b:d1:f3:d1:55 mtu 1500
ip -n node1 link set veth-client master kube-bridge up
ip -n client link set eth0 up
ip link add veth-web-1 index 114 netns node1 address 02:cd:c8:33:52:d7 mtu 1500 type veth peer name eth0 index 115 netns web-1 address 02:3e:4e:09:16:3e mtu 1500
ip -n node1 link set veth-web-1 master kube-bridge up
ip -n web-1 link set eth0 up
ip link add to-fabric index 118 netns node2 address 02:48:66:01:84:da mtu 1500 type veth peer name to-pods index 119 netns node2 address 02:38:80:05:32:53 mtu 1500
ip -n node2 link set to-fabric master kube-bridge up
ip -n node2 link set to-pods master br-node up
ip link add veth-web-2 index 120 netns node2 address 02:eb:2d:6d:ae:48 mtu 1500 type veth peer name eth0 index 121 netns web-2 address 02:8a:17:62:53:70 mtu 1500
ip -n node2 link set veth-web-2 master kube-bridge up
ip -n web-2 link set eth0 up

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0
ip -n gateway address add fd00:192:168:56:ffff:ffff:ffff:ffff/64 dev eth0 nodad
ip -n gateway -4 route add 10.244.0.0/16 dev eth0
ip -n gateway -6 route add fd00:10:244::/56 dev eth0

# --- node1: addresses and routes
ip -n node1 address add 192.168.56.1/24 dev br-node
ip -n node1 address add fd00:192:168:56::1/64 dev br-node nodad
ip -n node1 -4 route add default via 192.168.56.254 dev br-node
ip -n node1 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev br-node
ip -n node1 -4 route add 10.244.0.0/16 dev br-node
ip -n node1 -6 route add fd00:10:244::/56 dev br-node

# --- node2: addresses and routes
ip -n node2 address add 192.168.56.2/24 dev br-node
ip -n node2 address add fd00:192:168:56::2/64 dev br-node nodad
ip -n node2 -4 route add default via 192.168.56.254 dev br-node
ip -n node2 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev br-node
ip -n node2 -4 route add 10.244.0.0/16 dev br-node
ip -n node2 -6 route add fd00:10:244::/56 dev br-node

# --- client: addresses and routes
ip -n client address add 10.244.0.2/16 dev eth0
ip -n client address add fd00:10:244::2/56 dev eth0 nodad
ip -n client -4 route add 192.168.56.0/24 dev eth0
ip -n client -6 route add fd00:192:168:56::/64 dev eth0
ip -n client -4 route add default via 192.168.56.254 dev eth0
ip -n client -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/16 dev eth0
ip -n web-1 address add fd00:10:244::3/56 dev eth0 nodad
ip -n web-1 -4 route add 192.168.56.0/24 dev eth0
ip -n web-1 -6 route add fd00:192:168:56::/64 dev eth0
ip -n web-1 -4 route add default via 192.168.56.254 dev eth0
ip -n web-1 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/16 dev eth0
ip -n web-2 address add fd00:10:244:1::2/56 dev eth0 nodad
ip -n web-2 -4 route add 192.168.56.0/24 dev eth0
ip -n web-2 -6 route add fd00:192:168:56::/64 dev eth0
ip -n web-2 -4 route add default via 192.168.56.254 dev eth0
ip -n web-2 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev eth0
