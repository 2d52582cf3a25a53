//! Sentences about calls: of global functions, with arguments of the wrong type, or where no call is allowed.

use super::{CHECK_NULL, READ_AGAIN, Row, row};
use crate::error::RefusalKind::{
    ArgumentType, CriticalSection, HelperNotAllowed, KernelField, KfuncNotAllowed, NullUnchecked, ReadOnly,
    Uninitialised, UnknownInstruction,
};

/// The verifier checks a global function once, for all arguments that fit its types, and calls of it by these alone.
const MAKE_STATIC: &str =
    "make {global} static: the verifier then follows the call with what is passed, packet pointers too";
const BEFORE_THE_LOCK: &[&str] = &[
    "call {callee} before the lock is taken or after it is free again, and keep what it returns in a variable",
];

const NO_ATOMIC: &[&str] = &[
    "BPF_ATOMIC stores into R{reg} {*found} is not allowed",
    "BPF_XADD stores into R{reg} {*found} is not allowed",
];

/// What is tried before the rows for any instruction.
pub(super) const TABLE: &[Row] = &[
    Row {
        needs: "unset",
        ..row(
            ArgumentType,
            &["variable ? access var_off={*range}"],
            &["{global} takes {unset_name} as argument {unset}, and r{unset} was not set before the call"],
            &["clang leaves out arguments that the function does not use: make {global} static, or use \
               {unset_name} in it, if only as an operand of an empty asm statement"],
        )
    },
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &["variable ? access var_off={*range}"],
            &["{global} takes a pointer as an argument whose register was not set before the call"],
            &[
                "clang leaves out arguments that the function does not use: make {global} static, or use it there",
            ],
        )
    },
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &["R{reg} is not a scalar"],
            &[
                "{global} takes a number as argument {argument}, and gets {holds}",
                "{global} takes a number as argument {argument}, and {register} holds none",
            ],
            &[MAKE_STATIC],
        )
    },
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &["arg#{arg} expects pointer to ctx", "arg#{arg} expected pointer to ctx, but got {found}"],
            &[
                "{global} takes the context, {unused}, as argument {argument}, does not use it, and gets {holds}",
                "{global} takes the context as argument {argument}, and gets {holds}",
                "{global} takes the context as argument {argument}, and gets something else",
            ],
            &[
                "clang passes anything for arguments that are not used: make {global} static, or use {unused} in it, \
                 if only as an operand of an empty asm statement",
                "pass ctx itself",
            ],
        )
    },
    row(
        ArgumentType,
        &["arg#{arg} expected pointer to ctx, but got {found}"],
        &["{callee} takes the context as argument {argument}, and gets {found_words}"],
        &["pass ctx itself"],
    ),
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &["dereference of modified ctx ptr R{reg} off={off} disallowed"],
            &["{global} takes the context as argument {argument}, and gets it moved by {off} bytes"],
            &["pass ctx itself"],
        )
    },
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &[
                "arg#{arg} reference type('{*named}') size cannot be determined",
                "Arg#{arg} type {*named} in {*function}()",
            ],
            &["argument {argument} of {global} is not of a type that global functions take: numbers, the \
                 context, and \
               pointers to data of known size"],
            &[MAKE_STATIC],
        )
    },
    row(
        ArgumentType,
        &["Global function {function}() doesn't return scalar"],
        &["`{function}` is a global function, and those return numbers only"],
        &["make `{function}` static, or let it return an int"],
    ),
    row(
        NullUnchecked,
        &["arg#{arg} is expected to be non-NULL"],
        &[
            "argument {argument} of {callee} must not be NULL, and the pointer may be",
            "an argument must not be NULL",
        ],
        &["compare the pointer with NULL first"],
    ),
    Row {
        needs: "parameter",
        ..row(
            NullUnchecked,
            &[
                "R{reg} invalid mem access 'mem_or_null'",
                "R{reg} pointer arithmetic on mem_or_null prohibited",
            ],
            &[
                "{access} of {sized} through {register}, which is argument {parameter} of {validated}: a global \
                 function is verified for any argument, NULL too, whatever its callers have checked",
            ],
            &["compare it with NULL in {validated} too, or make {validated} static"],
        )
    },
    row(
        ArgumentType,
        &["R{reg} type=scalar expected=fp, {*others}", "R{reg} type=inv expected=fp, {*others}"],
        &[
            "argument {argument} of {callee} pointed into the packet until {mover} at instruction {moved_at} \
             moved the packet",
            "{callee} takes a pointer to memory as argument {argument}, and gets a number",
        ],
        &[
            READ_AGAIN,
            "pass the address of a variable that holds it: `&{key_or_value}`",
            "pass the address of a variable that holds it",
        ],
    ),
    Row {
        needs: "data_map",
        ..row(
            ArgumentType,
            &["R{reg} type=map_value expected=map_ptr"],
            &["{callee} takes a map as argument {argument}, and gets a variable in {data_map}"],
            &["if the variable is to be a map, its definition needs SEC(\".maps\")"],
        )
    },
    row(
        NullUnchecked,
        &["R{reg} type=map_value_or_null expected=map_ptr", "R{reg} type=map_ptr_or_null expected=map_ptr"],
        &[
            "argument {argument} of {callee} is a map looked up in another, which may be NULL and was not checked",
        ],
        CHECK_NULL,
    ),
    row(
        ArgumentType,
        &["R{reg} type=fp expected=map_value"],
        &["{callee} takes a pointer to a map value as argument {argument}, and gets a pointer to the stack"],
        &["keep it in a map's value; a string in a constant, as in `static const char format[] = ...`"],
    ),
    row(
        NullUnchecked,
        &[
            "R{reg} type={kind}_or_null expected={*expected}",
            "R{reg} type={kind}_or_null_ expected={*expected}",
        ],
        &[
            "argument {argument} of {callee} is {holds} that may be NULL and was not checked",
            "argument {argument} is a pointer that may be NULL and was not checked",
        ],
        &["compare the pointer with NULL first"],
    ),
    row(
        ArgumentType,
        &["R{reg} type={found} expected={*expected}"],
        &[
            "argument {argument} of {callee} is no pointer any more since {ender} at instruction {ended_at}",
            "{callee} takes {expected_words} as argument {reg}, and gets {found_words}",
            "argument {reg} is {found}, and {expected} was expected",
        ],
        &["use it before {ender} only"],
    ),
    row(
        ArgumentType,
        &["R{reg} is not a known constant", "R{reg} must be a known constant"],
        &[
            "{callee} takes a constant as argument {argument}, and gets a number that is known only when the program \
             runs",
        ],
        &["pass a constant, such as the largest size that may be needed"],
    ),
    row(
        ArgumentType,
        &["cannot pass map_type {map_type_number} into func {helper}#{id}"],
        &[
            "{helper} is not for maps of type {map_type}, such as {passed_map}",
            "{helper} is not for maps of type {map_type}",
        ],
        &["it takes a map of type {suitable}"],
    ),
    row(
        ArgumentType,
        &["helper access to the packet is not allowed"],
        &[
            "{callee} takes no pointer into the packet, and gets one",
            "a helper gets a pointer into the packet",
        ],
        &[
            "{from_packet} takes bytes of the packet by their number, in the upper half of its flags: \
             `(__u64)length << 32`",
            "copy the bytes to a local variable, and pass its address",
        ],
    ),
    row(
        ArgumentType,
        &["expected prog array map for tail call"],
        &[
            "bpf_tail_call takes a map of type prog_array, and {passed_map} is of another",
            "bpf_tail_call takes a map of type prog_array, and gets another",
        ],
        &[],
    ),
    row(
        ArgumentType,
        &["timer pointer in R1 map_uid={one} doesn't match map pointer in R2 map_uid={other}"],
        &[
            "the timer is in a value of one map, and bpf_timer_init gets {passed_map}",
            "the timer is in another map",
        ],
        &["pass the map whose value has the timer"],
    ),
    row(
        ArgumentType,
        &["Invalid format string"],
        &["the format string of {callee} has a conversion that it does not know"],
        &["use those that bpf_trace_printk in bpf-helpers(7) lists"],
    ),
    row(
        Uninitialised,
        &["Expected an initialized dynptr as arg #{number}"],
        &["{callee} takes a dynptr that was set up, and this one was not, or was overwritten since"],
        &["set it up first, for instance with bpf_dynptr_from_xdp, and write to it through functions only"],
    ),
    row(
        Uninitialised,
        &["expected an initialized iter_{iterator} as arg #{number}"],
        &["{callee} takes an iterator that bpf_iter_{iterator}_new has set up"],
        &["call bpf_iter_{iterator}_new first"],
    ),
    Row {
        holding: "pkt",
        ..row(
            ReadOnly,
            NO_ATOMIC,
            &["an atomic operation on {holds}, which takes none"],
            &["read, compute and write it: no other CPU has this packet"],
        )
    },
    row(
        ReadOnly,
        NO_ATOMIC,
        &[
            "an atomic operation on {holds}, which takes none",
            "an atomic operation on memory that takes none",
        ],
        &[],
    ),
    row(
        KernelField,
        &["{field} cannot be accessed directly by load/store"],
        &[
            "{access} of a {field} in a map's value: that belongs to the kernel",
            "a {field} belongs to the kernel",
        ],
        &["use it by the functions that are for it, and leave it out when the value is copied"],
    ),
    Row {
        needs: "second_lock",
        ..row(
            CriticalSection,
            &["function calls are not allowed while holding a lock"],
            &["{second_lock} while a lock is held: a program may hold one at a time"],
            &["call bpf_spin_unlock on the first one before"],
        )
    },
    row(
        CriticalSection,
        &["function calls are not allowed while holding a lock"],
        &[
            "{callee} is called while a bpf_spin_lock is held, where nearly no calls are allowed",
            "a call with a lock held",
        ],
        BEFORE_THE_LOCK,
    ),
    row(
        CriticalSection,
        &[
            "BPF_EXIT instruction in {*what} cannot be used inside bpf_spin_lock-ed region",
            "bpf_spin_unlock is missing",
        ],
        &["a path to the end leaves the lock taken"],
        &["call bpf_spin_unlock on every path from bpf_spin_lock"],
    ),
    row(
        CriticalSection,
        &[
            "BPF_EXIT instruction in {*what} cannot be used inside bpf_rcu_read_lock-ed region",
            "bpf_rcu_read_unlock is missing",
        ],
        &["a path to the end leaves the read-side critical section open"],
        &["call bpf_rcu_read_unlock on every path from bpf_rcu_read_lock"],
    ),
    row(
        CriticalSection,
        &["BPF_EXIT instruction in {*what} cannot be used inside bpf_{section}-ed region"],
        &["a path to the end leaves open what bpf_{section} has begun"],
        &["end it on every path"],
    ),
    row(
        CriticalSection,
        &["{*what} cannot be used inside bpf_{section}-ed region"],
        &["{what} between bpf_{section} and its end is not allowed"],
        &[],
    ),
    row(
        CriticalSection,
        &["bpf_spin_unlock without taking a lock", "bpf_spin_unlock of different lock"],
        &["bpf_spin_unlock of a lock that this path has not taken"],
        &["call bpf_spin_lock on the same lock first"],
    ),
    row(
        CriticalSection,
        &["unmatched rcu read unlock"],
        &["bpf_rcu_read_unlock without bpf_rcu_read_lock on this path"],
        &["call bpf_rcu_read_lock first"],
    ),
    row(
        KfuncNotAllowed,
        &["program must be sleepable to call sleepable kfunc {kfunc}"],
        &["the kernel function {kfunc} may sleep, and {type} programs must not"],
        &["call it from a program that may sleep, such as one in the section `syscall`"],
    ),
    row(
        HelperNotAllowed,
        &["helper call might sleep in a non-sleepable prog"],
        &["{callee} may sleep, and {type} programs must not"],
        &[],
    ),
    row(
        UnknownInstruction,
        &["BPF_LD_[ABS|IND] instructions not allowed for this program type"],
        &["an instruction that reads an skb (BPF_LD_ABS or _IND), which {type} programs have not"],
        &[
            "read the packet from ctx->data on, and compare with ctx->data_end before, instead of `load_byte` \
           and the like",
        ],
    ),
];

/// What is tried after all other rows.
pub(super) const REST: &[Row] = &[
    Row {
        needs: "global",
        ..row(
            ArgumentType,
            &["Caller passes invalid args into func#{number}"],
            &["what is passed to {global} does not fit the types of its arguments"],
            &[MAKE_STATIC],
        )
    },
    row(ArgumentType, &["arg#{arg} {*what}"], &["argument {argument} of {callee}: {what}"], &[]),
];
