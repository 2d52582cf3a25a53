// One map of each type that an object can define by itself, with the fields that the type knows.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct value {
	__u64 packets;
	__u32 bytes;
};

struct prefix {
	__u32 prefixlen;
	__u8 address[4];
};

#define MAP(name, map_type, flags, entries, key_type, value_type) \
	struct { \
		__uint(type, map_type); \
		__uint(map_flags, flags); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

MAP(hash, BPF_MAP_TYPE_HASH, 0, 16, __u32, struct value);
MAP(hash_on_node, BPF_MAP_TYPE_HASH, BPF_F_NUMA_NODE, 16, __u32, struct value);
MAP(array, BPF_MAP_TYPE_ARRAY, 0, 16, __u32, struct value);
MAP(array_in_memory, BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, 16, __u32, struct value);
MAP(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC, 16, __u32, struct value);
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 0, 16, __u32, struct value);
MAP(lru_hash, BPF_MAP_TYPE_LRU_HASH, 0, 16, __u32, struct value);
MAP(lru_by_cpu, BPF_MAP_TYPE_LRU_HASH, BPF_F_NO_COMMON_LRU, 17, __u32, struct value);
MAP(lru_percpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, 0, 16, __u32, struct value);
MAP(lpm_trie, BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC, 16, struct prefix, __u32);
MAP(devmap, BPF_MAP_TYPE_DEVMAP, 0, 8, __u32, __u32);
MAP(devmap_programs, BPF_MAP_TYPE_DEVMAP, 0, 8, __u32, __u64);
MAP(devmap_hash, BPF_MAP_TYPE_DEVMAP_HASH, 0, 8, __u32, __u32);
MAP(cpumap, BPF_MAP_TYPE_CPUMAP, 0, 2, __u32, __u32);
MAP(xskmap, BPF_MAP_TYPE_XSKMAP, 0, 8, __u32, __u32);
MAP(sockmap, BPF_MAP_TYPE_SOCKMAP, 0, 8, __u32, __u32);
MAP(sockhash, BPF_MAP_TYPE_SOCKHASH, 0, 8, __u32, __u32);
MAP(reuseport, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 0, 8, __u32, __u64);
MAP(cgroup_array, BPF_MAP_TYPE_CGROUP_ARRAY, 0, 8, __u32, __u32);
MAP(stack_trace, BPF_MAP_TYPE_STACK_TRACE, 0, 8, __u32, __u64[16]);
MAP(prog_array, BPF_MAP_TYPE_PROG_ARRAY, 0, 8, __u32, __u32);
// Its size is for the loader to say: one entry for each CPU.
MAP(events, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 0, 0, __u32, __u32);
MAP(events_of_two, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 0, 2, __u32, __u32);
MAP(sk_storage, BPF_MAP_TYPE_SK_STORAGE, BPF_F_NO_PREALLOC, 0, __u32, struct value);
MAP(task_storage, BPF_MAP_TYPE_TASK_STORAGE, BPF_F_NO_PREALLOC, 0, __u32, struct value);
MAP(cgrp_storage, BPF_MAP_TYPE_CGRP_STORAGE, BPF_F_NO_PREALLOC, 0, __u32, struct value);

// Queues, stacks and filters have no keys.
#define KEYLESS(name, map_type, entries) \
	struct { \
		__uint(type, map_type); \
		__uint(max_entries, entries); \
		__type(value, struct value); \
	} name SEC(".maps")

KEYLESS(queue, BPF_MAP_TYPE_QUEUE, 16);
KEYLESS(stack, BPF_MAP_TYPE_STACK, 16);

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 1000);
	__uint(map_extra, 3);
	__type(value, __u32);
} bloom_filter SEC(".maps");

// Ring buffers have no entries, and only some sizes: the loader rounds up.
#define RING_BUFFER(name, map_type, size) \
	struct { \
		__uint(type, map_type); \
		__uint(max_entries, size); \
	} name SEC(".maps")

RING_BUFFER(ring_buffer, BPF_MAP_TYPE_RINGBUF, 64 * 1024);
RING_BUFFER(small_ring, BPF_MAP_TYPE_RINGBUF, 100);
RING_BUFFER(odd_ring, BPF_MAP_TYPE_RINGBUF, 3 * 4096);
RING_BUFFER(user_ring, BPF_MAP_TYPE_USER_RINGBUF, 5000);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NUMA_NODE);
	__uint(numa_node, 0);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 4);
} node SEC(".maps");

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct value *value = bpf_map_lookup_elem(&array, &key);

	return value && value->packets ? XDP_DROP : XDP_PASS;
}
