// Reads a field that no kernel has, and does not ask before.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

struct task_struct___part {
	int pid;
	int no_such_field;
} __core;

static __noinline int read(struct task_struct___part *task)
{
	return bpf_core_read_field(task, no_such_field);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct task_struct___part *task = (void *)bpf_get_current_task();

	return read(task) + bpf_core_read_field(task, pid) ? XDP_DROP : XDP_PASS;
}
