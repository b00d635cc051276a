// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What the network stack gives up on or does again: packets dropped by reason, TCP retransmits, TCP state changes; in one
 * network namespace or on the whole machine.
 *
 * Three signals, each on its own: one that cannot attach leaves the others be. Of each the loader takes the first variant
 * that loads and attaches: tp_btf, raw_tp, then tp (which needs tracefs and root).
 *   drop        tracepoint skb:kfree_skb.               Minimum kernel: 5.17 (the reason is an argument from there on).
 *   retransmit  tracepoint tcp:tcp_retransmit_skb.      Minimum kernel: 5.8.
 *   state       tracepoint sock:inet_sock_set_state.    Minimum kernel: 5.8.
 * Nothing is paid for a packet that arrives. Cost: 230 ns a drop, 260 to 450 ns a TCP state (6.18, a busy machine; mean by
 * the kernel's own count, `python -m tests.ebpf.cost`). A retransmit: not measured.
 *
 * The numbers of the reasons move between kernels: they are counted as numbers, and named from the running kernel's BTF.
 */
#include "kernel.h"

/* 129 reasons on 6.18. Others (of subsystems: 65,536 and above) share the last row. */
#define REASONS 256
/* TCP_ESTABLISHED is 1, the highest is 13; include/net/tcp_states.h. */
#define STATES 16
#define ESTABLISHED 1
#define CLOSED 7
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10
#define PROTOCOL_OF_TCP 6

enum event_kind { EVENT_DROP, EVENT_RETRANSMIT, EVENT_STATE, EVENTS };

/* IPv4 addresses are kept as ::ffff:a.b.c.d, so that one key fits both. */
struct address {
	__be32 words[4];
};

struct peer {
	__u64 retransmits;
	__u64 established;
	__u64 closed;
};

struct event {
	__u64 at;
	enum event_kind kind;
	__u32 detail;	/* a drop's reason, a state's number */
	struct address peer;
};

/* One number a row; per CPU, since a flood drops on every CPU at once. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATES);
	__type(key, __u32);
	__type(value, __u64);
} states SEC(".maps");

/* Row: the kind of event. Retransmits are counted in theirs of `seen`; what the ring had no room for in `lost`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* The peers heard of last; an older one gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, struct peer);
} peers SEC(".maps");

/* 128 kB: some 3,200 events between two readings. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 131072);
} events SEC(".maps");

/* Inode of the only network namespace to look at; 0: all of them. */
const volatile __u32 namespace = 0;

/* Never read here: carries the struct into BTF, where the decoder's test reads it. */
const volatile struct event layout = {};

static __always_inline void add(void *map, __u32 row)
{
	__u64 *count = bpf_map_lookup_elem(map, &row);

	/* Atomic: an interrupt may find us here; on its own CPU's row, so nobody waits. */
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline __u32 namespace_of(const struct sock *sock)
{
	return sock ? BPF_CORE_READ(sock, __sk_common.skc_net.net, ns.inum) : 0;
}

static __always_inline int is_foreign(__u32 found)
{
	return namespace && found != namespace;
}

static __always_inline void tell(enum event_kind kind, __u32 detail, const struct address *peer)
{
	add(&seen, kind);
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		add(&lost, kind);
		return;
	}
	event->at = bpf_ktime_get_ns();
	event->kind = kind;
	event->detail = detail;
	event->peer = *peer;
	/* No wake-up: whoever reads comes by on its own time. */
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* Zero when the socket is of neither family. */
static __always_inline int peer_of(const struct sock *sock, struct address *peer)
{
	__u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);

	__builtin_memset(peer, 0, sizeof(*peer));
	if (family == FAMILY_IPV4) {
		peer->words[2] = bpf_htonl(0xffff);
		peer->words[3] = BPF_CORE_READ(sock, __sk_common.skc_daddr);
		return 1;
	}
	if (family != FAMILY_IPV6)
		return 0;
	BPF_CORE_READ_INTO(peer, sock, __sk_common.skc_v6_daddr);
	return 1;
}

static __always_inline struct peer *known(const struct address *address)
{
	struct peer *found = bpf_map_lookup_elem(&peers, address);

	if (!found) {
		struct peer fresh = {};

		bpf_map_update_elem(&peers, address, &fresh, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&peers, address);
	}
	return found;
}

static __always_inline void dropped(const struct sk_buff *skb, __u32 reason)
{
	struct address nobody = {};

	if (namespace) {
		struct net_device *device = BPF_CORE_READ(skb, dev);
		__u32 found = device ? BPF_CORE_READ(device, nd_net.net, ns.inum) : 0;

		/* A packet waiting at a socket has other things where the device was; what is not readable reads as 0. */
		if (!found)
			found = namespace_of(BPF_CORE_READ(skb, sk));
		if (is_foreign(found))
			return;
	}
	add(&drops, reason < REASONS - 1 ? reason : REASONS - 1);
	tell(EVENT_DROP, reason, &nobody);
}

static __always_inline void retransmitted(const struct sock *sock)
{
	struct address address;

	if (!sock || is_foreign(namespace_of(sock)) || !peer_of(sock, &address))
		return;
	struct peer *peer = known(&address);

	if (peer)
		__sync_fetch_and_add(&peer->retransmits, 1);
	tell(EVENT_RETRANSMIT, 0, &address);
}

static __always_inline void changed(const struct sock *sock, __u32 state)
{
	struct address address;

	if (!sock || is_foreign(namespace_of(sock)) || BPF_CORE_READ(sock, sk_protocol) != PROTOCOL_OF_TCP ||
	    !peer_of(sock, &address))
		return;
	add(&states, state < STATES ? state : 0);
	if (state == ESTABLISHED || state == CLOSED) {
		struct peer *peer = known(&address);

		if (peer)
			__sync_fetch_and_add(state == ESTABLISHED ? &peer->established : &peer->closed, 1);
	}
	tell(EVENT_STATE, state, &address);
}

SEC("tp_btf/kfree_skb")
int drop__tp_btf(__u64 *arguments)
{
	dropped((const struct sk_buff *)arguments[0], arguments[2]);
	return 0;
}

SEC("raw_tp/kfree_skb")
int drop__raw_tp(struct bpf_raw_tracepoint_args *context)
{
	dropped((const struct sk_buff *)context->args[0], context->args[2]);
	return 0;
}

SEC("tp/skb/kfree_skb")
int drop__tp(struct trace_event_raw_kfree_skb *record)
{
	dropped(BPF_CORE_READ(record, skbaddr), BPF_CORE_READ(record, reason));
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int retransmit__tp_btf(__u64 *arguments)
{
	retransmitted((const struct sock *)arguments[0]);
	return 0;
}

SEC("raw_tp/tcp_retransmit_skb")
int retransmit__raw_tp(struct bpf_raw_tracepoint_args *context)
{
	retransmitted((const struct sock *)context->args[0]);
	return 0;
}

SEC("tp/tcp/tcp_retransmit_skb")
int retransmit__tp(void *context)
{
	const struct trace_event_raw_tcp_retransmit_skb *record = context;
	const struct trace_event_raw_tcp_event_sk_skb *shared = context;

	/* An access to a struct that the kernel lacks does not load; which of the two it has, libbpf knows by then. */
	if (bpf_core_type_exists(struct trace_event_raw_tcp_retransmit_skb))
		retransmitted(BPF_CORE_READ(record, skaddr));
	else
		retransmitted(BPF_CORE_READ(shared, skaddr));
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int state__tp_btf(__u64 *arguments)
{
	changed((const struct sock *)arguments[0], arguments[2]);
	return 0;
}

SEC("raw_tp/inet_sock_set_state")
int state__raw_tp(struct bpf_raw_tracepoint_args *context)
{
	changed((const struct sock *)context->args[0], context->args[2]);
	return 0;
}

SEC("tp/sock/inet_sock_set_state")
int state__tp(struct trace_event_raw_inet_sock_set_state *record)
{
	changed(BPF_CORE_READ(record, skaddr), BPF_CORE_READ(record, newstate));
	return 0;
}

char licence[] SEC("license") = "Dual BSD/GPL";
