#!/bin/sh -e
# Topology two-nodes under the design flannel-vxlan; pods have an MTU of 1450.
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
ip netns exec fabric sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0
ip netns exec fabric sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
ip -n fabric link set lo up
ip -n fabric link add br0 index 101 address 02:96:ae:40:61:0f mtu 1500 type bridge stp_state 0 forward_delay 0
ip -n fabric link set br0 up

# --- gateway: settings and devices
ip netns exec gateway sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec gateway sysctl -qew net.ipv6.conf.all.disable_ipv6=1
ip -n gateway link set lo up

# --- node1: settings and devices
ip netns exec node1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node1 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
ip -n node1 link set lo up

# --- node2: settings and devices
ip netns exec node2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.accept_redirects=0 net.ipv4.conf.default.send_redirects=0 net.ipv4.ip_forward=1
ip netns exec node2 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
ip -n node2 link set lo up

# --- client: settings and devices
ip netns exec client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec client sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
ip -n client link set lo up

# --- web-1: settings and devices
ip netns exec web-1 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-1 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
ip -n web-1 link set lo up

# --- web-2: settings and devices
ip netns exec web-2 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip netns exec web-2 sysctl -qew net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.all.router_solicitations=0 net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0
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

# --- gateway: addresses and routes
ip -n gateway address add 192.168.56.254/24 dev eth0

# --- node1: addresses and routes
ip -n node1 link add flannel.1 index 108 address 02:9c:51:9f:4e:26 mtu 1450 type vxlan id 1 dstport 8472 local 192.168.56.1 dev eth0 nolearning
ip -n node1 link set flannel.1 up
ip -n node1 address add 192.168.56.1/24 dev eth0
ip -n node1 address add 10.244.0.0/32 dev flannel.1
ip -n node1 neighbour add 10.244.1.0 lladdr 02:a3:29:54:fe:a6 dev flannel.1 nud permanent
bridge -n node1 fdb add 02:a3:29:54:fe:a6 dev flannel.1 dst 192.168.56.2 self permanent
ip -n node1 -4 route add default via 192.168.56.254 dev eth0
ip -n node1 -4 route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink

# --- node2: addresses and routes
ip -n node2 link add flannel.1 index 109 address 02:a3:29:54:fe:a6 mtu 1450 type vxlan id 1 dstport 8472 local 192.168.56.2 dev eth0 nolearning
ip -n node2 link set flannel.1 up
ip -n node2 address add 192.168.56.2/24 dev eth0
ip -n node2 address add 10.244.1.0/32 dev flannel.1
ip -n node2 neighbour add 10.244.0.0 lladdr 02:9c:51:9f:4e:26 dev flannel.1 nud permanent
bridge -n node2 fdb add 02:9c:51:9f:4e:26 dev flannel.1 dst 192.168.56.1 self permanent
ip -n node2 -4 route add default via 192.168.56.254 dev eth0
ip -n node2 -4 route add 10.244.0.0/24 via 10.244.0.0 dev flannel.1 onlink

# --- Rules and sets
ip netns exec node1 iptables-restore --wait <<'END'
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
END
ip netns exec node2 iptables-restore --wait <<'END'
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
END

