// What every BPF source needs: sections, BTF map declarations, helpers, and what a program
// takes from the kernel that it is loaded into: options of the kernel's configuration,
// variables, functions.
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

// An option of the configuration, or LINUX_KERNEL_VERSION and its like. The loader puts the
// value into a map. A `__weak` one that the kernel does not have is 0.
#define __kconfig __attribute__((section(".kconfig")))

// A variable or function of the kernel. A `__weak` one that the kernel does not have has
// the address 0.
#define __ksym __attribute__((section(".ksyms")))

// Whether the kernel has a weak symbol. Without the barrier the compiler, which knows that
// no function is at 0, would answer by itself.
#define bpf_ksym_exists(symbol) ({ __u64 address = (__u64)&(symbol); \
				   asm volatile("" : "+r"(address)); address != 0; })

// The type of an option that may be `m`.
enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};
