//! The verifier's sentences, and what each comes to: tables, to which the words of another kernel are added as data.
//!
//! The sentences are those of 4.15 to 6.18 (`kernel/bpf/verifier.c`); holes are as in [`super::template`]. What holes
//! of ours stand for is in [`super::facts`]. Of the rules, and of the repairs, the first holds whose holes are all
//! known.

mod arithmetic;
mod calls;
mod names;
mod objects;

pub(super) use names::{CONTEXT, ENDERS_OF_OTHERS, MOVERS, RELEASES, SLICE_ENDERS, SUITABLE, TYPES};

use crate::error::RefusalKind::{
    self, BackEdge, CallDepth, CodeMissing, ContextAccess, EndlessLoop, GplOnly, HelperNotAllowed,
    KernelLacks, KfuncNotAllowed, MapValueBounds, MemoryBounds, Misaligned, MixedPointers, NotAPointer,
    NullUnchecked, PacketBounds, PointerLeak, ReadOnly, ReferenceLeak, ReturnValue, StackBounds, StackDepth,
    TooComplex, TypesMissing, Uninitialised, UnknownInstruction, Unreachable, WriteOnly,
};

/// All rows, in the order in which they are tried.
pub(super) const TABLES: [&[Row]; 6] =
    [calls::TABLE, objects::TABLE, TABLE, arithmetic::TABLE, objects::REST, calls::REST];

/// Sentences that mean the same.
pub(super) struct Row {
    pub(super) kind: RefusalKind,
    /// What the verifier says.
    pub(super) words: &'static [&'static str],
    /// Only if the register `reg` holds something whose name in the log begins so.
    pub(super) holding: &'static str,
    /// Only if there is something for this hole.
    pub(super) needs: &'static str,
    /// The rule that was broken.
    pub(super) rules: &'static [&'static str],
    /// The usual repair.
    pub(super) helps: &'static [&'static str],
}

const fn row(
    kind: RefusalKind,
    words: &'static [&'static str],
    rules: &'static [&'static str],
    helps: &'static [&'static str],
) -> Row {
    Row { kind, words, holding: "", needs: "", rules, helps }
}

const CHECK_PACKET: &[&str] = &[
    "compare pointers, as in `if (p + 1 > data_end)`, before this {access}: from the number `{by_length}` the \
     verifier learns nothing",
    "compare `{struct} + 1` with ctx->data_end before this {access}",
    "compare the end of the accessed bytes with ctx->data_end before this {access}",
];
const CHECK_INDEX: &[&str] = &[
    "compare the index with the number of elements before this {access}, or mask it",
    "keep the offset and the size within the value",
];
/// An offset that does not vary is no index.
const CHECK_VALUE: &[&str] = &[
    "compare the {index} with the number of elements before this {access}, or mask it",
    "keep the offset and the size of this {access} within that",
];
const CHECK_METADATA: &[&str] =
    &["compare the end of the accessed bytes with ctx->data, both read after bpf_xdp_adjust_meta"];
const CHECK_NULL: &[&str] =
    &["`if (!{pointer}) return XDP_PASS;` before this {access}", "compare the pointer with NULL first"];
const SMALLER_STACK: &[&str] =
    &["keep large data in a map, such as a per-CPU array of one entry, not in local variables"];
const SHORTER: &[&str] =
    &["give loops a lower limit, or use bpf_loop (5.17); a global function (5.6) is verified only once"];
const SHALLOWER: &[&str] = &["make functions that have a single caller __always_inline"];
const LIMIT_LOOP: &[&str] = &["count the iterations up to a constant, or use bpf_loop (5.17)"];
const UNBOUNDED_SIZE: &[&str] = &[
    "the size that {callee} gets as argument {argument} is {least} to {most}, more than the memory has",
    "the size that {callee} gets as argument {argument} is not limited",
];
const CHECK_SIZE: &[&str] =
    &["before the call, compare the size, unsigned, with 1 and with what the memory has"];
const READ_AGAIN: &str = "after {mover}, read ctx->data and ctx->data_end again, and compare again";
const FIXED_CONTEXT: &[&str] = &["access the field as ctx->field, and pass ctx on unmodified"];
const PERFMON: &[&str] = &["load it with CAP_PERFMON, or do not use the pointer there"];

