// What a program takes from the kernel that it is loaded into: options of the kernel's
// configuration, variables, functions.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <bpf/helpers.h>

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
