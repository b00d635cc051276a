/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Walk a frame from the link layer to the transport header. Included after the program has defined
 *   CONTEXT                                     its context type,
 *   WALK_INLINE                                 if walk_extensions shall be part of it (see there), and
 *   pull(context, offset, buffer, size)         a pointer to size readable bytes at offset, or NULL.
 * What cannot be read is not guessed: the walk stops and the protocol stays NO_PROTOCOL.
 */
#ifndef PARSE_H
#define PARSE_H

#include "x0.h"

/* 255 is reserved by IANA and never on the wire as an IP protocol we count. */
#define NO_PROTOCOL 255
/* Two tags (802.1ad) and four extension headers cover what routers forward; longer chains are sorted as OTHER. */
#define MAX_TAGS 2
#define MAX_EXTENSIONS 4

struct headers {
	__u16 type;		/* EtherType after the tags, host order */
	__u32 network;		/* offset of layer 3 */
	__u32 transport;	/* offset of layer 4, meaningful when has_transport */
	__u8 protocol;		/* IP protocol number or NO_PROTOCOL */
	__u8 has_transport;	/* not set in later fragments */
};

static __always_inline void parse_ipv4(CONTEXT *context, struct headers *found)
{
	struct ipv4_header buffer;
	const struct ipv4_header *ip = pull(context, found->network, &buffer, sizeof(buffer));

	if (!ip)
		return;
	__u8 words = ip->version_and_words & 0x0f;
	if (ip->version_and_words >> 4 != 4 || words < 5)
		return;
	found->protocol = ip->protocol;
	found->transport = found->network + words * 4;
	found->has_transport = !(ip->fragment & bpf_htons(0x1fff));
}

static __always_inline int is_extension(__u8 next)
{
	return next == IP_HOP_BY_HOP || next == IP_ROUTING_HEADER || next == IP_FRAGMENT ||
	       next == IP_AUTHENTICATION || next == IP_DESTINATION;
}

/* What walk_extensions found, in the one number that a global function can return. */
#define FOUND(offset, next, has_transport) ((__u64)(offset) << 16 | (__u64)(next) << 8 | (has_transport))

/*
 * Inline where little comes after it: 1 to 4 ns for the extensions instead of 9 to 13. Else global, so that the verifier
 * judges it once by itself: inlined into the classifier, its paths multiply with those of everything after it (95 ms a
 * load instead of 15).
 */
#ifdef WALK_INLINE
static __always_inline __u64
#else
__attribute__((noinline)) __u64
#endif
walk_extensions(CONTEXT *context, __u32 offset, __u32 first)
{
	__u8 next = first;

#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct ipv6_extension held;
		const struct ipv6_extension *extension;

		if (!is_extension(next))
			break;
		extension = pull(context, offset, &held, sizeof(held));
		if (!extension)
			return FOUND(0, NO_PROTOCOL, 0);
		if (next == IP_FRAGMENT) {
			if (extension->fragment & bpf_htons(0xfff8))
				return FOUND(0, extension->next, 0);
			offset += 8;
		} else if (next == IP_AUTHENTICATION) {
			offset += (extension->length + 2) * 4;
		} else {
			offset += (extension->length + 1) * 8;
		}
		next = extension->next;
	}
	return FOUND(offset, next, 1);
}

static __always_inline void parse_ipv6(CONTEXT *context, struct headers *found)
{
	struct ipv6_header buffer;
	const struct ipv6_header *ip = pull(context, found->network, &buffer, sizeof(buffer));

	if (!ip || (ip->version_and_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return;
	found->protocol = ip->next;
	found->transport = found->network + sizeof(struct ipv6_header);
	found->has_transport = 1;
	if (is_extension(ip->next)) {
		__u64 walked = walk_extensions(context, found->transport, ip->next);

		found->transport = walked >> 16;
		found->protocol = walked >> 8;
		found->has_transport = walked & 1;
	}
}

static __always_inline void parse(CONTEXT *context, __u32 link_header, __u16 type, struct headers *found)
{
	__u32 offset = link_header;

#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		struct vlan_tag held;
		const struct vlan_tag *tag;

		if (type != TYPE_VLAN && type != TYPE_SERVICE_VLAN)
			break;
		tag = pull(context, offset, &held, sizeof(held));
		if (!tag)
			break;
		type = bpf_ntohs(tag->inner_type);
		offset += VLAN_TAG;
	}
	found->type = type;
	found->network = offset;
	found->transport = 0;
	found->protocol = NO_PROTOCOL;
	found->has_transport = 0;
	if (type == TYPE_IPV4)
		parse_ipv4(context, found);
	else if (type == TYPE_IPV6)
		parse_ipv6(context, found);
}

static __always_inline enum protocol protocol_of(const struct headers *found)
{
	if (found->protocol == IP_TCP)
		return PROTOCOL_TCP;
	if (found->protocol == IP_UDP)
		return PROTOCOL_UDP;
	if (found->protocol == IP_ICMP && found->type == TYPE_IPV4)
		return PROTOCOL_ICMP;
	if (found->protocol == IP_ICMPV6 && found->type == TYPE_IPV6)
		return PROTOCOL_ICMPV6;
	return PROTOCOL_OTHER;
}

#endif
