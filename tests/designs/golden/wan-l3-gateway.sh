#!/bin/sh -e
# Topology wan under the design l3-gateway; pods have an MTU of 1500.
# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;
#   . ./THIS-FILE; exec sh'

# --- Namespaces
ip netns add site1    # a switch of the fabric
ip netns add site2    # a switch of the fabric
ip netns add site3    # a switch of the fabric
ip netns add edge1    # a router of the fabric
ip netns add edge2    # a router of the fabric
ip netns add edge3    # a router of the fabric
ip netns add node1    # a node
ip netns add node2    # a node
ip netns add node3    # a node
ip netns add edge1_edge2    # a link of the fabric
ip netns add edge1_edge3    # a link of the fabric
ip netns add edge2_edge3    # a link of the fabric
ip netns add client    # a pod on node1
ip netns add web-1    # a pod on node1
ip netns add web-2    # a pod on node2
ip netns add web-3    # a pod on node3

# --- site1: settings and devices
ip netns exec site1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec site1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n site1 link set lo up
ip -n site1 link add br0 index 101 address 02:e2:3e:da:a4:c3 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n site1 link set br0 up

# --- site2: settings and devices
ip netns exec site2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec site2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n site2 link set lo up
ip -n site2 link add br0 index 102 address 02:71:c4:94:d3:b0 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n site2 link set br0 up

# --- site3: settings and devices
ip netns exec site3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec site3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n site3 link set lo up
ip -n site3 link add br0 index 103 address 02:c5:93:58:2d:1e mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n site3 link set br0 up

# --- edge1: settings and devices
ip netns exec edge1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec edge1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n edge1 link set lo up

# --- edge2: settings and devices
ip netns exec edge2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec edge2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n edge2 link set lo up

# --- edge3: settings and devices
ip netns exec edge3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec edge3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n edge3 link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node1 link set lo up
ip -n node1 link add kube-bridge index 140 address 02:e3:1c:80:29:64 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node1 link set kube-bridge up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node2 link set lo up
ip -n node2 link add kube-bridge index 145 address 02:8d:33:fd:2b:22 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node2 link set kube-bridge up

# --- node3: settings and devices
ip netns exec node3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n node3 link set lo up
ip -n node3 link add kube-bridge index 148 address 02:0a:aa:15:b2:a1 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n node3 link set kube-bridge up

# --- edge1_edge2: settings and devices
ip netns exec edge1_edge2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec edge1_edge2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n edge1_edge2 link set lo up
ip -n edge1_edge2 link add br0 index 104 address 02:21:d3:f8:67:58 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge1_edge2 link set br0 up
ip -n edge1_edge2 link add br1 index 105 address 02:5e:39:f1:9f:a8 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge1_edge2 link set br1 up

# --- edge1_edge3: settings and devices
ip netns exec edge1_edge3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec edge1_edge3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n edge1_edge3 link set lo up
ip -n edge1_edge3 link add br0 index 112 address 02:a2:58:86:f7:68 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge1_edge3 link set br0 up
ip -n edge1_edge3 link add br1 index 113 address 02:6a:44:ad:13:97 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge1_edge3 link set br1 up

# --- edge2_edge3: settings and devices
ip netns exec edge2_edge3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec edge2_edge3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n edge2_edge3 link set lo up
ip -n edge2_edge3 link add br0 index 120 address 02:95:97:d3:f8:20 mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge2_edge3 link set br0 up
ip -n edge2_edge3 link add br1 index 121 address 02:93:8a:a6:49:ef mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n edge2_edge3 link set br1 up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec client sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-1 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-2 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-2 link set lo up

# --- web-3: settings and devices
ip netns exec web-3 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-3 sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n web-3 link set lo up

