// Fixed-width integer types, under the names that kernel headers use.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

// Big-endian numbers as they stand in a packet. The compiler does not tell them
// from host-order ones: the name is the only reminder to convert.
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
