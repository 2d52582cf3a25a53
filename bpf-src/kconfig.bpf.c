// Options of the kernel's configuration, one of each type that there is, and what the
// program sees of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

extern unsigned int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern enum libbpf_tristate CONFIG_VETH __kconfig;
extern char CONFIG_BPF_JIT __kconfig;
extern int CONFIG_LOG_BUF_SHIFT __kconfig;
extern __u64 CONFIG_NR_CPUS __kconfig __weak;
extern const char CONFIG_DEFAULT_HOSTNAME[8] __kconfig;

// What no kernel has.
extern _Bool CONFIG_XDPLOAD_NOWHERE __kconfig __weak;
extern long LINUX_XDPLOAD_NOWHERE __kconfig __weak;

struct seen {
	__u64 version;
	__u64 shift;
	__u64 cpus;
	__u8 yes;
	__u8 tristate;
	__u8 letter;
	__u8 nowhere;
	__u8 virtual_nowhere;
	char text[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} results SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct seen *seen = bpf_map_lookup_elem(&results, &zero);

	if (!seen)
		return XDP_ABORTED;
	seen->version = LINUX_KERNEL_VERSION;
	seen->shift = CONFIG_LOG_BUF_SHIFT;
	seen->cpus = CONFIG_NR_CPUS;
	seen->yes = CONFIG_BPF_SYSCALL;
	seen->tristate = CONFIG_VETH;
	seen->letter = CONFIG_BPF_JIT;
	seen->nowhere = CONFIG_XDPLOAD_NOWHERE;
	seen->virtual_nowhere = LINUX_XDPLOAD_NOWHERE;
	for (int i = 0; i < 8; i++)
		seen->text[i] = CONFIG_DEFAULT_HOSTNAME[i];
	return XDP_PASS;
}
