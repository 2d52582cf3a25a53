// Fields of the kernel's structs: where they are, how large, whether they exist. What it
// reads of the current task is what /proc says of it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

struct cred {
	struct {
		__u32 val;
	} uid;
} __core;

// Not in the kernel's order, and with a flavour.
struct task_struct___part {
	char comm[16];
	const struct cred *cred;
	int tgid;
	int pid;
	unsigned in_execve : 1;
	unsigned sched_reset_on_fork : 1;
	int no_such_field;
} __core;

enum {
	PID, TGID, COMM_3, CRED, SIZE, SIGNED, UNSIGNED, EXISTS, MISSING, BITS, GUARDED, ANSWERS
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ANSWERS);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

static __always_inline void answer(__u32 index, __u64 value)
{
	bpf_map_update_elem(&answers, &index, &value, 0);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct task_struct___part *task = (void *)bpf_get_current_task();
	const struct cred *cred = bpf_core_read_field(task, cred);
	int guarded = 5;

	answer(PID, bpf_core_read_field(task, pid));
	answer(TGID, bpf_core_read_field(task, tgid));
	answer(COMM_3, bpf_core_field_offset(task->comm[3]));
	answer(CRED, bpf_core_read_field(cred, uid.val));
	answer(SIZE, bpf_core_field_size(task->comm));
	answer(SIGNED, bpf_core_field_signed(task->pid));
	answer(UNSIGNED, bpf_core_field_signed(task->in_execve));
	answer(EXISTS, bpf_core_field_exists(task->cred));
	answer(MISSING, bpf_core_field_exists(task->no_such_field));
	answer(BITS, bpf_core_read_bits(task, sched_reset_on_fork));
	// The kernel does not have it, and the program does not get there.
	if (bpf_core_field_exists(task->no_such_field))
		guarded = bpf_core_read_field(task, no_such_field);
	answer(GUARDED, guarded);
	return XDP_PASS;
}
