// Strings, which the compiler keeps in a section `.rodata.str1.1` of its own.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// The pointer is a variable whose content the compiler must take from memory, the string too.
static __noinline int first_letter(const char *text)
{
	return text ? *(volatile const char *)text : 0;
}

SEC("xdp")
int letters(struct xdp_md *ctx)
{
	return first_letter(ctx->rx_queue_index ? "drop" : "pass") == 'd' ? XDP_DROP : XDP_PASS;
}
