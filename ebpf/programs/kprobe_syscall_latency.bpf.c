// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How long each system call takes, as a histogram whose steps double: one row a system call, all processes together.
 *
 * Three variants, of which the loader takes the first that loads and attaches:
 *   tp_btf  sys_enter and sys_exit, the start kept with the task.        Minimum kernel: 5.11 (task storage there).
 *   raw_tp  the same tracepoints, the start kept in a hash by thread.    Minimum kernel: 5.8 (CAP_BPF there).
 *   kprobe  on x64_sys_call and its return, the same hash.               Minimum kernel: 6.9, or an older stable one that
 *           took the function over; x86-64 only: elsewhere this variant does not attach.
 * Cost a system call: 580 ns by tp_btf where the least pair that can make a histogram costs 510, 740 ns by raw_tp (6.18, a
 * busy machine on which getppid alone takes 257); docs/ebpf.md has the commands. kprobe: not measured.
 *
 * Times are counted in 2^-30 of a second instead of nanoseconds, so that every step is a power of two of a second, the
 * steps of a Prometheus native histogram of schema 0.
 */
#include "kernel.h"

/* Linux has some 470 system calls; what lies beyond shares the last row. */
#define SYSCALLS 512
/* From 2^-24 s (60 ns) to 2^6 s, then everything slower. */
#define SLOTS 32
#define FIRST_SLOT 6

struct histogram {
	__u64 nanoseconds;
	__u64 slots[SLOTS];
};

struct started {
	__u64 at;
	__u64 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SYSCALLS);
	__type(key, __u32);
	__type(value, struct histogram);
} syscalls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct started);
} of_task SEC(".maps");

/* Threads inside a system call at once; of more, the ones longest inside are forgotten and not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct started);
} of_thread SEC(".maps");

#include "syscalls.h"

/* Never read here: carries the machine's names of its system calls into BTF, where the decoder reads them. */
const volatile enum syscall names = 0;

static __always_inline __u32 log2_of(__u64 value)
{
	__u32 result = 0;

#pragma unroll
	for (__u32 shift = 32; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			result += shift;
		}
	}
	return result;
}

static __always_inline void finish(struct started *started)
{
	/* Zero: this thread was inside before we were attached, or its start was another's that died inside. */
	if (!started || !started->at)
		return;
	__u64 passed = bpf_ktime_get_ns() - started->at;
	__u32 row = started->number < SYSCALLS ? started->number : SYSCALLS - 1;

	started->at = 0;
	struct histogram *found = bpf_map_lookup_elem(&syscalls, &row);
	if (!found)
		return;
	/* 2^30 / 10^9 = 1.07374; 1 + 1/16 + 1/128 + 1/256 is 0.05 % more. */
	__u32 slot = log2_of(passed + (passed >> 4) + (passed >> 7) + (passed >> 8));
	slot = slot > FIRST_SLOT ? slot - FIRST_SLOT : 0;
	if (slot >= SLOTS)
		slot = SLOTS - 1;
	/* Per CPU, called with preemption off, and no interrupt makes a system call: nobody else writes this row now. */
	found->nanoseconds += passed;
	found->slots[slot] += 1;
}

static __always_inline void begin_of_thread(__u64 number)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct started *known = bpf_map_lookup_elem(&of_thread, &thread);

	if (known) {
		known->number = number;
		known->at = bpf_ktime_get_ns();
	} else {
		struct started started = {.at = bpf_ktime_get_ns(), .number = number};

		bpf_map_update_elem(&of_thread, &thread, &started, BPF_ANY);
	}
}

static __always_inline void finish_of_thread(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	finish(bpf_map_lookup_elem(&of_thread, &thread));
}

SEC("tp_btf/sys_enter")
int syscall__tp_btf__enter(__u64 *arguments)
{
	__u64 number = arguments[1];
	struct started *started =
		bpf_task_storage_get(&of_task, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (started) {
		started->number = number;
		started->at = bpf_ktime_get_ns();
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int syscall__tp_btf__exit(__u64 *arguments)
{
	(void)arguments;
	finish(bpf_task_storage_get(&of_task, bpf_get_current_task_btf(), 0, 0));
	return 0;
}

SEC("raw_tp/sys_enter")
int syscall__raw_tp__enter(struct bpf_raw_tracepoint_args *context)
{
	begin_of_thread(context->args[1]);
	return 0;
}

SEC("raw_tp/sys_exit")
int syscall__raw_tp__exit(struct bpf_raw_tracepoint_args *context)
{
	(void)context;
	finish_of_thread();
	return 0;
}

SEC("kprobe/x64_sys_call")
int syscall__kprobe__enter(struct pt_regs___x86 *registers)
{
	begin_of_thread(BPF_CORE_READ(registers, si));
	return 0;
}

SEC("kretprobe/x64_sys_call")
int syscall__kprobe__exit(void *context)
{
	(void)context;
	finish_of_thread();
	return 0;
}

char licence[] SEC("license") = "Dual BSD/GPL";
