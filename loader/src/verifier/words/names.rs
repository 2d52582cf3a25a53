//! Names in logs, and what they stand for: types of registers, fields of the context, and calls that end pointers.

use crate::verifier::trace::Ender;

/// The types of registers as the log names them, and what they are in words. The longer name comes first.
pub(in crate::verifier) const TYPES: &[(&str, &str)] = &[
    ("ctx", "the context"),
    ("pkt_end", "the end of the packet"),
    ("pkt_meta", "a pointer into the packet's metadata"),
    ("pkt", "a pointer into the packet"),
    ("map_value", "a pointer to a map value"),
    ("map_key", "a pointer to a map key"),
    ("map_ptr", "a map"),
    ("const_ptr_to_map", "a map"),
    ("fp", "a pointer to the stack"),
    ("scalar", "a number"),
    ("inv", "a number"),
    ("ringbuf_mem", "a record of a ring buffer"),
    ("alloc_mem", "a record of a ring buffer"),
    ("mem", "a pointer to memory"),
    ("buf", "a pointer to memory"),
    ("sock", "a socket"),
    ("tcp_sock", "a socket"),
    ("xdp_sock", "a socket"),
    ("func", "a function"),
    ("ptr_", OBJECT),
    ("trusted_ptr_", OBJECT),
    ("rcu_ptr_", OBJECT),
    ("untrusted_ptr_", "a pointer to an object that may be stale"),
];

/// One of the kernel's, or one that the program has allocated.
const OBJECT: &str = "a pointer to an object";

/// The fields of `struct xdp_md`: where they begin, and their names. Each has 4 bytes.
pub(in crate::verifier) const CONTEXT: &[(u32, &str)] = &[
    (0, "data"),
    (4, "data_end"),
    (8, "data_meta"),
    (12, "ingress_ifindex"),
    (16, "rx_queue_index"),
    (20, "egress_ifindex"),
];

/// Calls after which pointers into the packet are numbers. Before 6.13 a tail call is none of them.
pub(in crate::verifier) const MOVERS: &[Ender] = &[
    Ender { call: "bpf_xdp_adjust_head", pointers: &["pkt"] },
    Ender { call: "bpf_xdp_adjust_tail", pointers: &["pkt"] },
    Ender { call: "bpf_xdp_adjust_meta", pointers: &["pkt"] },
    Ender { call: "bpf_xdp_pull_data", pointers: &["pkt"] },
    Ender { call: "bpf_tail_call", pointers: &["pkt"] },
];

const RECORD: &[&str] = &["ringbuf_mem", "alloc_mem", "mem"];
const SLICE: &[&str] = &["rdonly_mem", "mem"];
const SOCKET: &[&str] = &["sock", "tcp_sock"];
const OBJECTS: &[&str] = &["ptr_", "trusted_ptr_"];

/// Calls that move the packet end what dynptr functions gave of it, too.
pub(in crate::verifier) const SLICE_ENDERS: &[Ender] = &[
    Ender { call: "bpf_xdp_adjust_head", pointers: SLICE },
    Ender { call: "bpf_xdp_adjust_tail", pointers: SLICE },
    Ender { call: "bpf_xdp_adjust_meta", pointers: SLICE },
    Ender { call: "bpf_xdp_pull_data", pointers: SLICE },
];

/// Calls that end pointers of other types.
pub(in crate::verifier) const ENDERS_OF_OTHERS: &[Ender] = &[
    Ender { call: "bpf_ringbuf_submit", pointers: RECORD },
    Ender { call: "bpf_ringbuf_discard", pointers: RECORD },
    Ender { call: "bpf_ringbuf_submit_dynptr", pointers: RECORD },
    Ender { call: "bpf_ringbuf_discard_dynptr", pointers: RECORD },
    Ender { call: "bpf_sk_release", pointers: SOCKET },
    Ender { call: "bpf_obj_drop_impl", pointers: OBJECTS },
    Ender { call: "bpf_kptr_xchg", pointers: OBJECTS },
    Ender { call: "bpf_task_release", pointers: OBJECTS },
    Ender { call: "bpf_cgroup_release", pointers: OBJECTS },
    Ender { call: "bpf_cpumask_release", pointers: OBJECTS },
    // What is in a list or tree may be used as long as nobody can take it out.
    Ender { call: "bpf_spin_unlock", pointers: OBJECTS },
    Ender { call: "bpf_rbtree_remove", pointers: OBJECTS },
    Ender { call: "bpf_list_pop_front", pointers: OBJECTS },
    Ender { call: "bpf_list_pop_back", pointers: OBJECTS },
];

const DROP: &str = "bpf_obj_drop";

/// Helpers whose result must be given back, and what does so.
pub(in crate::verifier) const RELEASES: &[(&str, &str)] = &[
    ("bpf_ringbuf_reserve", "bpf_ringbuf_submit or bpf_ringbuf_discard"),
    ("bpf_ringbuf_reserve_dynptr", "bpf_ringbuf_submit_dynptr or bpf_ringbuf_discard_dynptr"),
    // Of a map of sockets.
    ("bpf_map_lookup_elem", "bpf_sk_release"),
    ("bpf_sk_lookup_tcp", "bpf_sk_release"),
    ("bpf_sk_lookup_udp", "bpf_sk_release"),
    ("bpf_skc_lookup_tcp", "bpf_sk_release"),
    ("bpf_iter_num_new", "bpf_iter_num_destroy"),
    ("bpf_iter_bits_new", "bpf_iter_bits_destroy"),
    ("bpf_xdp_ct_lookup", "bpf_ct_release"),
    ("bpf_task_acquire", "bpf_task_release"),
    ("bpf_task_from_pid", "bpf_task_release"),
    ("bpf_cgroup_acquire", "bpf_cgroup_release"),
    ("bpf_cgroup_from_id", "bpf_cgroup_release"),
    ("bpf_cpumask_create", "bpf_cpumask_release"),
    ("bpf_obj_new_impl", DROP),
    ("bpf_refcount_acquire_impl", DROP),
    ("bpf_rbtree_remove", DROP),
    ("bpf_list_pop_front", DROP),
    ("bpf_list_pop_back", DROP),
    ("bpf_kptr_xchg", "bpf_obj_drop, or the function that releases this type,"),
];

/// Helpers for maps of few types, and which.
pub(in crate::verifier) const SUITABLE: &[(&str, &str)] = &[
    ("bpf_perf_event_output", "perf_event_array"),
    ("bpf_perf_event_read", "perf_event_array"),
    ("bpf_perf_event_read_value", "perf_event_array"),
    ("bpf_redirect_map", "devmap, devmap_hash, cpumap or xskmap"),
    ("bpf_map_push_elem", "queue, stack or bloom_filter"),
    ("bpf_map_pop_elem", "queue or stack"),
    ("bpf_map_peek_elem", "queue, stack or bloom_filter"),
    ("bpf_map_lookup_percpu_elem", "percpu_array, percpu_hash or lru_percpu_hash"),
    ("bpf_ringbuf_output", "ringbuf"),
    ("bpf_ringbuf_reserve", "ringbuf"),
    ("bpf_ringbuf_reserve_dynptr", "ringbuf"),
    ("bpf_ringbuf_query", "ringbuf"),
    ("bpf_user_ringbuf_drain", "user_ringbuf"),
    ("bpf_current_task_under_cgroup", "cgroup_array"),
    ("bpf_get_stackid", "stack_trace"),
];
