// PPP's numbers for the protocols that the programs tell apart, in host byte order.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#define PPP_IP 0x21
#define PPP_IPV6 0x57