/// The more exact sentence comes first: the verifier often says one, and then a general one.
const TABLE: &[Row] = &[
    Row {
        holding: "pkt_meta",
        ..row(
            PacketBounds,
            &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r=0)"],
            &[
                "{access} of {sized} at offset {off} of the packet's metadata, where no byte is proven to be there: \
                 {by_end} proves nothing, since the metadata ends at ctx->data",
                "{access} of {sized} at offset {off} of the packet's metadata, but no byte is proven to be there",
            ],
            CHECK_METADATA,
        )
    },
    Row {
        holding: "pkt_meta",
        ..row(
            PacketBounds,
            &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r={proven})"],
            &[
                "{access} of {sized} at offset {off} of the packet's metadata, but only {proven_bytes} proven to be \
                 there",
            ],
            CHECK_METADATA,
        )
    },
    Row {
        holding: "pkt_meta",
        ..row(
            PacketBounds,
            &[
                "invalid access to packet, off={off} size={size}, R{reg}(",
                "R{reg} offset is outside of the packet",
            ],
            &["{access} of {sized} of the packet's metadata that are not proven to be there"],
            CHECK_METADATA,
        )
    },
    Row {
        needs: "before",
        ..row(
            PacketBounds,
            &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r={proven})"],
            &["{access} of {sized} at packet offset {off}, which is in front of the packet"],
            &[
                "what is there becomes part of the packet by bpf_xdp_adjust_head, or is metadata from ctx->data_meta \
                 on",
            ],
        )
    },
    Row {
        needs: "beyond",
        ..row(
            PacketBounds,
            &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r={proven})"],
            &[
                "{access} of {sized} at packet offset {off}: the verifier follows no pointer further than {beyond} \
                 bytes into a packet, whatever is compared",
            ],
            &["let the loop end after a constant number of bytes, or limit the offset"],
        )
    },
    row(
        PacketBounds,
        &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r=0)"],
        &["{access} of {sized} at packet offset {off}, but no byte is proven to be inside the packet"],
        CHECK_PACKET,
    ),
    row(
        PacketBounds,
        &["invalid access to packet, off={off} size={size}, R{reg}(id=0,off={at},r={proven})"],
        &[
            "{access} of {sized} at packet offset {off}, but only {proven_bytes} proven to be inside the packet",
        ],
        CHECK_PACKET,
    ),
    row(
        PacketBounds,
        &["invalid access to packet, off={off} size={size}, R{reg}(id={id},off={at},r={proven})"],
        &[
            "{access} of {sized} at a packet offset from {least} to {most}, known only when the program runs, \
             and {proven_bytes} proven to be inside the packet from there on",
            "{access} of {sized}, {off} after a packet offset that is known only when the program runs, \
             and {proven_bytes} proven to be inside the packet from there on",
        ],
        &[
            "limit what is added to the pointer to at most {too_far}, for instance by a mask: beyond that no \
             comparison with ctx->data_end counts",
            "compare the pointer that was moved, and not the one before, with ctx->data_end before this {access}",
        ],
    ),
    row(
        MapValueBounds,
        &["invalid access to map value, value_size={value_size} off={off} size={size}"],
        &[
            "{access} of {sized} at offset {off} of a value of map {map}, which has {value_size} bytes",
            "{access} of {sized} at offset {off} of a map value, which has {value_size} bytes",
        ],
        CHECK_VALUE,
    ),
    Row {
        needs: "slice",
        ..row(
            MemoryBounds,
            &["invalid access to memory, mem_size={mem_size} off={off} size={size}"],
            &["{access} of {sized} at offset {off} of what {slice} gave, which has {mem_size} bytes"],
            &[
                "ask {slice} for at least {above} bytes, with a buffer of as many",
                "keep the offset and the size of this {access} within that",
            ],
        )
    },
    row(
        MemoryBounds,
        &[
            "invalid access to memory, mem_size={mem_size} off={off} size={size}",
            "invalid access to map key, key_size={mem_size} off={off} size={size}",
        ],
        &["{access} of {sized} at offset {off} of memory that has {mem_size} bytes"],
        CHECK_VALUE,
    ),
    Row { holding: "scalar", needs: "callee", ..row(MemoryBounds, UNBOUNDED, UNBOUNDED_SIZE, CHECK_SIZE) },
    Row { holding: "inv", needs: "callee", ..row(MemoryBounds, UNBOUNDED, UNBOUNDED_SIZE, CHECK_SIZE) },
    // Of an offset it says `unsigned index`.
    row(
        MemoryBounds,
        &["R{reg} min value is negative, either use unsigned or 'var"],
        &[
            "the size that {callee} gets as argument {argument} is negative",
            "the size that a call gets is negative",
        ],
        CHECK_SIZE,
    ),
    row(
        MemoryBounds,
        &[
            "R{reg} invalid zero-sized read: u64=[{low},{high}]",
            "R{reg} invalid zero-sized read",
            "invalid zero-sized indirect access to stack R{memory} off={off} size={size}",
            "invalid zero-sized read",
        ],
        &[
            "the size that {callee} gets as argument {argument} is {low} to {high}: 0 is not allowed, nor more \
             than the memory has",
            "the size that a call gets may be 0",
        ],
        CHECK_SIZE,
    ),
    Row {
        kind: MapValueBounds,
        words: UNBOUNDED,
        holding: "map_value",
        needs: "",
        rules: &[
            "{access} of {sized} at offset {least} to {most} of a value of map {map}, which has {value_size} bytes",
            "{access} of {sized} at offset {least} to {most} of a map value, which has {value_size} bytes",
            "{access} of {sized} of a map value at an unbounded offset",
            "access of a map value at an unbounded offset",
        ],
        helps: CHECK_INDEX,
    },
    Row {
        holding: "pkt",
        ..row(
            PacketBounds,
            UNBOUNDED,
            &[
                "{access} of {sized} at a packet offset that is not proven to be inside the packet",
                "access at a packet offset that is not proven to be inside the packet",
            ],
            CHECK_PACKET,
        )
    },
    row(
        MemoryBounds,
        UNBOUNDED,
        &[
            "{access} of {sized} at an offset that is not proven to be inside the {given} bytes that {slice} gave",
            "{access} of {sized} at an offset that is not proven to be inside the memory",
            "access at an offset that is not proven to be inside the memory",
        ],
        CHECK_INDEX,
    ),
    row(
        PacketBounds,
        &["R{reg} offset is outside of the packet"],
        &[
            "{access} of {sized} that are not proven to be inside the packet",
            "access of bytes that are not proven to be inside the packet",
        ],
        CHECK_PACKET,
    ),
    row(
        ReadOnly,
        &["write into map forbidden, value_size={value_size} off={off} size={size}"],
        &["write of {sized} at offset {off} of a map value that programs may only read"],
        &["do not write to constants, nor to maps with BPF_F_RDONLY_PROG"],
    ),
    Row {
        needs: "slice",
        ..row(
            ReadOnly,
            &["R{reg} cannot write into {what}"],
            &["write to what {slice} gave, which may only be read"],
            &["use bpf_dynptr_slice_rdwr, and bpf_dynptr_write if what it gave is the buffer"],
        )
    },
    row(
        ReadOnly,
        &["cannot write into packet", "R{reg} cannot write into {what}"],
        &["write to memory that this program may only read"],
        &[],
    ),
    Row {
        needs: "callee",
        ..row(
            WriteOnly,
            WRITE_ONLY,
            &["{callee} reads a map value that programs may only write"],
            &["pass a copy that is kept elsewhere, or leave out BPF_F_WRONLY_PROG"],
        )
    },
    row(
        WriteOnly,
        WRITE_ONLY,
        &[
            "read of {sized} at offset {off} of a value of map {map}, which programs may only write",
            "read of {sized} at offset {off} of a map value that programs may only write",
        ],
        &["assign to it without reading it, or leave out BPF_F_WRONLY_PROG"],
    ),
    row(
        Misaligned,
        &["misaligned {what} access off {*off} size {size}"],
        &["{access} of {sized} at an offset of {what} that is not a multiple of {size}"],
        &["access it byte by byte, or align it"],
    ),
    row(
        NullUnchecked,
        &["R{reg} invalid mem access '{kind}_or_null'", "R{reg} invalid mem access '{kind}_or_null_'"],
        &[
            "{access} of {sized} through {register}, {holds} that may be NULL and was not checked",
            "a pointer that may be NULL was not checked",
        ],
        CHECK_NULL,
    ),
    row(
        NullUnchecked,
        &[
            "R{reg} pointer arithmetic on {kind}_or_null prohibited",
            "R{reg} pointer arithmetic on {kind}_or_null_ prohibited",
        ],
        &[
            "arithmetic on {register}, {holds} that may be NULL and was not checked",
            "arithmetic on a pointer that may be NULL and was not checked",
        ],
        &["`if (!{pointer}) return XDP_PASS;` before", "compare the pointer with NULL first"],
    ),
    row(
        NullUnchecked,
        &["Possibly NULL pointer passed to {*where}", "NULL pointer passed to {*where}"],
        &["a pointer that may be NULL is passed to {callee}", "a pointer that may be NULL is passed on"],
        &["compare the pointer with NULL first"],
    ),
    Row {
        needs: "null_here",
        ..row(
            NullUnchecked,
            &["R{reg} invalid mem access '{kind}'"],
            &["{access} of {sized} through {register}, which is {null_here} on this path"],
            CHECK_NULL,
        )
    },
    row(
        NotAPointer,
        &["R{reg} invalid mem access '{kind}'"],
        &[
            "{access} of {sized} through {register}: it pointed into the packet until {mover} at instruction \
             {moved_at} moved the packet",
            "{access} of {sized} through {register}: what {sliced} gave there is void since {slice_ender} at \
             instruction {slice_ended_at} moved the packet",
            "{access} of {sized} through {register}, which is no pointer any more since {ender} at instruction \
             {ended_at}",
            "{access} of {sized} through {register}, which is {kind_words} and cannot be dereferenced",
            "{access} of {sized} through {register}, which is not a pointer to accessible memory",
        ],
        &[
            "after {meta_mover}, read ctx->data_meta, ctx->data and ctx->data_end again, and compare again",
            READ_AGAIN,
            "after {slice_ender}, call {sliced} again",
            "use it before {ender} only",
        ],
    ),
    Row {
        needs: "surplus",
        ..row(
            Uninitialised,
            &["R{reg} !read_ok"],
            &["{surplus} is argument {argument} of the program, and a program gets only one, the context"],
            &[
                "give {surplus} to functions that the program calls, and keep what it is to hold in a map or a \
                 constant",
            ],
        )
    },
    Row {
        needs: "ends",
        ..row(
            Uninitialised,
            &["R{reg} !read_ok"],
            &["the program {ends} without a return value: {register} was not set"],
            &["return an action, such as XDP_PASS, at each end; the program must not be `void`"],
        )
    },
    row(
        Uninitialised,
        &["R{reg} !read_ok"],
        &[
            "{register} is used, but was not set on this path, or was invalidated by a call",
            "a register is used, but was not set on this path",
        ],
        &["initialise the variable on every path that leads here"],
    ),
    row(
        Uninitialised,
        &["unexpected __bpf_trap() due to uninitialized variable?"],
        &[
            "the program comes to where clang has found undefined behaviour, such as the use of a variable that was \
           not set, and made no code",
        ],
        &["initialise each variable on every path; `clang -Wall` names many of them"],
    ),
    Row {
        needs: "slicer",
        ..row(
            StackBounds,
            UNWRITTEN,
            &[
                "{slicer} gets a buffer at stack offset {off} that is to have {size} bytes, but byte {first} belongs \
                 to another variable",
            ],
            &["make the buffer as large as argument 4 says, {size} bytes"],
        )
    },
    row(
        Uninitialised,
        UNWRITTEN,
        &["read of {sized} at stack offset {off}, where nothing was written at byte {first}"],
        &["initialise the whole variable first, padding included, for instance with __builtin_memset"],
    ),
    Row {
        needs: "room",
        ..row(
            StackBounds,
            OUTSIDE_STACK,
            &[
                "argument {reg} of {callee} must point to {size} bytes, and to the end of the stack there are \
                 only {room}",
                "argument {reg} must point to {size} bytes, and to the end of the stack there are only {room}",
            ],
            &["pass the address of a variable of {size} bytes"],
        )
    },
    Row {
        needs: "above",
        ..row(
            StackBounds,
            OUTSIDE_STACK,
            &[
                "{access} of {sized} at stack offset {off}, but a function's stack, with all its variables, ends at -1",
            ],
            &["keep the access within the variable that the pointer is of"],
        )
    },
    row(
        StackBounds,
        OUTSIDE_STACK,
        &[
            "{access} of {sized} at stack offset {off}, but a function's stack is the 512 bytes from -512 to -1",
        ],
        SMALLER_STACK,
    ),
    row(
        StackBounds,
        &[
            "invalid unbounded variable-offset {*what} stack R{reg}",
            "invalid variable-offset {*what} stack R{reg} var_off={*range} off={off} size={size}",
            "invalid variable-offset {*what} stack R{reg} {*rest}",
            "R{reg} unbounded indirect variable offset stack access",
            "R{reg} variable stack access prohibited",
        ],
        &[
            "{access} of {sized} at stack offset {least} to {most}, but a function's stack is the 512 bytes from \
             -512 to -1",
            "{access} at a stack offset that is not proven to be inside the function's stack",
        ],
        &["compare the index with the number of elements before this {access}, or mask it"],
    ),
    row(
        StackDepth,
        &["combined stack size of {calls} calls is {stack}. Too large"],
        &["{calls} functions, each called by the one before, take {stack} bytes of stack together, \
             and at most 512 are allowed"],
        SMALLER_STACK,
    ),
    row(
        StackDepth,
        &["stack size of subprog {function} is {stack}. Too large", "stack size {stack}. Too large"],
        &["a function takes {stack} bytes of stack, and at most 512 are allowed"],
        SMALLER_STACK,
    ),
    row(
        StackDepth,
        &["tail_calls are not allowed when call stack of previous frames is {stack} bytes. Too large"],
        &[
            "the callers of a function with tail calls use {stack} bytes of stack, and at most 256 are allowed",
        ],
        SMALLER_STACK,
    ),
    Row {
        needs: "recursive",
        ..row(
            CallDepth,
            &["the call stack of {frames} frames is too deep"],
            &["{recursive} calls itself: recursion is not allowed"],
            &["use a loop instead"],
        )
    },
    row(
        CallDepth,
        &["the call stack of {frames} frames is too deep"],
        &["{frames} functions would be active at once, and at most 8 are allowed"],
        SHALLOWER,
    ),
    row(
        CallDepth,
        &["recursive call from {*caller} to {callee}"],
        &["a function calls itself, directly or through others: recursion is not allowed"],
        &["use a loop instead"],
    ),
    row(
        EndlessLoop,
        &["infinite loop detected at insn {at}"],
        &["a loop returns to a state that it was in before: nothing makes it end"],
        LIMIT_LOOP,
    ),
    row(
        BackEdge,
        &["back-edge from insn {at} to {to}"],
        &["a jump or call back from instruction {at} to {to}: loops (before 5.3, or without CAP_BPF) \
             and recursion are not allowed"],
        &["unroll the loop with `#pragma unroll`"],
    ),
    row(
        TooComplex,
        &["BPF program is too large. Processed {walked} insn"],
        &[
            "the verifier gave up after {walked} instructions on all paths together; its limit is {limit}",
            "the verifier gave up after {walked} instructions on all paths together",
        ],
        SHORTER,
    ),
    row(
        TooComplex,
        &["The sequence of {jumps} jumps is too complex", "BPF program is too complex"],
        &["the verifier gave up with {jumps} branches still to follow", "the verifier gave up"],
        SHORTER,
    ),
    row(
        HelperNotAllowed,
        &["program of this type cannot use helper {helper}#{number}"],
        &["the helper {helper} ({number}) is not available to {type} programs"],
        &[],
    ),
    row(
        HelperNotAllowed,
        &["invalid func unknown#{number}", "unknown func unknown#{number}"],
        &["helper {number} is called, and this kernel has no such helper"],
        &["use another helper, or a newer kernel"],
    ),
    row(
        HelperNotAllowed,
        &["unknown func {helper}#{number}", "invalid func {helper}#{number}"],
        &[
            "the helper {helper} ({number}) is not available to {type} programs with these privileges on this kernel",
        ],
        &[],
    ),
    row(
        KfuncNotAllowed,
        &["calling kernel function {kfunc} is not allowed"],
        &["the kernel function {kfunc} is not available to {type} programs"],
        &[],
    ),
    row(
        GplOnly,
        &[
            "cannot call GPL-restricted function from non-GPL compatible program",
            "cannot call GPL only function from proprietary program",
            "cannot call kernel function from non-GPL compatible program",
        ],
        &[
            "{callee} is for programs under a GPL-compatible license, and this one's is {license}",
            "the function called is for programs under a GPL-compatible license",
        ],
        &["if it has one, declare it: char _license[] SEC(\"license\") = \"GPL\", or \"Dual MIT/GPL\""],
    ),
    row(
        ContextAccess,
        &["invalid bpf_context access off={off} size={size}"],
        &[
            "write to ctx->{written_field}, which programs may only read",
            "{access} of {sized} at offset {off} of the context, inside of ctx->{whole_field}: its fields are accessed \
             whole, 4 bytes each",
            "read of ctx->{signed_field} with its sign extended: the kernel gives this pointer to unsigned reads only",
            "read of ctx->{devmap_field}, which only programs in `xdp/devmap` may read",
            "{access} of {sized} at offset {off} of the context: {type} programs have no such field there \
             for a {access}",
        ],
        &[
            "bpf_xdp_adjust_head, _tail and _meta move where the packet begins and ends, and ctx->{moved_field} \
             with it",
            "read ctx->{whole_field} as it is",
            "convert it unsigned, as in `(void *)(long)ctx->{signed_field}`; clang emits such reads from -mcpu=v4 on",
        ],
    ),
    row(
        ContextAccess,
        &["dereference of modified ctx ptr R{reg} off={off} disallowed"],
        &["{access} through the context pointer moved by {off} bytes; it must not be modified"],
        FIXED_CONTEXT,
    ),
    row(
        ContextAccess,
        &["variable {what} access var_off={*range}"],
        &["{access} at an offset of the context that is known only when the program runs"],
        FIXED_CONTEXT,
    ),
    row(
        Unreachable,
        &["unreachable insn {at}"],
        &["no path through the program reaches this instruction"],
        &["remove it, or the jump that skips it"],
    ),
    row(
        CodeMissing,
        &["last insn is not an exit or jmp"],
        &[
            "the code ends at instruction {last}, which neither exits nor jumps: what should follow is missing",
            "the code of a function ends with an instruction that neither exits nor jumps",
        ],
        &["end it with `return`; clang omits it where it finds undefined behaviour"],
    ),
    row(
        CodeMissing,
        &["jump out of range from insn {at} to {to}", "jump to reserved code from insn {at} to {to}"],
        &[
            "a jump from instruction {at} to {to}, but the last instruction is {last_of_all}",
            "a jump from instruction {at} to {to}, which is not inside its function",
        ],
        &[],
    ),
    row(
        CodeMissing,
        &["call to invalid destination", "invalid insn idx {to} insn_cnt {count}"],
        &["a call to where the program has no function"],
        &["check that the object still has its `.text` section, and that its relocations were not stripped"],
    ),
    row(
        ReturnValue,
        &[
            "At {*exit} the register R{reg} has smin={low} smax={low} should have been in [{only}, {only}]",
            "At {*exit} the register R{reg} has smin={low} smax={high} should have been in [{only}, {only}]",
            "At {*exit} the register R{reg} has {*value} should have been in [{only}, {only}]",
        ],
        &[
            "{register} is {low} to {high} at {exit}, and must be {only}",
            "{register} is {low} at {exit}, and must be {only}",
            "{register} has {value} at {exit}, and must be {only}",
        ],
        &["return {only}"],
    ),
    row(
        ReturnValue,
        &[
            "At {*exit} the register R{reg} has smin={low} smax={low} should have been in [{first}, {last_allowed}]",
        ],
        &["{register} is {low} at {exit}, and must be {first} to {last_allowed}"],
        &["return a constant from {first} to {last_allowed}"],
    ),
    row(
        ReturnValue,
        &[
            "At {*exit} the register R{reg} has smin={low} smax={high} should have been in [{first}, {last_allowed}]",
        ],
        &["{register} is {low} to {high} at {exit}, and must be {first} to {last_allowed}"],
        &["return a constant from {first} to {last_allowed}"],
    ),
    row(
        ReturnValue,
        &["At {*exit} the register R{reg} has {*value} should have been in {*range}"],
        &["{register} has {value} at {exit}, and must be in {range}"],
        &["return one of the allowed constants"],
    ),
    row(
        PointerLeak,
        &["R{reg} leaks addr {*into}"],
        &[
            "{register}, {holds}, leaves the program {into}, which would reveal a kernel address",
            "a pointer leaves the program {into}, which would reveal a kernel address",
        ],
        PERFMON,
    ),
    row(
        PointerLeak,
        &[
            "R{reg} partial copy of pointer",
            "R{reg} pointer comparison prohibited",
            "R{reg} pointer -= pointer prohibited",
            "attempt to corrupt spilled pointer on stack",
        ],
        &["a pointer is used as a number, which would reveal a kernel address"],
        PERFMON,
    ),
    row(
        MixedPointers,
        &["same insn cannot be used with different pointers"],
        &[
            "{access} of {sized} through {register}, which is {holds} on this path and a pointer to other memory on \
             another",
            "one instruction accesses memory of two sorts, as the path to it has it",
        ],
        &[
            "access each in a statement of its own, with `asm volatile(\"\" ::: \"memory\")` after one, so that clang \
           joins them no more",
        ],
    ),
    row(
        ReferenceLeak,
        &["Unreleased reference id={id} alloc_insn={alloc}"],
        &[
            "what {alloc_call} gave at {alloc_place} is not given back on this path to the end",
            "what instruction {alloc} got from the kernel is not released on this path to the end",
        ],
        &["call {release} on every path from there"],
    ),
    row(
        TypesMissing,
        &["missing btf func_info"],
        &["a callback is passed here, but the kernel was given no BTF of functions"],
        &["compile with -g, and strip no more than `llvm-strip -g` does"],
    ),
    row(
        TypesMissing,
        &["bpf_obj_new/bpf_percpu_obj_new requires prog BTF"],
        &["objects are allocated by their types here, but the kernel was given no BTF with the program"],
        &["compile with -g, and strip no more than `llvm-strip -g` does"],
    ),
    row(
        TypesMissing,
        &["map '{named}' has to have BTF in order to use {what}"],
        &["{what} in a value of map `{named}` takes the types of its entries, and the kernel was told none"],
        &["define the map in `.maps`, with the types of its keys and values, and compile with -g"],
    ),
    row(
        TypesMissing,
        &["Program extension requires BTF"],
        &[
            "an extension is compared with the function that it replaces by types, and the kernel was told none",
        ],
        &["compile with -g, and strip no more than `llvm-strip -g` does"],
    ),
    row(
        UnknownInstruction,
        &["unknown opcode {opcode}"],
        &[
            "the function that {indirect} points to is called, and BPF calls no functions through pointers",
            "this kernel does not know the instruction with the opcode 0x{opcode}",
        ],
        &[
            "call the function by its name, in a `switch` for instance; where {indirect} may hold the address of \
             a program, use bpf_tail_call",
            "compile for an older instruction set, for instance with -mcpu=v2",
        ],
    ),
    row(
        KernelLacks,
        &["BPF_CALL uses reserved fields"],
        &["this kernel does not know calls of its own functions (kfuncs), which came with Linux 5.13"],
        &["do without, or use a newer kernel"],
    ),
    row(
        UnknownInstruction,
        &["BPF_{class} uses reserved fields", "invalid BPF_{class} opcode {opcode}"],
        &["this kernel does not know this form of a BPF_{class} instruction"],
        &["compile for an older instruction set, for instance with -mcpu=v2"],
    ),
    row(
        KernelLacks,
        &["ldimm64 failed to find the address for kernel symbol '{variable}'"],
        &["the kernel has a variable {variable}, and lists no address for it"],
        &["do without it, or use a kernel that lists variables too in /proc/kallsyms (CONFIG_KALLSYMS_ALL)"],
    ),
    row(
        KernelLacks,
        &["unrecognized bpf_ld_imm64 insn"],
        &[
            "this kernel does not know what a 64-bit constant of the program stands for: functions to be called \
             back came with Linux 5.13, variables of the kernel with 5.10",
        ],
        &["do without, or use a newer kernel"],
    ),
];

const UNWRITTEN: &[&str] = &[
    "invalid read from stack R{reg} off {off}+{first} size {size}",
    "invalid indirect read from stack R{reg} off {off}+{first} size {size}",
    "invalid read from stack off {off}+{first} size {size}",
    "invalid indirect read from stack off {off}+{first} size {size}",
];

const OUTSIDE_STACK: &[&str] = &[
    "invalid write to stack R{reg} off={off} size={size}",
    "invalid read from stack R{reg} off={off} size={size}",
    "invalid indirect access to stack R{reg} off={off} size={size}",
    "invalid stack type R{reg} off={off} access_size={size}",
    "invalid stack off={off} size={size}",
];

const WRITE_ONLY: &[&str] = &["read from map forbidden, value_size={value_size} off={off} size={size}"];

const UNBOUNDED: &[&str] = &[
    "R{reg} unbounded memory access",
    "R{reg} min value is negative",
    "R{reg} min value is outside of the",
    "R{reg} max value is outside of the",
];
