/* Answer ARP and NDP requests of pods, always with the MAC address of the node's end of the pair. Requests for the pod's
 * own address (duplicate address detection) get no answer. */
#pragma once

#include <linux/icmpv6.h>
#include <linux/pkt_cls.h>

#include "packet.h"

#define ARP_REQUEST 1
#define ARP_REPLY 2

/* Not from linux/if_arp.h, which includes half of the C library. */
struct arp_ipv4 {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

static __always_inline int drop(struct __sk_buff *ctx, enum program program, enum direction direction,
				enum reason reason)
{
	count(ctx, program, direction, reason);
	return TC_ACT_SHOT;
}

/* RFC 826. Turn the request into the reply and send it back. */
static __always_inline int answer_arp(struct __sk_buff *ctx)
{
	struct address sender = {};
	struct endpoint *asker;
	struct arp_ipv4 *arp;
	struct ethhdr *eth;
	__be32 asked;

	pull(ctx, ETH_LENGTH + sizeof(*arp));
	eth = (void *)(long)ctx->data;
	arp = (void *)(eth + 1);
	if ((void *)(arp + 1) > (void *)(long)ctx->data_end || arp->protocol != bpf_htons(ETH_P_IP))
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_PACKET);
	if (arp->operation != bpf_htons(ARP_REQUEST) || arp->target == arp->sender)
		return TC_ACT_OK;
	sender.words[0] = arp->sender;
	asker = endpoint_at(&sender, FAMILY_IPV4);
	if (!asker || asker->ifindex != ctx->ifindex)
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_SOURCE_IP);
	asked = arp->target;
	arp->operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(arp->target_mac, asker->mac, ETH_ALEN);
	arp->target = arp->sender;
	__builtin_memcpy(arp->sender_mac, asker->node_mac, ETH_ALEN);
	arp->sender = asked;
	__builtin_memcpy(eth->h_dest, asker->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, asker->node_mac, ETH_ALEN);
	return bpf_redirect(ctx->ifindex, 0);
}

struct advertisement {
	struct icmp6hdr header;
	struct address asked;
	__u8 option, length; /* Target link-layer address, eight bytes. */
	__u8 mac[ETH_ALEN];
};

struct pseudo_header {
	struct address source, target;
	__be32 length;
	__be32 protocol;
};

#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define TARGET_LINK_LAYER_ADDRESS 2
#define HOP_LIMIT 255 /* RFC 4861: routers decrement it, so remote senders cannot forge it. */

static __always_inline bool is_solicitation(struct __sk_buff *ctx, const struct packet *packet)
{
	__u8 type = 0;

	if (packet->family != FAMILY_IPV6 || packet->protocol != IPPROTO_ICMPV6)
		return false;
	bpf_skb_load_bytes(ctx, ETH_LENGTH + sizeof(struct ipv6hdr), &type, sizeof(type));
	return type == NEIGHBOUR_SOLICITATION;
}

/* RFC 4861. The reply overwrites the request, which has the same length with its source link-layer address option. */
static __always_inline int answer_ndp(struct __sk_buff *ctx, const struct packet *packet)
{
	const __u32 behind = ETH_LENGTH + sizeof(struct ipv6hdr);
	struct advertisement answer = {};
	struct pseudo_header pseudo = {};
	struct endpoint *asker = endpoint_at(&packet->source, FAMILY_IPV6);
	struct ipv6hdr ip;
	__s64 sum;

	if (!asker || asker->ifindex != ctx->ifindex)
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_SOURCE_IP);
	if (ctx->len != behind + sizeof(answer) || bpf_skb_load_bytes(ctx, ETH_LENGTH, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(ctx, behind + sizeof(answer.header), &answer.asked, sizeof(answer.asked)))
		return drop(ctx, FROM_CONTAINER, EGRESS, INVALID_PACKET);
	answer.header.icmp6_type = NEIGHBOUR_ADVERTISEMENT;
	answer.header.icmp6_router = 1;
	answer.header.icmp6_solicited = 1;
	answer.header.icmp6_override = 1;
	answer.option = TARGET_LINK_LAYER_ADDRESS;
	answer.length = 1;
	__builtin_memcpy(answer.mac, asker->node_mac, ETH_ALEN);
	pseudo.source = answer.asked;
	pseudo.target = packet->source;
	pseudo.length = bpf_htonl(sizeof(answer));
	pseudo.protocol = bpf_htonl(IPPROTO_ICMPV6);
	sum = bpf_csum_diff(0, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&answer, sizeof(answer), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	answer.header.icmp6_cksum = ~((sum & 0xffff) + (sum >> 16));
	__builtin_memcpy(&ip.saddr, &answer.asked, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
	ip.hop_limit = HOP_LIMIT;
	set_macs(ctx, asker->node_mac, asker->mac);
	bpf_skb_store_bytes(ctx, ETH_LENGTH, &ip, sizeof(ip), 0);
	bpf_skb_store_bytes(ctx, behind, &answer, sizeof(answer), 0);
	return bpf_redirect(ctx->ifindex, 0);
}
