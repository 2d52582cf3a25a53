// Functions of the kernel's connection tracking, which is a module on many kernels: asks
// for a flow that nobody knows.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct nf_conn {
	__u32 mark;
};

struct bpf_sock_tuple {
	__be32 saddr, daddr;
	__be16 sport, dport;
};

struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple__sz,
					 struct bpf_ct_opts *opts, __u32 opts__sz) __ksym;
extern void bpf_ct_release(struct nf_conn *connection) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s32);
} errors SEC(".maps");

SEC("xdp")
int look(struct xdp_md *ctx)
{
	// This network namespace, TCP.
	struct bpf_ct_opts opts = { .netns_id = -1, .l4proto = 6 };
	struct bpf_sock_tuple tuple = { 0 };
	struct nf_conn *connection;
	__u32 index = 0;

	connection = bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple), &opts, sizeof(opts));
	if (connection)
		bpf_ct_release(connection);
	bpf_map_update_elem(&errors, &index, &opts.error, 0);
	return XDP_PASS;
}
