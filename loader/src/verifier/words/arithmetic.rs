//! Sentences about arithmetic: with pointers, and by numbers that an operation does not take.

use super::{Row, row};
use crate::error::RefusalKind::{InvalidNumber, PointerArithmetic};

const MASK_OFFSET: &[&str] = &[
    "compute with the offset, a number, and add the result to the pointer, as in `{movable} + (offset & ~3)`",
];

/// What is tried after the rows for any instruction.
pub(super) const TABLE: &[Row] = &[
    row(
        PointerArithmetic,
        &[
            "R{reg} bitwise operator {operator} on pointer prohibited",
            "R{reg} pointer arithmetic with {operator} operator prohibited",
        ],
        &[
            "`{operator}` on {register}, {holds}: only numbers may be added to a pointer or subtracted from it",
            "`{operator}` on a pointer: only numbers may be added to it or subtracted from it",
        ],
        MASK_OFFSET,
    ),
    Row {
        needs: "operation",
        ..row(
            PointerArithmetic,
            &[
                "math between {what} pointer and register with unbounded min value is not allowed",
                "math between {what} pointer and {number} is not allowed",
                "value {number} makes {what} pointer be out of bounds",
            ],
            &[
                "`{operation}` on {what_words}: only numbers may be added to a pointer or subtracted from it",
                "`{operation}` on a pointer: only numbers may be added to it or subtracted from it",
            ],
            MASK_OFFSET,
        )
    },
    row(
        PointerArithmetic,
        &["R{reg} pointer += pointer prohibited"],
        &["two pointers are added: only numbers may be added to a pointer or subtracted from it"],
        &[],
    ),
    row(
        PointerArithmetic,
        &["R{reg} pointer |= pointer prohibited"],
        &[
            "clang has made one comparison of two pointers with NULL, by `|=`, which is not allowed on pointers",
        ],
        &["compare each of them in an `if` of its own, and return where one is NULL"],
    ),
    row(
        PointerArithmetic,
        &["R{reg} pointer {operator} pointer prohibited"],
        &["`{operator}` on two pointers: only numbers may be added to a pointer or subtracted from it"],
        &[],
    ),
    row(
        PointerArithmetic,
        &["math between {what} pointer and register with unbounded min value is not allowed"],
        &["an unbounded number is added to {what_words}", "an unbounded number is added to a pointer"],
        &["limit the number first, by a mask or by comparisons: one with a sign with 0, too"],
    ),
    row(
        PointerArithmetic,
        &["math between {what} pointer and {number} is not allowed"],
        &["a number beyond 2^29 is added to a pointer"],
        &["limit the number first, by a comparison or a mask"],
    ),
    row(
        PointerArithmetic,
        &[
            "value {number} makes {what} pointer be out of bounds",
            "{what} pointer offset {number} is not allowed",
        ],
        &[
            "a number that may be {negative} is added to {what_words}",
            "a number that may be {negative} is added to a pointer",
            "{number} added to {what_words} is out of bounds",
            "{number} added to a pointer is out of bounds",
        ],
        &[
            "make the number unsigned, or compare it with 0 too, before it is added",
            "limit the number first, by a comparison or a mask",
        ],
    ),
    row(
        PointerArithmetic,
        &["R{reg} 32-bit pointer arithmetic prohibited"],
        &["arithmetic in 32 bits on {register}, {holds}", "arithmetic in 32 bits on a pointer"],
        &[
            "keep it in a pointer, as in `void *data = (void *)(long)ctx->data`, and not in a number of 32 bits",
        ],
    ),
    row(
        PointerArithmetic,
        &[
            "R{reg} pointer arithmetic on {what} prohibited",
            "R{reg} has pointer with unsupported alu operation",
        ],
        &[
            "arithmetic on {register}, {holds}, which does not allow it",
            "arithmetic on a pointer that does not allow it",
        ],
        &[],
    ),
    row(
        PointerArithmetic,
        &["R{reg} tried to subtract pointer from scalar"],
        &[
            "{subtrahend} is subtracted from {register}, a number: a pointer may be subtracted from another \
             pointer only",
            "a pointer is subtracted from a number: that may be done with another pointer only",
        ],
        &["subtract pointers to the same memory, as in `data_end - data`, or the number from the pointer"],
    ),
    row(
        PointerArithmetic,
        &["R{reg} subtraction from stack pointer prohibited"],
        &["a number is subtracted from a pointer to the stack, to which numbers may only be added"],
        &["index the variable from its beginning"],
    ),
    row(
        InvalidNumber,
        &["div by zero"],
        &["a number is divided by the constant 0, or its remainder is asked for"],
        &["divide by another constant; where a variable is 0, BPF gives 0 for the quotient"],
    ),
    row(
        InvalidNumber,
        &["invalid shift {number}"],
        &["a shift by {number} bits, but only as many may be shifted as the number has, less one"],
        &["shift by less"],
    ),
];
