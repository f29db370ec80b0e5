#!/bin/sh -e
# Topology dual-stack under the design routed+vxlan-metadata; pods have an MTU of 1430.
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
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -n node1 link set lo up
ip -n node1 link add vxlan_sys index 114 address 02:8c:e3:13:4f:09 mtu 1430 type vxlan external dstport 8472 nolearning
ip -n node1 link set vxlan_sys up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.accept_redirects=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.router_solicitations=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -n node2 link set lo up
ip -n node2 link add vxlan_sys index 115 address 02:a9:5f:64:b4:68 mtu 1430 type vxlan external dstport 8472 nolearning
ip -n node2 link set vxlan_sys up

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
ip -n node1 link set eth0 up
ip link add to-node2 index 106 netns fabric address 02:c3:04:04:4e:27 mtu 1500 type veth peer name eth0 index 107 netns node2 address 02:43:11:61:5f:d5 mtu 1500
ip -n fabric link set to-node2 master br0 up
ip -n node2 link set eth0 up
ip link add calia7a3e029a7b index 108 netns node1 address ee:ee:ee:ee:ee:ee mtu 1430 type veth peer name eth0 index 109 netns client address 02:9b:d1:f3:d1:55 mtu 1430
ip -n node1 link set calia7a3e029a7b up
ip -n client link set eth0 up
ip link add cali0761ccbeace index 110 netns node1 address ee:ee:ee:ee:ee:ee mtu 1430 type veth peer name eth0 index 111 netns web-1 address 02:3e:4e:09:16:3e mtu 1430
ip -n node1 link set cali0761ccbeace up
ip -n web-1 link set eth0 up
ip link add cali9fb0db7f13e index 112 netns node2 address ee:ee:ee:ee:ee:ee mtu 1430 type veth peer name eth0 index 113 netns web-2 address 02:8a:17:62:53:70 mtu 1430
ip -n node2 link set cali9fb0db7f13e up
ip -n web-2 link set eth0 up

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0
ip -n gateway address add fd00:192:168:56:ffff:ffff:ffff:ffff/64 dev eth0 nodad

# --- node1: addresses and routes
ip netns exec node1 sysctl -qw net/ipv4/conf/calia7a3e029a7b/proxy_arp=1 net/ipv4/neigh/calia7a3e029a7b/proxy_delay=0 net/ipv4/conf/cali0761ccbeace/proxy_arp=1 net/ipv4/neigh/cali0761ccbeace/proxy_delay=0
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 address add fd00:192:168:56::1/64 dev eth0 nodad
ip -n node1 address add 10.244.0.0/32 dev vxlan_sys
ip -n node1 address add fd00:10:244::/128 dev vxlan_sys nodad
ip -n node1 neighbour add 10.244.1.0 lladdr 02:a9:5f:64:b4:68 dev vxlan_sys nud permanent
ip -n node1 neighbour add fd00:10:244:1:: lladdr 02:a9:5f:64:b4:68 dev vxlan_sys nud permanent
ip -n node1 -4 route add default via 192.168.56.254 dev eth0
ip -n node1 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev eth0
ip -n node1 -4 route add blackhole 10.244.0.0/24
ip -n node1 -6 route add blackhole fd00:10:244::/64
ip -n node1 -4 route add 10.244.0.2/32 dev calia7a3e029a7b
ip -n node1 -6 route add fd00:10:244::2/128 dev calia7a3e029a7b
ip -n node1 -4 route add 10.244.0.3/32 dev cali0761ccbeace
ip -n node1 -6 route add fd00:10:244::3/128 dev cali0761ccbeace
ip -n node1 -4 route add 10.244.1.0/24 encap ip id 1 src 192.168.56.1 dst 192.168.56.2 ttl 64 via 10.244.1.0 dev vxlan_sys onlink
ip -n node1 -6 route add fd00:10:244:1::/64 encap ip6 id 1 src fd00:192:168:56::1 dst fd00:192:168:56::2 hoplimit 64 csum via fd00:10:244:1:: dev vxlan_sys onlink

# --- node2: addresses and routes
ip netns exec node2 sysctl -qw net/ipv4/conf/cali9fb0db7f13e/proxy_arp=1 net/ipv4/neigh/cali9fb0db7f13e/proxy_delay=0
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 address add fd00:192:168:56::2/64 dev eth0 nodad
ip -n node2 address add 10.244.1.0/32 dev vxlan_sys
ip -n node2 address add fd00:10:244:1::/128 dev vxlan_sys nodad
ip -n node2 neighbour add 10.244.0.0 lladdr 02:8c:e3:13:4f:09 dev vxlan_sys nud permanent
ip -n node2 neighbour add fd00:10:244:: lladdr 02:8c:e3:13:4f:09 dev vxlan_sys nud permanent
ip -n node2 -4 route add default via 192.168.56.254 dev eth0
ip -n node2 -6 route add default via fd00:192:168:56:ffff:ffff:ffff:ffff dev eth0
ip -n node2 -4 route add blackhole 10.244.1.0/24
ip -n node2 -6 route add blackhole fd00:10:244:1::/64
ip -n node2 -4 route add 10.244.1.2/32 dev cali9fb0db7f13e
ip -n node2 -6 route add fd00:10:244:1::2/128 dev cali9fb0db7f13e
ip -n node2 -4 route add 10.244.0.0/24 encap ip id 1 src 192.168.56.2 dst 192.168.56.1 ttl 64 via 10.244.0.0 dev vxlan_sys onlink
ip -n node2 -6 route add fd00:10:244::/64 encap ip6 id 1 src fd00:192:168:56::2 dst fd00:192:168:56::1 hoplimit 64 csum via fd00:10:244:: dev vxlan_sys onlink

# --- client: addresses and routes
ip -n client address add 10.244.0.2/32 dev eth0
ip -n client address add fd00:10:244::2/128 dev eth0 nodad
ip -n client -4 route add 169.254.1.1/32 dev eth0
ip -n client -4 route add default via 169.254.1.1 dev eth0
ip -n client -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/32 dev eth0
ip -n web-1 address add fd00:10:244::3/128 dev eth0 nodad
ip -n web-1 -4 route add 169.254.1.1/32 dev eth0
ip -n web-1 -4 route add default via 169.254.1.1 dev eth0
ip -n web-1 -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/32 dev eth0
ip -n web-2 address add fd00:10:244:1::2/128 dev eth0 nodad
ip -n web-2 -4 route add 169.254.1.1/32 dev eth0
ip -n web-2 -4 route add default via 169.254.1.1 dev eth0
ip -n web-2 -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0