# --- Cables: veth pairs, each end in its namespace
ip link add x1 index 106 netns edge1_edge2 address 02:3c:67:9f:32:81 mtu 1500 type veth peer name x2 index 107 netns edge1_edge2 address 02:31:6d:87:9a:b3 mtu 1500
ip -n edge1_edge2 link set x1 master br0 up
ip -n edge1_edge2 link set x2 master br1 up
ip link add to-edge2 index 108 netns edge1 address 02:f0:ed:e9:17:b3 mtu 1500 type veth peer name to-edge1 index 109 netns edge1_edge2 address 02:d3:60:0d:c0:d2 mtu 1500
ip -n edge1 link set to-edge2 up
ip -n edge1_edge2 link set to-edge1 master br0 up
ip link add to-edge1 index 110 netns edge2 address 02:01:cd:fd:74:4d mtu 1500 type veth peer name to-edge2 index 111 netns edge1_edge2 address 02:5a:e4:63:e1:82 mtu 1500
ip -n edge2 link set to-edge1 up
ip -n edge1_edge2 link set to-edge2 master br1 up
ip link add x1 index 114 netns edge1_edge3 address 02:90:0b:da:3a:4c mtu 1500 type veth peer name x2 index 115 netns edge1_edge3 address 02:c0:76:bf:78:0d mtu 1500
ip -n edge1_edge3 link set x1 master br0 up
ip -n edge1_edge3 link set x2 master br1 up
ip link add to-edge3 index 116 netns edge1 address 02:dd:fa:c0:b8:18 mtu 1500 type veth peer name to-edge1 index 117 netns edge1_edge3 address 02:42:3b:c9:13:37 mtu 1500
ip -n edge1 link set to-edge3 up
ip -n edge1_edge3 link set to-edge1 master br0 up
ip link add to-edge1 index 118 netns edge3 address 02:07:f5:ee:39:f3 mtu 1500 type veth peer name to-edge3 index 119 netns edge1_edge3 address 02:bd:84:3c:ea:ed mtu 1500
ip -n edge3 link set to-edge1 up
ip -n edge1_edge3 link set to-edge3 master br1 up
ip link add x1 index 122 netns edge2_edge3 address 02:59:25:71:39:64 mtu 1500 type veth peer name x2 index 123 netns edge2_edge3 address 02:0b:fc:28:dc:95 mtu 1500
ip -n edge2_edge3 link set x1 master br0 up
ip -n edge2_edge3 link set x2 master br1 up
ip link add to-edge3 index 124 netns edge2 address 02:33:39:0b:96:5c mtu 1500 type veth peer name to-edge2 index 125 netns edge2_edge3 address 02:da:44:8b:21:a1 mtu 1500
ip -n edge2 link set to-edge3 up
ip -n edge2_edge3 link set to-edge2 master br0 up
ip link add to-edge2 index 126 netns edge3 address 02:ea:42:a5:df:3a mtu 1500 type veth peer name to-edge3 index 127 netns edge2_edge3 address 02:93:3c:ba:0e:34 mtu 1500
ip -n edge3 link set to-edge2 up
ip -n edge2_edge3 link set to-edge3 master br1 up
ip link add to-edge1 index 128 netns site1 address 02:34:98:c4:8d:27 mtu 1500 type veth peer name to-site1 index 129 netns edge1 address 02:27:64:c8:49:55 mtu 1500
ip -n site1 link set to-edge1 master br0 up
ip -n edge1 link set to-site1 up
ip link add to-edge2 index 130 netns site2 address 02:29:6d:5a:83:e5 mtu 1500 type veth peer name to-site2 index 131 netns edge2 address 02:66:a1:4e:f9:f3 mtu 1500
ip -n site2 link set to-edge2 master br0 up
ip -n edge2 link set to-site2 up
ip link add to-edge3 index 132 netns site3 address 02:0f:4f:23:46:db mtu 1500 type veth peer name to-site3 index 133 netns edge3 address 02:d0:0c:98:93:50 mtu 1500
ip -n site3 link set to-edge3 master br0 up
ip -n edge3 link set to-site3 up
ip link add to-node1 index 134 netns site1 address 02:b7:7f:43:91:71 mtu 1500 type veth peer name eth0 index 135 netns node1 address 02:8b:a1:fa:84:72 mtu 1500
ip -n site1 link set to-node1 master br0 up
ip -n node1 link set eth0 up
ip link add to-node2 index 136 netns site2 address 02:41:ab:70:4c:b9 mtu 1500 type veth peer name eth0 index 137 netns node2 address 02:43:11:61:5f:d5 mtu 1500
ip -n site2 link set to-node2 master br0 up
ip -n node2 link set eth0 up
ip link add to-node3 index 138 netns site3 address 02:d2:a5:41:c7:76 mtu 1500 type veth peer name eth0 index 139 netns node3 address 02:aa:b9:70:e4:b4 mtu 1500
ip -n site3 link set to-node3 master br0 up
ip -n node3 link set eth0 up
ip link add veth-client index 141 netns node1 address 02:ac:6f:9b:bd:2a mtu 1500 type veth peer name eth0 index 142 netns client address 02:9b:d1:f3:d1:55 mtu 1500
ip -n node1 link set veth-client master kube-bridge up
ip -n client link set eth0 up
ip link add veth-web-1 index 143 netns node1 address 02:cd:c8:33:52:d7 mtu 1500 type veth peer name eth0 index 144 netns web-1 address 02:3e:4e:09:16:3e mtu 1500
ip -n node1 link set veth-web-1 master kube-bridge up
ip -n web-1 link set eth0 up
ip link add veth-web-2 index 146 netns node2 address 02:eb:2d:6d:ae:48 mtu 1500 type veth peer name eth0 index 147 netns web-2 address 02:8a:17:62:53:70 mtu 1500
ip -n node2 link set veth-web-2 master kube-bridge up
ip -n web-2 link set eth0 up
ip link add veth-web-3 index 149 netns node3 address 02:13:7f:6e:db:1a mtu 1500 type veth peer name eth0 index 150 netns web-3 address 02:d1:de:bc:d3:9a mtu 1500
ip -n node3 link set veth-web-3 master kube-bridge up
ip -n web-3 link set eth0 up

