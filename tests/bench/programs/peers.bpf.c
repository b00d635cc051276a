// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What our packet programs are measured against: programs that do nothing, and a driver that makes every packet come
 * from another address before it goes on to the program under measurement (the kernel's trial run repeats one packet).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define IPV4_SOURCE 26

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xdp_target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tc_target SEC(".maps");

/* So many addresses take turns; 0: each packet has one of its own, until 2^32 have passed. */
const volatile __u32 flows = 0;

static __always_inline void from_the_next(void *start, void *end)
{
	__u32 *source = start + IPV4_SOURCE;

	if ((void *)(source + 1) > end)
		return;
	__u32 next = *source + 1;
	*source = flows && next >= flows ? 0 : next;
}

SEC("xdp")
int xdp_nothing(struct xdp_md *frame)
{
	(void)frame;
	return XDP_PASS;
}

SEC("xdp")
int xdp_flows(struct xdp_md *frame)
{
	from_the_next((void *)(long)frame->data, (void *)(long)frame->data_end);
	bpf_tail_call(frame, &xdp_target, 0);
	return XDP_ABORTED;
}

SEC("tc")
int tc_nothing(struct __sk_buff *skb)
{
	(void)skb;
	return -1;
}

SEC("tc")
int tc_flows(struct __sk_buff *skb)
{
	from_the_next((void *)(long)skb->data, (void *)(long)skb->data_end);
	bpf_tail_call(skb, &tc_target, 0);
	return 2; /* TC_ACT_SHOT: says that the target was not there */
}

char licence[] SEC("license") = "Dual BSD/GPL";
