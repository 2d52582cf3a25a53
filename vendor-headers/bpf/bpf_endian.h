// Conversion between host and network byte order.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

// For the target's byte order. A constant is converted at compile time. The two directions are
// the same operation and have two names for the reader's sake.
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))
#else
#define bpf_htons(x) ((__be16)(x))
#define bpf_htonl(x) ((__be32)(x))
#endif
#define bpf_ntohs(x) ((__u16)bpf_htons(x))
#define bpf_ntohl(x) ((__u32)bpf_htonl(x))