# --- Programs
# in_folders_of NAME COMMAND...: run a command in the network and private folders of NAME
in_folders_of() {
    ip netns exec $1 sh -ec '
        for each in /etc /var/lib /sys/fs/bpf /run; do mount --rbind /run/roots/$1$each $each; done
        shift; exec "$@"' sh "$@"
}
mkdir -p /run/roots/node1/run/log /run/roots/node1/sys/fs/bpf
mount -t bpf bpf /run/roots/node1/sys/fs/bpf
mkdir -p /run/roots/node1/upper/etc /run/roots/node1/work/etc /run/roots/node1/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node1/upper/etc,workdir=/run/roots/node1/work/etc /run/roots/node1/etc
mkdir -p /run/roots/node1/upper/var/lib /run/roots/node1/work/var/lib /run/roots/node1/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node1/upper/var/lib,workdir=/run/roots/node1/work/var/lib /run/roots/node1/var/lib
mkdir -p /run/roots/node1/etc/cni/net.d
cat > /run/roots/node1/etc/cni/net.d/10-flannel.conflist <<'END'
{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
END
mkdir -p /run/roots/node1/run/flannel
cat > /run/roots/node1/run/flannel/subnet.env <<'END'
FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.0.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
END
mkdir -p /run/roots/node2/run/log /run/roots/node2/sys/fs/bpf
mount -t bpf bpf /run/roots/node2/sys/fs/bpf
mkdir -p /run/roots/node2/upper/etc /run/roots/node2/work/etc /run/roots/node2/etc
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/roots/node2/upper/etc,workdir=/run/roots/node2/work/etc /run/roots/node2/etc
mkdir -p /run/roots/node2/upper/var/lib /run/roots/node2/work/var/lib /run/roots/node2/var/lib
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/roots/node2/upper/var/lib,workdir=/run/roots/node2/work/var/lib /run/roots/node2/var/lib
mkdir -p /run/roots/node2/etc/cni/net.d
cat > /run/roots/node2/etc/cni/net.d/10-flannel.conflist <<'END'
{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
END
mkdir -p /run/roots/node2/run/flannel
cat > /run/roots/node2/run/flannel/subnet.env <<'END'
FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
END

# --- Pods that CNI plugins attach
mkdir -p /run/roots/node1/run/netns; touch /run/roots/node1/run/netns/client; mount --bind /run/netns/client /run/roots/node1/run/netns/client
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=client CNI_NETNS=/run/netns/client CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=client;K8S_POD_INFRA_CONTAINER_ID=client;K8S_POD_UID=1b22e939-cac1-4056-a7ea-710aa51ac6c3' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" flannel <<END
{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}, "cniVersion": "0.3.1", "name": "cbr0"}
END
)
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=client CNI_NETNS=/run/netns/client CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=client;K8S_POD_INFRA_CONTAINER_ID=client;K8S_POD_UID=1b22e939-cac1-4056-a7ea-710aa51ac6c3' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" portmap <<END
{"type": "portmap", "cniVersion": "0.3.1", "name": "cbr0", "prevResult": $result}
END
)
mkdir -p /run/roots/node1/run/netns; touch /run/roots/node1/run/netns/web-1; mount --bind /run/netns/web-1 /run/roots/node1/run/netns/web-1
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=web-1 CNI_NETNS=/run/netns/web-1 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=web-1;K8S_POD_UID=fcba73ef-4268-4f3e-bd5b-0e2afe661285' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" flannel <<END
{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}, "cniVersion": "0.3.1", "name": "cbr0"}
END
)
result=$(in_folders_of node1 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=web-1 CNI_NETNS=/run/netns/web-1 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=web-1;K8S_POD_UID=fcba73ef-4268-4f3e-bd5b-0e2afe661285' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" portmap <<END
{"type": "portmap", "cniVersion": "0.3.1", "name": "cbr0", "prevResult": $result}
END
)
mkdir -p /run/roots/node2/run/netns; touch /run/roots/node2/run/netns/web-2; mount --bind /run/netns/web-2 /run/roots/node2/run/netns/web-2
result=$(in_folders_of node2 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=web-2 CNI_NETNS=/run/netns/web-2 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-2;K8S_POD_INFRA_CONTAINER_ID=web-2;K8S_POD_UID=63f0372d-3d6a-428a-ae68-3aae342b4cde' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" flannel <<END
{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}, "cniVersion": "0.3.1", "name": "cbr0"}
END
)
result=$(in_folders_of node2 env CNI_COMMAND=ADD CNI_PATH=testbed/cni/plugins:/usr/lib/cni CNI_CONTAINERID=web-2 CNI_NETNS=/run/netns/web-2 CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-2;K8S_POD_INFRA_CONTAINER_ID=web-2;K8S_POD_UID=63f0372d-3d6a-428a-ae68-3aae342b4cde' PATH=testbed/cni/plugins:/usr/lib/cni:"$PATH" portmap <<END
{"type": "portmap", "cniVersion": "0.3.1", "name": "cbr0", "prevResult": $result}
END
)
