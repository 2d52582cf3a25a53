// gobpf's dialect in breadth: two programs and ten maps, each of another type.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Every map can be created without BTF, by kernel 4.11 and later. Type and sizes are those
// that the kernel demands where it demands any.
#include <bpf/bpf_helpers.h>
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";
__u32 _version SEC("version") = 0xFFFFFFFE;

struct gobpf_map_def dummy_hash SEC("maps/dummy_hash") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
	.pinning = PIN_GLOBAL_NS,
	.namespace = "dummy",
};

struct gobpf_map_def dummy_array SEC("maps/dummy_array") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
	.pinning = PIN_CUSTOM_NS,
};

struct gobpf_map_def dummy_prog_array SEC("maps/dummy_prog_array") = {
	.type = BPF_MAP_TYPE_PROG_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 8,
};

struct gobpf_map_def dummy_perf_event_array SEC("maps/dummy_perf_event_array") = {
	.type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 128,
};

struct gobpf_map_def dummy_percpu_hash SEC("maps/dummy_percpu_hash") = {
	.type = BPF_MAP_TYPE_PERCPU_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
};

struct gobpf_map_def dummy_percpu_array SEC("maps/dummy_percpu_array") = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
};

// A stack trace is a list of addresses; 127 is the kernel's default depth.
struct gobpf_map_def dummy_stack_trace SEC("maps/dummy_stack_trace") = {
	.type = BPF_MAP_TYPE_STACK_TRACE,
	.key_size = sizeof(__u32),
	.value_size = 127 * sizeof(__u64),
	.max_entries = 128,
};

struct gobpf_map_def dummy_cgroup_array SEC("maps/dummy_cgroup_array") = {
	.type = BPF_MAP_TYPE_CGROUP_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 8,
};

struct gobpf_map_def dummy_lru_hash SEC("maps/dummy_lru_hash") = {
	.type = BPF_MAP_TYPE_LRU_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
};

// A trie allocates its nodes one by one, and the kernel wants that said.
struct gobpf_map_def dummy_lpm_trie SEC("maps/dummy_lpm_trie") = {
	.type = BPF_MAP_TYPE_LPM_TRIE,
	.key_size = sizeof(struct bpf_lpm_trie_key) + sizeof(__be32),
	.value_size = sizeof(__u64),
	.max_entries = 128,
	.map_flags = BPF_F_NO_PREALLOC,
};

// Refers to two maps, so that its relocations have more than one target.
SEC("xdp/prog1")
int prog1(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *seen = bpf_map_lookup_elem(&dummy_array, &key);

	if (seen)
		bpf_map_update_elem(&dummy_hash, &key, seen, BPF_ANY);
	return XDP_PASS;
}

// Refers to none: its section has no relocations at all.
SEC("xdp/prog2")
int prog2(struct xdp_md *ctx)
{
	return XDP_DROP;
}
