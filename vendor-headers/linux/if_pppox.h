// The header of a PPPoE session's frames (RFC 2516), without tags: a session has none.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

struct pppoe_hdr {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	__u8 type : 4;
	__u8 ver : 4;
#else
	__u8 ver : 4;
	__u8 type : 4;
#endif
	__u8 code;
	__be16 sid;
	__be16 length;
};
