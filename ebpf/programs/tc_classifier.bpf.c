// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Count the packets and bytes of one interface by direction, traffic class, size class and protocol.
 *
 * Hook: tc, both directions (TCX from 6.6, else clsact). One loaded object per interface, so that no packet pays for
 * finding its interface's row and an interface's counters live exactly as long as they are attached.
 * Minimum kernel: 5.8 (gso_size in __sk_buff 5.7, CAP_BPF 5.8). Cost: 6 to 10 ns a packet over an empty
 * program, 19 ns behind IPv6 extension headers (PROG_TEST_RUN on 6.18, minimum of 7 runs of 300,000). With flows
 * from one packet in 16: 16 ns, and 31 to 35 ns when every packet is a new flow (`python -m tests.ebpf.cost`).
 *
 * A packet here is what one wire packet would be: a GSO packet counts as its segments, with the headers that each of
 * them would carry. Both ends of a link then agree, whoever cut the segments. Inside a tunnel only the outer headers
 * are multiplied. Bytes are those of the frame (no FCS, no tag that the kernel holds outside of the frame).
 */
#define CONTEXT struct __sk_buff

#include "x0.h"

/* Packet bytes are usually linear; where they are not, the kernel copies them out for us. */
static __always_inline const void *pull(struct __sk_buff *skb, __u32 offset, void *buffer, __u32 size)
{
	if (offset > MAX_OFFSET)
		return 0;
	const void *start = (const void *)(long)skb->data + offset;
	if (start + size <= (const void *)(long)skb->data_end)
		return start;
	return bpf_skb_load_bytes(skb, offset, buffer, size) ? 0 : buffer;
}

#include "parse.h"

#define PORT_BABEL 6696
#define PORT_BFD_CONTROL 3784
#define PORT_BFD_ECHO 3785
#define PORT_PROBE 6700

/* ICMPv6: multicast listener queries and reports, router and neighbour discovery. */
#define MLD_QUERY 130
#define MLD_DONE 132
#define ND_ROUTER_SOLICIT 133
#define ND_REDIRECT 137
#define MLD2_REPORT 143

#define SMALL_AT_MOST 256
#define MEDIUM_AT_MOST 1000

#define TCP_OFFSET_BYTE 12
#define UDP_HEADER 8

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DIRECTIONS * TRAFFIC_CLASSES * SIZE_CLASSES * PROTOCOLS);
	__type(key, __u32);
	__type(value, struct count);
} traffic SEC(".maps");

/* Who talks most: estimates, since one packet in `flow_sampling` stands for all of them. The oldest gives way. */
struct flow {
	__be32 source[4];	/* IPv4 as ::ffff:a.b.c.d */
	__be32 destination[4];
	__be16 source_port;	/* 0 without ports */
	__be16 destination_port;
	__u8 protocol;
	__u8 direction;
	__u16 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct count);
} flows SEC(".maps");

/* How many packets this CPU still lets pass before it looks at one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sampler SEC(".maps");

/* Set by the loader: look at one packet in so many; 0 keeps no flows, and the verifier then removes that code. */
const volatile __u32 flow_sampling = 0;

/* Set by the loader: 14 on Ethernet, 0 on devices that carry bare IP (tun, WireGuard). */
const volatile __u32 link_header = ETHERNET_HEADER;

/* Never read here: carries the orders of the enums into BTF, where the decoder's test reads them. */
struct orders {
	enum direction direction;
	enum traffic_class traffic_class;
	enum size_class size_class;
	enum protocol protocol;
};
const volatile struct orders orders = {};

static __always_inline int is_port(const struct ports *ports, __u16 port)
{
	return ports->source == bpf_htons(port) || ports->destination == bpf_htons(port);
}

static __always_inline enum traffic_class traffic_of(struct __sk_buff *skb, const struct headers *found)
{
	if (found->type == TYPE_ARP || found->protocol == IP_OSPF)
		return TRAFFIC_ROUTING;
	if (!found->has_transport)
		return TRAFFIC_DATA;
	if (found->protocol == IP_UDP) {
		struct ports held;
		const struct ports *ports = pull(skb, found->transport, &held, sizeof(held));

		if (!ports)
			return TRAFFIC_DATA;
		if (is_port(ports, PORT_BABEL) || is_port(ports, PORT_BFD_CONTROL) || is_port(ports, PORT_BFD_ECHO))
			return TRAFFIC_ROUTING;
		if (is_port(ports, PORT_PROBE))
			return TRAFFIC_PROBE;
	} else if (found->protocol == IP_ICMPV6 && found->type == TYPE_IPV6) {
		__u8 held;
		const __u8 *kind = pull(skb, found->transport, &held, sizeof(held));

		if (!kind)
			return TRAFFIC_DATA;
		if ((*kind >= MLD_QUERY && *kind <= MLD_DONE) || (*kind >= ND_ROUTER_SOLICIT && *kind <= ND_REDIRECT) ||
		    *kind == MLD2_REPORT)
			return TRAFFIC_ROUTING;
	}
	return TRAFFIC_DATA;
}

