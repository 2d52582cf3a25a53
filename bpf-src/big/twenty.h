// What programs with twenty long functions are made of.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#define FOR_EACH(part)                                                                           \
	part(0) part(1) part(2) part(3) part(4) part(5) part(6) part(7) part(8) part(9)          \
	part(10) part(11) part(12) part(13) part(14) part(15) part(16) part(17) part(18) part(19)

// Xorshift (Marsaglia 2003): steps of which the compiler can leave out none.
#define STEP(number)                                                                             \
	do {                                                                                     \
		number ^= number << 13;                                                          \
		number ^= number >> 7;                                                           \
		number ^= number << 17;                                                          \
	} while (0)
#define STEPS(number)                                                                            \
	do {                                                                                     \
		STEP(number); STEP(number); STEP(number); STEP(number);                          \
		STEP(number); STEP(number); STEP(number);                                        \
	} while (0)
