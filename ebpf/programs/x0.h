/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What every program here needs of the world: a few lines of packet headers and the order in which packets are sorted.
 *
 * Only stable kernel interfaces are used (UAPI contexts, packet bytes), so nothing has to be relocated and no kernel's
 * BTF is needed to build. A program that reads kernel structs adds the fields it reads here, marked
 * preserve_access_index.
 */
#ifndef X0_H
#define X0_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERNET_HEADER 14
#define ETHERTYPE_OFFSET 12

#define TYPE_IPV4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_VLAN 0x8100
#define TYPE_IPV6 0x86dd
#define TYPE_SERVICE_VLAN 0x88a8
#define VLAN_TAG 4

#define IP_HOP_BY_HOP 0
#define IP_ICMP 1
#define IP_TCP 6
#define IP_UDP 17
#define IP_ROUTING_HEADER 43
#define IP_FRAGMENT 44
#define IP_AUTHENTICATION 51
#define IP_ICMPV6 58
#define IP_DESTINATION 60
#define IP_OSPF 89

/* No header we read begins further in: gives the verifier a bound (four longest IPv6 extensions end below it). */
#define MAX_OFFSET 0x3fff

/* The orders below are the indices of the maps and the orders of models/telemetry.py; a test compares them by BTF. */
enum direction { DIRECTION_RX, DIRECTION_TX, DIRECTIONS };
enum traffic_class { TRAFFIC_ROUTING, TRAFFIC_PROBE, TRAFFIC_DATA, TRAFFIC_CLASSES };
enum size_class { SIZE_SMALL, SIZE_MEDIUM, SIZE_LARGE, SIZE_CLASSES };
enum protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_OTHER, PROTOCOLS };

struct count {
	__u64 packets;
	__u64 bytes;
};

struct vlan_tag {
	__be16 priority_and_id;
	__be16 inner_type;
};

struct ipv4_header {
	__u8 version_and_words;
	__u8 service;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 hops;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_and_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 destination[16];
};

struct ipv6_extension {
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a fragment header; something else in the others */
};

struct ports {
	__be16 source;
	__be16 destination;
};

#endif
