/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few fields of kernel structs that the tracing programs read. Marked preserve_access_index: libbpf moves each access
 * to where the running kernel has the field, so nothing here depends on the kernel that built it (CO-RE).
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
		};
	};
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct net_device {
	possible_net_t nd_net;
};

struct sk_buff {
	union {
		struct net_device *dev;
	};
	struct sock *sk;
};

/* Only the name counts: the numbers are the running kernel's. */
enum skb_drop_reason { SKB_DROP_REASON_UNKNOWN_TO_US };

/* What a classic tracepoint hands over; the offsets differ between kernels, so these too are relocated. */
struct trace_event_raw_kfree_skb {
	void *skbaddr;
	enum skb_drop_reason reason;
};

struct trace_event_raw_tcp_retransmit_skb {
	const void *skaddr;
};

/* The same record before it got a class of its own (6.1 and 6.12 have this one, 6.18 the other). */
struct trace_event_raw_tcp_event_sk_skb {
	const void *skaddr;
};

struct trace_event_raw_inet_sock_set_state {
	const void *skaddr;
	int newstate;
};

/* Registers as x86-64 keeps them: arguments one and two of a function are di and si. */
struct pt_regs___x86 {
	unsigned long si;
};

#pragma clang attribute pop

#endif
