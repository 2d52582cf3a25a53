// Ethernet: the frame header and the ethertypes that the programs tell apart.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

#define ETH_ALEN 6
#define ETH_HLEN 14

// Ethertypes, in host byte order.
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86DD
#define ETH_P_PPP_SES 0x8864
#define ETH_P_8021AD 0x88A8

// The system's header marks this struct as packed. The layout is the same without it, and
// `h_proto` is then read in one instruction instead of byte by byte.
struct ethhdr {
	__u8 h_dest[ETH_ALEN];
	__u8 h_source[ETH_ALEN];
	__be16 h_proto;
};
