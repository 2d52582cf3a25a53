// A program that throws: an exception callback says what becomes of the packet.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern void bpf_throw(__u64 cookie) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} thrown SEC(".maps");

static __noinline void keep(__u64 cookie)
{
	__u32 key = 0;

	bpf_map_update_elem(&thrown, &key, &cookie, 0);
}

// Nothing calls it: the kernel finds it by its name in the tag of the program.
__noinline int on_throw(__u64 cookie)
{
	keep(cookie);
	return XDP_DROP;
}

SEC("xdp") __attribute__((btf_decl_tag("exception_callback:on_throw")))
int throw_short(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;

	if (data + 60 > data_end)
		bpf_throw(7);
	return XDP_PASS;
}
