/* Parse packets, and change their TTL and MAC addresses. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define ETH_LENGTH sizeof(struct ethhdr)

struct packet {
	struct address source;
	struct address target;
	__u8 family;
	__u8 ttl;
	__u8 tos; /* IPv4 only, for route lookup. */
	__u8 protocol;
};

/* Make the first bytes readable. Callers must still compare with data_end. */
static __always_inline void pull(struct __sk_buff *ctx, __u32 length)
{
	if ((void *)(long)ctx->data + length > (void *)(long)ctx->data_end)
		bpf_skb_pull_data(ctx, length);
}

static __always_inline bool is_ip(struct __sk_buff *ctx)
{
	return ctx->protocol == bpf_htons(ETH_P_IP) || ctx->protocol == bpf_htons(ETH_P_IPV6);
}

/* False if the header is truncated or invalid. */
static __always_inline bool parse(struct __sk_buff *ctx, struct packet *packet)
{
	void *data, *end;

	if (ctx->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip;

		pull(ctx, ETH_LENGTH + sizeof(*ip));
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		ip = data + ETH_LENGTH;
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return false;
		packet->family = FAMILY_IPV4;
		packet->source.words[0] = ip->saddr;
		packet->target.words[0] = ip->daddr;
		packet->ttl = ip->ttl;
		packet->tos = ip->tos;
		packet->protocol = ip->protocol;
	} else {
		struct ipv6hdr *ip;

		pull(ctx, ETH_LENGTH + sizeof(*ip));
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		ip = data + ETH_LENGTH;
		if ((void *)(ip + 1) > end || ip->version != 6)
			return false;
		packet->family = FAMILY_IPV6;
		__builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
		__builtin_memcpy(&packet->target, &ip->daddr, sizeof(packet->target));
		packet->ttl = ip->hop_limit;
		packet->protocol = ip->nexthdr;
	}
	return true;
}

static __always_inline bool is_multicast(const struct packet *packet)
{
	__u32 first = bpf_ntohl(packet->target.words[0]);

	return packet->family == FAMILY_IPV4 ? first >> 28 == 0xe : first >> 24 == 0xff;
}

/* Decrement the TTL or hop limit; false if it is exhausted. */
static __always_inline bool decrement_ttl(struct __sk_buff *ctx, const struct packet *packet)
{
	__u8 ttl = packet->ttl - 1;

	if (packet->ttl <= 1)
		return false;
	if (packet->family == FAMILY_IPV6)
		return !bpf_skb_store_bytes(ctx, ETH_LENGTH + offsetof(struct ipv6hdr, hop_limit), &ttl, sizeof(ttl),
					    BPF_F_RECOMPUTE_CSUM);
	/* The TTL is the upper byte of a 16-bit word of the checksum. */
	bpf_l3_csum_replace(ctx, ETH_LENGTH + offsetof(struct iphdr, check), bpf_htons(packet->ttl << 8),
			    bpf_htons(ttl << 8), 2);
	return !bpf_skb_store_bytes(ctx, ETH_LENGTH + offsetof(struct iphdr, ttl), &ttl, sizeof(ttl), 0);
}

static __always_inline void set_macs(struct __sk_buff *ctx, const __u8 *source, const __u8 *target)
{
	bpf_skb_store_bytes(ctx, offsetof(struct ethhdr, h_dest), target, ETH_ALEN, 0);
	bpf_skb_store_bytes(ctx, offsetof(struct ethhdr, h_source), source, ETH_ALEN, 0);
}
