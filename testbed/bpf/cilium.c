/* The data plane of the Cilium presets: packets between pods bypass the node's stack.
 *
 *   pod --- lxc [cil_from_container] --- redirect_peer ---> pod of the same node
 *      native, by fib_lookup and redirect_neigh ---> eth0 ~~ eth0 [cil_from_netdev] --- redirect_peer ---> pod
 *      tunnel, by set_tunnel_key ---> cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] --- redirect_peer ---> pod
 *      other packets ---> the node's stack
 *   node's stack ---> cilium_host [cil_from_host] ---> pod, or tunnel
 *
 * With TUNNEL, pods of other nodes are reached through a tunnel; with LEGACY, the node's stack forwards between nodes;
 * with NETKIT, the first program runs at the pod's end of a netkit pair.
 */
#include "neighbours.h"
#include "packet.h"

#define IDENTITY_HOST 1
#define IDENTITY_REMOTE_NODE 6

#ifdef TUNNEL
#define IS_TUNNEL true
#else
#define IS_TUNNEL false
#endif
#ifdef LEGACY
#define IS_LEGACY true
#else
#define IS_LEGACY false
#endif
#ifdef NETKIT
#define IS_NETKIT true
#else
#define IS_NETKIT false
#endif

/* Send to a pod of this node. An ingress program may move the packet straight into the pod's namespace (redirect_peer).
 * An egress program may not: it sends through the pod's pair, as the stack does. */
static __always_inline int deliver(struct __sk_buff *ctx, const struct packet *packet, const struct endpoint *endpoint,
				   enum program program)
{
	bool is_way_in = program == FROM_NETDEV || program == FROM_OVERLAY || (program == FROM_CONTAINER && !IS_NETKIT);

	if (!decrement_ttl(ctx, packet))
		return drop(ctx, program, INGRESS, TTL_EXCEEDED);
	set_macs(ctx, endpoint->node_mac, endpoint->mac);
	count(ctx, program, INGRESS, FORWARDED);
	count_endpoint(ctx, endpoint, INGRESS);
	if (!is_way_in || IS_LEGACY)
		return bpf_redirect(endpoint->ifindex, 0);
	if (program == FROM_OVERLAY)
		bpf_skb_change_type(ctx, 0); /* PACKET_HOST: the frame arrived for another MAC address. */
	return bpf_redirect_peer(endpoint->ifindex, 0);
}

/* Send to another node, in a tunnel that carries the sender's identity. */
static __always_inline int encapsulate(struct __sk_buff *ctx, const struct remote *remote, __u32 identity,
				       enum program program)
{
	struct node_config *config = node_config();
	struct bpf_tunnel_key key = {.tunnel_id = identity};
	__u32 flags = BPF_F_ZERO_CSUM_TX;

	if (!config)
		return drop(ctx, program, EGRESS, NO_CONFIG);
	if (remote->tunnel_family == FAMILY_IPV6) {
		__builtin_memcpy(key.remote_ipv6, &remote->tunnel, sizeof(key.remote_ipv6));
		flags = BPF_F_TUNINFO_IPV6; /* UDP over IPv6 needs its checksum. */
	} else {
		key.remote_ipv4 = bpf_ntohl(remote->tunnel.words[0]);
	}
	if (bpf_skb_set_tunnel_key(ctx, &key, sizeof(key), flags))
		return drop(ctx, program, EGRESS, NO_TUNNEL_KEY);
	count(ctx, program, EGRESS, FORWARDED);
	return bpf_redirect(config->tunnel_ifindex, 0);
}

/* Send to another node without a tunnel: routes give device and next hop, the neighbour table the MAC address. */
static __always_inline int forward(struct __sk_buff *ctx, const struct packet *packet)
{
	struct bpf_fib_lookup fib = {.ifindex = ctx->ifindex, .l4_protocol = packet->protocol};
	struct bpf_redir_neigh hop = {};
	long found;

	if (packet->family == FAMILY_IPV4) {
		fib.family = 2; /* AF_INET */
		fib.tos = packet->tos;
		fib.ipv4_src = packet->source.words[0];
		fib.ipv4_dst = packet->target.words[0];
	} else {
		fib.family = 10; /* AF_INET6 */
		__builtin_memcpy(fib.ipv6_src, &packet->source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &packet->target, sizeof(fib.ipv6_dst));
	}
	found = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(ctx, FROM_CONTAINER, EGRESS, FIB_LOOKUP_FAILED);
	if (!decrement_ttl(ctx, packet))
		return drop(ctx, FROM_CONTAINER, EGRESS, TTL_EXCEEDED);
	count(ctx, FROM_CONTAINER, EGRESS, FORWARDED);
	hop.nh_family = fib.family;
	if (packet->family == FAMILY_IPV4)
		hop.ipv4_nh = fib.ipv4_dst; /* The lookup has replaced it by the next hop. */
	else
		__builtin_memcpy(hop.ipv6_nh, fib.ipv6_dst, sizeof(hop.ipv6_nh));
	return bpf_redirect_neigh(fib.ifindex, &hop, sizeof(hop), 0);
}

/* Pass to the node's stack: to the node itself, or onward by its routes and iptables rules. */
static __always_inline int to_stack(struct __sk_buff *ctx, const struct packet *packet)
{
	if (!decrement_ttl(ctx, packet))
		return drop(ctx, FROM_CONTAINER, EGRESS, TTL_EXCEEDED);
	count(ctx, FROM_CONTAINER, EGRESS, FORWARDED);
	return TC_ACT_OK;
}

