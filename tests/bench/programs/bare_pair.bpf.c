// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The least that a histogram of system calls' latencies can be made of: a pair of tp_btf programs, the start kept with
 * the task, one histogram for all calls.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define SLOTS 64

struct task_struct;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} started SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

SEC("tp_btf/sys_enter")
int bare_enter(__u64 *context)
{
	__u64 *at = bpf_task_storage_get(&started, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	(void)context;
	if (at)
		*at = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int bare_exit(__u64 *context)
{
	__u64 *at = bpf_task_storage_get(&started, bpf_get_current_task_btf(), 0, 0);
	__u32 slot = 0;

	(void)context;
	if (!at || !*at)
		return 0;
	__u64 passed = bpf_ktime_get_ns() - *at;
	for (__u32 shift = 32; shift; shift >>= 1) {
		if (passed >> shift) {
			passed >>= shift;
			slot += shift;
		}
	}
	slot &= SLOTS - 1;
	__u64 *count = bpf_map_lookup_elem(&slots, &slot);
	if (count)
		*count += 1;
	return 0;
}

char licence[] SEC("license") = "Dual BSD/GPL";
