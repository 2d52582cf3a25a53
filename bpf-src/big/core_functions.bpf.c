// A large program that depends on the kernel's types: some 7,500 instructions in 20 functions, each of which reads
// fields of several of the kernel's structs.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>
#include "twenty.h"

char _license[] SEC("license") = "GPL";

struct mm_struct {
	unsigned long task_size;
	unsigned long start_code;
	unsigned long start_stack;
	unsigned long total_vm;
} __core;

struct signal_struct {
	int nr_threads;
	unsigned int flags;
} __core;

struct task_struct {
	int pid;
	int tgid;
	int prio;
	unsigned int flags;
	struct mm_struct *mm;
	struct signal_struct *signal;
	struct task_struct *group_leader;
} __core;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

#define FUNCTION(n)                                                                              \
	static __noinline __u64 mix_##n(__u64 number)                                            \
	{                                                                                        \
		struct task_struct *task = (void *)bpf_get_current_task();                       \
		struct task_struct *leader = bpf_core_read_field(task, group_leader);            \
		struct mm_struct *mm = bpf_core_read_field(task, mm);                            \
		struct signal_struct *signal = bpf_core_read_field(leader, signal);              \
		__u32 key = number % 64;                                                         \
		__u64 *count;                                                                    \
                                                                                                 \
		number += bpf_core_read_field(task, pid) + bpf_core_read_field(leader, tgid);    \
		STEPS(number);                                                                   \
		number += bpf_core_read_field(task, prio) ^ bpf_core_read_field(task, flags);    \
		STEPS(number);                                                                   \
		number += bpf_core_read_field(mm, task_size);                                    \
		number += bpf_core_read_field(mm, start_code);                                   \
		number += bpf_core_read_field(mm, start_stack);                                  \
		number += bpf_core_read_field(mm, total_vm);                                     \
		count = bpf_map_lookup_elem(&counts, &key);                                      \
		if (count)                                                                       \
			number += __sync_fetch_and_add(count, 1) + n;                            \
		STEPS(number);                                                                   \
		STEP(number); STEP(number); STEP(number); STEP(number);                          \
		if (bpf_core_field_exists(signal->nr_threads))                                   \
			number += bpf_core_read_field(signal, nr_threads);                       \
		return number + bpf_core_read_field(signal, flags);                              \
	}

#define CALL(n) number = mix_##n(number);

FOR_EACH(FUNCTION)

SEC("xdp")
int mix_all(struct xdp_md *ctx)
{
	__u64 number = ctx->data_end - ctx->data;

	FOR_EACH(CALL)
	return number == 0 ? XDP_DROP : XDP_PASS;
}