/* Bytes from the frame's start to the payload that GSO would cut: each segment carries these again. */
static __always_inline __u32 repeated_headers(struct __sk_buff *skb, const struct headers *found)
{
	if (!found->has_transport)
		return found->network;
	if (found->protocol == IP_TCP) {
		__u8 held;
		const __u8 *words = pull(skb, found->transport + TCP_OFFSET_BYTE, &held, sizeof(held));

		return words ? found->transport + (*words >> 4) * 4 : found->transport;
	}
	if (found->protocol == IP_UDP)
		return found->transport + UDP_HEADER;
	return found->transport;
}

/* Five arguments are what a call can have. Global, as walk_extensions is: judged once, by itself. */
#define OFFSETS(network, transport) ((network) | (transport) << 16)
#define KIND(type, protocol, direction) ((__u32)(type) << 16 | (__u32)(protocol) << 8 | (direction))

__attribute__((noinline)) int count_flow(struct __sk_buff *skb, __u32 offsets, __u32 kind, __u64 packets, __u64 bytes)
{
	/* No larger one was packed; masked, the verifier sees it too. */
	__u32 network = offsets & MAX_OFFSET, transport = offsets >> 16 & MAX_OFFSET;
	struct flow flow = {.protocol = kind >> 8, .direction = kind};

	if (kind >> 16 == TYPE_IPV4) {
		struct ipv4_header held;
		const struct ipv4_header *ip = pull(skb, network, &held, sizeof(held));

		if (!ip)
			return 0;
		flow.source[2] = flow.destination[2] = bpf_htonl(0xffff);
		flow.source[3] = ip->source;
		flow.destination[3] = ip->destination;
	} else {
		struct ipv6_header held;
		const struct ipv6_header *ip = pull(skb, network, &held, sizeof(held));

		if (!ip)
			return 0;
		__builtin_memcpy(flow.source, ip->source, sizeof(flow.source));
		__builtin_memcpy(flow.destination, ip->destination, sizeof(flow.destination));
	}
	if (transport && (flow.protocol == IP_TCP || flow.protocol == IP_UDP)) {
		struct ports held;
		const struct ports *ports = pull(skb, transport, &held, sizeof(held));

		if (ports) {
			flow.source_port = ports->source;
			flow.destination_port = ports->destination;
		}
	}
	struct count *known = bpf_map_lookup_elem(&flows, &flow);

	if (known) {
		__sync_fetch_and_add(&known->packets, packets);
		__sync_fetch_and_add(&known->bytes, bytes);
	} else {
		struct count first = {.packets = packets, .bytes = bytes};

		bpf_map_update_elem(&flows, &flow, &first, BPF_ANY);
	}
	return 0;
}

/* The next one is drawn, not counted off, so that no traffic can keep in step: 0 to 2n - 2 pass, on average n - 1. */
static __always_inline int is_sampled(void)
{
	__u32 zero = 0;
	__u32 *left = bpf_map_lookup_elem(&sampler, &zero);

	if (!left)
		return 0;
	if (*left) {
		*left -= 1;
		return 0;
	}
	*left = bpf_get_prandom_u32() % (2 * flow_sampling - 1);
	return 1;
}

static __always_inline int count(struct __sk_buff *skb, enum direction direction)
{
	struct headers found;
	__u16 type;

	if (link_header) {
		__be16 held;
		const __be16 *field = pull(skb, ETHERTYPE_OFFSET, &held, sizeof(held));

		type = field ? bpf_ntohs(*field) : 0;
	} else {
		type = bpf_ntohs((__u16)skb->protocol);
	}
	parse(skb, link_header, type, &found);

	__u64 packets = 1;
	__u64 bytes = skb->len;
	__u32 length = skb->len > found.network ? skb->len - found.network : 0;
	__u32 segment = skb->gso_size;

	if (segment) {
		__u32 repeated = repeated_headers(skb, &found);

		packets = skb->gso_segs;
		/* Packets from a virtual machine or a tap may arrive with their segments not counted yet. */
		if (!packets && skb->len > repeated)
			packets = (skb->len - repeated + segment - 1) / segment;
		if (!packets)
			packets = 1;
		bytes += (packets - 1) * repeated;
		if (packets > 1)
			length = segment + repeated - found.network;
	}

	enum size_class size = length <= SMALL_AT_MOST ? SIZE_SMALL : length <= MEDIUM_AT_MOST ? SIZE_MEDIUM : SIZE_LARGE;
	__u32 index = direction;
	index = index * TRAFFIC_CLASSES + traffic_of(skb, &found);
	index = index * SIZE_CLASSES + size;
	index = index * PROTOCOLS + protocol_of(&found);

	struct count *row = bpf_map_lookup_elem(&traffic, &index);
	if (row) {
		/* Per CPU and with bottom halves off: nobody else writes this row meanwhile. */
		row->packets += packets;
		row->bytes += bytes;
	}
	if (flow_sampling && found.protocol != NO_PROTOCOL && is_sampled())
		count_flow(skb, OFFSETS(found.network, found.has_transport ? found.transport : 0),
			   KIND(found.type, found.protocol, direction), packets * flow_sampling, bytes * flow_sampling);
	/* TCX_NEXT and TC_ACT_UNSPEC: whoever comes after us still decides. */
	return -1;
}

SEC("tc")
int count_ingress(struct __sk_buff *skb)
{
	return count(skb, DIRECTION_RX);
}

SEC("tc")
int count_egress(struct __sk_buff *skb)
{
	return count(skb, DIRECTION_TX);
}

char licence[] SEC("license") = "Dual BSD/GPL";
