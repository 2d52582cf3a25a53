// What every BPF source needs: sections, BTF map declarations, helpers, byte order.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/bpf.h>

// A loader goes by section names. `used` keeps the symbol although nothing in the file
// refers to it.
#define SEC(name) __attribute__((section(name), used))

#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))

// A BTF map definition is a struct that never holds data: the loader reads only the types
// of its fields. A number is the length of an array type, and a type is what a pointer
// points to, so that each field is one pointer wide whatever it says.
#define __uint(field, number) __typeof__(int[number]) *field
#define __type(field, type) __typeof__(type) *field
// What the values of a map of maps or of a prog array are; an initialiser may fill them.
#define __array(field, type) __typeof__(type) *field[]
// A number of up to 64 bits: the only value of an enumeration. Its name must be a new one.
#define __ulong(field, number) enum { unique_name(field, __COUNTER__) = number } field
#define unique_name(name, counter) unique_name_of(name, counter)
#define unique_name_of(name, counter) name##_value_##counter

// Values of the field `pinning` in a BTF map definition.
enum {
	LIBBPF_PIN_NONE = 0,
	LIBBPF_PIN_BY_NAME = 1,
};

// A helper is called through a constant pointer whose value is the helper's number: the
// compiler turns that into the instruction `call <number>`.
#define BPF_HELPER(result, name, ...) \
	static result (*const bpf_##name)(__VA_ARGS__) = (void *)BPF_FUNC_##name

BPF_HELPER(void *, map_lookup_elem, void *map, const void *key);
BPF_HELPER(long, map_update_elem, void *map, const void *key, const void *value, __u64 flags);
BPF_HELPER(long, map_delete_elem, void *map, const void *key);
BPF_HELPER(__u64, ktime_get_ns, void);
BPF_HELPER(__u32, get_prandom_u32, void);
BPF_HELPER(__u32, get_smp_processor_id, void);
BPF_HELPER(long, tail_call, void *ctx, void *prog_array, __u32 index);
BPF_HELPER(long, redirect, __u32 ifindex, __u64 flags);
BPF_HELPER(long, skb_load_bytes, const void *skb, __u32 offset, void *to, __u32 size);
BPF_HELPER(__u64, get_current_task, void);
BPF_HELPER(long, probe_read_kernel, void *to, __u32 size, const void *from);
BPF_HELPER(long, perf_event_output, void *ctx, void *map, __u64 flags, const void *data,
	   __u64 size);
BPF_HELPER(long, xdp_adjust_head, struct xdp_md *ctx, int delta);
BPF_HELPER(long, redirect_map, void *map, __u64 key, __u64 flags);
BPF_HELPER(long, xdp_adjust_meta, struct xdp_md *ctx, int delta);
BPF_HELPER(long, xdp_adjust_tail, struct xdp_md *ctx, int delta);
BPF_HELPER(__u64, xdp_get_buff_len, struct xdp_md *ctx);

BPF_HELPER(void *, ringbuf_reserve, void *map, __u64 size, __u64 flags);
BPF_HELPER(void, ringbuf_discard, void *record, __u64 flags);
BPF_HELPER(void *, this_cpu_ptr, const void *percpu_ptr);
BPF_HELPER(long, loop, __u32 iterations, void *callback, void *callback_ctx, __u64 flags);

#undef BPF_HELPER

// Between host and network byte order, for the target's byte order. A constant is converted
// at compile time. The two directions are the same operation and have two names for the
// reader's sake.
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))
#else
#define bpf_htons(x) ((__be16)(x))
#define bpf_htonl(x) ((__be32)(x))
#endif
#define bpf_ntohs(x) ((__u16)bpf_htons(x))
#define bpf_ntohl(x) ((__u32)bpf_htonl(x))