static __always_inline int from_container(struct __sk_buff *ctx)
{
	struct packet packet = {};
	struct endpoint *source, *target;
	struct remote *remote;

	if (!parse(ctx, &packet))
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_PACKET);
	if (is_solicitation(ctx, &packet))
		return answer_ndp(ctx, &packet);
	source = endpoint_at(&packet.source, packet.family);
	if (!source || source->ifindex != ctx->ifindex)
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_SOURCE_IP);
	count_endpoint(ctx, source, EGRESS);
	target = endpoint_at(&packet.target, packet.family);
	if (target)
		return target->flags & ENDPOINT_IS_HOST ? to_stack(ctx, &packet)
							: deliver(ctx, &packet, target, FROM_CONTAINER);
	if (is_multicast(&packet))
		return drop(ctx, FROM_CONTAINER, EGRESS, UNROUTABLE);
	remote = remote_at(&packet.target, packet.family);
	if (IS_TUNNEL && remote && remote->tunnel_family)
		return encapsulate(ctx, remote, source->identity, FROM_CONTAINER);
	return remote && !IS_LEGACY ? forward(ctx, &packet) : to_stack(ctx, &packet);
}

/* Packets that a pod sends. */
SEC("tc")
int cil_from_container(struct __sk_buff *ctx)
{
	if (is_ip(ctx))
		return from_container(ctx);
	if (ctx->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(ctx);
	return drop(ctx, FROM_CONTAINER, EGRESS, UNSUPPORTED_L3);
}

/* Packets from the fabric, for a pod or the node. */
SEC("tc")
int cil_from_netdev(struct __sk_buff *ctx)
{
	struct packet packet = {};
	struct endpoint *target;

	if (IS_LEGACY || !is_ip(ctx) || !parse(ctx, &packet))
		return TC_ACT_OK;
	target = endpoint_at(&packet.target, packet.family);
	if (!target || target->flags & ENDPOINT_IS_HOST)
		return TC_ACT_OK;
	return deliver(ctx, &packet, target, FROM_NETDEV);
}

/* Packets out of the tunnel, for a pod or for an address of this node that pods use. */
SEC("tc")
int cil_from_overlay(struct __sk_buff *ctx)
{
	struct node_config *config = node_config();
	struct bpf_tunnel_key key = {};
	struct packet packet = {};
	struct endpoint *target;

	if (!is_ip(ctx))
		return drop(ctx, FROM_OVERLAY, INGRESS, UNSUPPORTED_L3);
	if (!parse(ctx, &packet))
		return drop(ctx, FROM_OVERLAY, INGRESS, INVALID_PACKET);
	if (bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), 0) &&
	    bpf_skb_get_tunnel_key(ctx, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		return drop(ctx, FROM_OVERLAY, INGRESS, NO_TUNNEL_KEY);
	/* The sender must have an identity (Cilium accepts 0); other nodes use IDENTITY_REMOTE_NODE. */
	if (!key.tunnel_id || key.tunnel_id == IDENTITY_HOST)
		return drop(ctx, FROM_OVERLAY, INGRESS, INVALID_IDENTITY);
	target = endpoint_at(&packet.target, packet.family);
	if (!target || !config)
		return drop(ctx, FROM_OVERLAY, INGRESS, target ? NO_CONFIG : UNROUTABLE);
	if (!(target->flags & ENDPOINT_IS_HOST))
		return deliver(ctx, &packet, target, FROM_OVERLAY);
	if (!decrement_ttl(ctx, &packet))
		return drop(ctx, FROM_OVERLAY, INGRESS, TTL_EXCEEDED);
	set_macs(ctx, config->host_mac, config->host_mac);
	count(ctx, FROM_OVERLAY, INGRESS, FORWARDED);
	return bpf_redirect(config->host_ifindex, BPF_F_INGRESS);
}

/* Packets that are about to be encapsulated. */
SEC("tc")
int cil_to_overlay(struct __sk_buff *ctx)
{
	count(ctx, TO_OVERLAY, EGRESS, FORWARDED);
	return TC_ACT_OK;
}

/* Packets from the node's stack to pods: its own and forwarded ones. */
SEC("tc")
int cil_from_host(struct __sk_buff *ctx)
{
	struct packet packet = {};
	struct endpoint *target;
	struct remote *remote;

	if (!is_ip(ctx))
		return TC_ACT_OK;
	if (!parse(ctx, &packet))
		return drop(ctx, FROM_HOST, INGRESS, INVALID_PACKET);
	if (is_multicast(&packet))
		return TC_ACT_OK;
	target = endpoint_at(&packet.target, packet.family);
	if (target && !(target->flags & ENDPOINT_IS_HOST))
		return deliver(ctx, &packet, target, FROM_HOST);
	remote = remote_at(&packet.target, packet.family);
	if (IS_TUNNEL && remote && remote->tunnel_family)
		return encapsulate(ctx, remote, IDENTITY_REMOTE_NODE, FROM_HOST);
	return drop(ctx, FROM_HOST, INGRESS, UNROUTABLE);
}

/* Packets to the node's stack through the cilium_host pair. */
SEC("tc")
int cil_to_host(struct __sk_buff *ctx)
{
	count(ctx, TO_HOST, INGRESS, FORWARDED);
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