# --- edge1: addresses and routes
ip -n edge1 address add 172.31.0.0/31 dev to-edge2
ip -n edge1 address add 172.31.0.2/31 dev to-edge3
ip -n edge1 address add 192.168.0.254/24 dev to-site1
ip -n edge1 -4 route add 192.168.1.0/24 via 172.31.0.1 dev to-edge2
ip -n edge1 -4 route add 192.168.2.0/24 via 172.31.0.3 dev to-edge3
ip -n edge1 -4 route add 10.244.0.0/24 via 192.168.0.1 dev to-site1
ip -n edge1 -4 route add 10.244.1.0/24 via 172.31.0.1 dev to-edge2
ip -n edge1 -4 route add 10.244.2.0/24 via 172.31.0.3 dev to-edge3

# --- edge2: addresses and routes
ip -n edge2 address add 172.31.0.1/31 dev to-edge1
ip -n edge2 address add 172.31.0.4/31 dev to-edge3
ip -n edge2 address add 192.168.1.254/24 dev to-site2
ip -n edge2 -4 route add 192.168.0.0/24 via 172.31.0.0 dev to-edge1
ip -n edge2 -4 route add 192.168.2.0/24 via 172.31.0.5 dev to-edge3
ip -n edge2 -4 route add 10.244.0.0/24 via 172.31.0.0 dev to-edge1
ip -n edge2 -4 route add 10.244.1.0/24 via 192.168.1.1 dev to-site2
ip -n edge2 -4 route add 10.244.2.0/24 via 172.31.0.5 dev to-edge3

# --- edge3: addresses and routes
ip -n edge3 address add 172.31.0.3/31 dev to-edge1
ip -n edge3 address add 172.31.0.5/31 dev to-edge2
ip -n edge3 address add 192.168.2.254/24 dev to-site3
ip -n edge3 -4 route add 192.168.0.0/24 via 172.31.0.2 dev to-edge1
ip -n edge3 -4 route add 192.168.1.0/24 via 172.31.0.4 dev to-edge2
ip -n edge3 -4 route add 10.244.0.0/24 via 172.31.0.2 dev to-edge1
ip -n edge3 -4 route add 10.244.1.0/24 via 172.31.0.4 dev to-edge2
ip -n edge3 -4 route add 10.244.2.0/24 via 192.168.2.1 dev to-site3

# --- node1: addresses and routes
ip -n node1 address add 192.168.0.1/24 dev eth0
ip -n node1 address add 10.244.0.1/24 dev kube-bridge
ip -n node1 -4 route add default via 192.168.0.254 dev eth0

# --- node2: addresses and routes
ip -n node2 address add 192.168.1.1/24 dev eth0
ip -n node2 address add 10.244.1.1/24 dev kube-bridge
ip -n node2 -4 route add default via 192.168.1.254 dev eth0

# --- node3: addresses and routes
ip -n node3 address add 192.168.2.1/24 dev eth0
ip -n node3 address add 10.244.2.1/24 dev kube-bridge
ip -n node3 -4 route add default via 192.168.2.254 dev eth0

# --- edge1_edge2: addresses and routes
tc -n edge1_edge2 qdisc add dev to-edge2 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge1_edge2 qdisc add dev to-edge1 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge1_edge2 qdisc add dev x1 root netem limit 4167 delay 20000us
tc -n edge1_edge2 qdisc add dev x2 root netem limit 4167 delay 20000us

# --- edge1_edge3: addresses and routes
tc -n edge1_edge3 qdisc add dev to-edge3 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge1_edge3 qdisc add dev to-edge1 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge1_edge3 qdisc add dev x1 root netem limit 4167 delay 20000us
tc -n edge1_edge3 qdisc add dev x2 root netem limit 4167 delay 20000us

# --- edge2_edge3: addresses and routes
tc -n edge2_edge3 qdisc add dev to-edge3 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge2_edge3 qdisc add dev to-edge2 root tbf rate 100000000bit burst 12500 limit 1000000
tc -n edge2_edge3 qdisc add dev x1 root netem limit 4167 delay 20000us
tc -n edge2_edge3 qdisc add dev x2 root netem limit 4167 delay 20000us

# --- client: addresses and routes
ip -n client address add 10.244.0.2/24 dev eth0
ip -n client -4 route add default via 10.244.0.1 dev eth0

# --- web-1: addresses and routes
ip -n web-1 address add 10.244.0.3/24 dev eth0
ip -n web-1 -4 route add default via 10.244.0.1 dev eth0

# --- web-2: addresses and routes
ip -n web-2 address add 10.244.1.2/24 dev eth0
ip -n web-2 -4 route add default via 10.244.1.1 dev eth0

# --- web-3: addresses and routes
ip -n web-3 address add 10.244.2.2/24 dev eth0
ip -n web-3 -4 route add default via 10.244.2.1 dev eth0
