// The arithmetic of instruction set v2: the second ending of this name is its -mcpu.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "arithmetic.h"
