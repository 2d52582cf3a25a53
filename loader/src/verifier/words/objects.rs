//! Sentences about objects that a program allocates or owns, where it keeps them (`__kptr` fields, lists, trees), and
//! about calls that do not suit the map or the pointer they get.

use super::{Row, row};
use crate::error::RefusalKind::{
    ArgumentType, CriticalSection, KernelField, MemoryBounds, NullUnchecked, ReadOnly, ReferenceLeak,
    TypesMissing,
};

const CHECK_NULL: &[&str] = &["compare the pointer with NULL first"];
const DECLARE_KPTR: &[&str] =
    &["pass the address of the field itself; it is one if it is declared as `struct T __kptr *`"];
const DECLARE_CONTENT: &[&str] = &[
    "pass the address of that field; the root of a list or tree must be declared with `__contains(TYPE, MEMBER)`",
];
const UNMOVED: &[&str] = &["pass the pointer as it was got, and move a copy of it"];

/// What is tried before the rows for any instruction.
pub(super) const TABLE: &[Row] = &[
    Row {
        needs: "keyless",
        ..row(
            ArgumentType,
            &[
                "R{reg} invalid zero-sized read",
                "invalid zero-sized read",
                "invalid zero-sized indirect access to stack",
                "invalid stack type R{reg} off={off} access_size=0",
            ],
            &["{callee} takes a key, and {keyless} has none"],
            &[
                "queues and stacks take bpf_map_push_elem, _pop_elem and _peek_elem, bloom filters the first and the \
               last, ring buffers bpf_ringbuf_output and _reserve",
            ],
        )
    },
    row(
        NullUnchecked,
        &["dereference of modified {kind}_or_null_ ptr R{reg} off={off} disallowed"],
        &[
            "argument {argument} of {callee} is {holds} that may be NULL and was not checked",
            "{register} is a pointer that may be NULL and was not checked",
        ],
        CHECK_NULL,
    ),
    Row {
        needs: "maybe_null",
        ..row(
            NullUnchecked,
            &[
                "verifier bug: invalid PTR_TO_BTF_ID register for type match",
                "verifier internal error: invalid PTR_TO_BTF_ID register for type match",
            ],
            &["argument {maybe_null} of {callee} is a pointer that may be NULL and was not checked"],
            CHECK_NULL,
        )
    },
    row(
        ArgumentType,
        &["off={off} doesn't point to kptr", "off={off} kptr isn't referenced kptr"],
        &["{callee} takes the address of a `__kptr` field, and at offset {off} of the value there is none"],
        DECLARE_KPTR,
    ),
    row(
        ArgumentType,
        &["R{reg} has no valid kptr", "map '{named}' has no valid kptr"],
        &["{callee} takes the address of a `__kptr` field, and this value has no such field"],
        DECLARE_KPTR,
    ),
    row(
        ArgumentType,
        &["invalid kptr access, R{reg} type={found} expected={expected}"],
        &[
            "the field holds {expected_words}, and argument {argument} of {callee} is {found_words}",
            "the field holds {expected_words}, and {register} is {found_words}",
        ],
        &["pass a pointer of the type that the field is declared with"],
    ),
    row(
        KernelField,
        &["store to referenced kptr disallowed", "BPF_ST imm must be 0 when storing to kptr at off={off}"],
        &["{access} to a `__kptr` field, which owns what it points to"],
        &["bpf_kptr_xchg(&field, pointer) puts it there, and gives what was there, to be released"],
    ),
    row(
        KernelField,
        &["kptr access {*what}", "kptr cannot be accessed indirectly by helper", "kptr in {*what}"],
        &["a `__kptr` field is accessed in part, or as data"],
        &["read it as a whole, 8 bytes, and leave it out when the value is copied"],
    ),
    row(
        ArgumentType,
        &[
            "R{reg} must be referenced or trusted",
            "R{reg} must be referenced",
            "R{reg} must be a rcu pointer",
        ],
        &[
            "argument {argument} of {callee} is no pointer any more since {ender} at instruction {ended_at}",
            "{callee} takes a pointer that the program owns or that the kernel vouches for as argument {argument}, \
             and gets {holds}",
            "{callee} takes a pointer that the program owns or that the kernel vouches for as argument {argument}",
        ],
        &[
            "use it before {ender} only",
            "pass the pointer as a function that allocates or acquires has given it",
        ],
    ),
    row(
        ArgumentType,
        &["R{reg} must have zero offset when passed to release func"],
        &[
            "argument {argument} of {callee} must be the pointer as it was got, and is {moved} bytes further",
            "argument {argument} of {callee} must be the pointer as it was got, and was moved",
        ],
        UNMOVED,
    ),
    row(
        MemoryBounds,
        &[
            "access beyond struct {named} at off {off} size {size}",
            "access beyond the end of member {member} (mend:{end}) in struct {named} with off {off} size {size}",
        ],
        &["{access} of {sized} at offset {off} of `struct {named}`, beyond the end of what is there"],
        &["keep the offset and the size of this {access} within it"],
    ),
    row(
        CriticalSection,
        &["held lock and object are not in the same allocation"],
        &["{callee} uses a list or tree while a lock is held that is not beside it, in the same value"],
        &["hold the bpf_spin_lock in the same map value, or the same section of variables"],
    ),
    row(
        CriticalSection,
        &["bpf_spin_lock at off={off} must be held for {root}"],
        &["{callee} uses a {root}, and the lock beside it, at offset {off} of the same value, is not held"],
        &["call bpf_spin_lock on that lock before, and bpf_spin_unlock after"],
    ),
    row(
        ArgumentType,
        &["{field} not found at offset={off}"],
        &["{callee} takes the address of a {field}, and at offset {off} of what it gets there is none"],
        DECLARE_CONTENT,
    ),
    row(
        ArgumentType,
        &["operation on {root} expects arg#{arg} {node} at offset={off} in struct {named}, but arg is at \
           offset={place} in struct {other}"],
        &[
            "the {root} is for the {node} at offset {off} of `struct {named}`, and argument {argument} of {callee} is \
           at offset {place} of `struct {other}`",
        ],
        &["pass the node that `__contains(TYPE, MEMBER)` of the root names"],
    ),
    row(
        ArgumentType,
        &["off {off} doesn't point to 'struct {field}' that is at {place}"],
        &["{callee} takes the address of a {field}, and gets offset {off} of a value that has it at {place}"],
        &["pass the address of the field itself"],
    ),
    row(
        ArgumentType,
        &["arg{arg} expected pointer to func"],
        &["{callee} takes a function as argument {argument}, and gets {holds}"],
        &[],
    ),
    row(
        ReferenceLeak,
        &["cannot overwrite referenced dynptr"],
        &[
            "{callee} sets up a dynptr that still holds what must be given back",
            "{access} of {sized} over a dynptr that still holds what must be given back",
        ],
        &["give it back first, for instance with bpf_ringbuf_submit_dynptr"],
    ),
    row(
        ReferenceLeak,
        &["expected uninitialized iter_{iterator} as arg #{number}"],
        &["{callee} begins an iterator that was begun already"],
        &["call bpf_iter_{iterator}_destroy first"],
    ),
    row(
        ArgumentType,
        &["Dynptr has to be an uninitialized dynptr"],
        &["{callee} sets up a dynptr, and gets one that was set up already"],
        &["use another variable for it"],
    ),
    row(
        ArgumentType,
        &["potential write to dynptr at off={number} disallowed"],
        &["{callee} writes to where a dynptr is on the stack, and only functions of dynptrs may"],
        &[
            "if the dynptr is of a block that has ended, declare both in one: the compiler gave them one place",
        ],
    ),
    row(
        ArgumentType,
        &["Unsupported reg type {found} for bpf_dynptr_from_mem data"],
        &["bpf_dynptr_from_mem takes a pointer into a map's value as argument 1, and gets {found_words}"],
        &[],
    ),
    row(
        ArgumentType,
        &["arg {reg} is an unacquired reference"],
        &["{callee} gives back what argument {argument} holds, and that holds nothing of the kind"],
        &[],
    ),
    row(
        ReadOnly,
        &["only read from {named} is supported"],
        &["write to a map itself, its `struct {named}`, which programs may only read"],
        &["write to its entries, by bpf_map_update_elem or what bpf_map_lookup_elem gives"],
    ),
    row(
        ReadOnly,
        &["only read is supported"],
        &["write of {sized} through {register}, {holds} of the kernel's, which programs may only read"],
        &[],
    ),
    row(
        KernelField,
        &["direct access to {field} is disallowed"],
        &["{access} of a {field}: that belongs to the kernel"],
        &["use it by the functions that are for it"],
    ),
    row(
        TypesMissing,
        &["map '{named}' has no valid {field}"],
        &[
            "the kernel does not know the {field} in map `{named}`: `__contains({uncontained})` names what the \
             object's BTF does not describe",
            "the kernel knows of no {field} in map `{named}`",
        ],
        &[
            "clang describes the types that are used: allocate one by bpf_obj_new, or name the type and the member \
             that exist",
            "declare it by its own type; with two of a kind, or with a list or tree without a lock, it takes none",
        ],
    ),
    Row {
        needs: "in_collection",
        ..row(
            ArgumentType,
            &["arg#{arg} expected pointer to allocated object"],
            &["argument {argument} of {callee} is in a list or tree already, which owns it"],
            &["take it out first, or add another reference to it (bpf_refcount_acquire)"],
        )
    },
    row(
        ArgumentType,
        &["arg#{arg} expected pointer to allocated object"],
        &["{callee} takes an object of bpf_obj_new as argument {argument}, and gets {holds}"],
        &["allocate it with bpf_obj_new"],
    ),
    row(
        ArgumentType,
        &["arg#{arg} expected for {other}()"],
        &[
            "argument {argument} of {callee} is an object for {other}: one takes those that each processor has its own \
           of, one all others",
        ],
        &["call {other} for this object"],
    ),
    row(
        ArgumentType,
        &["arg#{arg} doesn't point to a type with bpf_refcount field"],
        &["argument {argument} of {callee} must have a bpf_refcount, and is {holds}"],
        &["add a `struct bpf_refcount` to the type"],
    ),
];

/// What is tried after all other rows.
pub(super) const REST: &[Row] = &[
    Row {
        needs: "callee",
        ..row(
            ReadOnly,
            &["write into map forbidden"],
            &[
                "{callee} changes {passed_map}, a map that programs may only read",
                "{callee} changes a map that programs may only read",
            ],
            &["fill it from outside; that is so for maps of devices, and for those with BPF_F_RDONLY_PROG"],
        )
    },
    Row {
        needs: "callee",
        ..row(
            ArgumentType,
            &["dereference of modified {what} ptr R{reg} off={off} disallowed"],
            &[
                "argument {argument} of {callee} must be the pointer as it was got, and is {off} bytes further",
            ],
            UNMOVED,
        )
    },
    row(
        ArgumentType,
        &["dereference of modified {what} ptr R{reg} off={off} disallowed"],
        &["{access} through {register}, which was moved by {off} bytes and must not be"],
        UNMOVED,
    ),
];
