//! The structs of bpf(2): one per command, where the kernel has one union for all.
//!
//! Names, order and offsets are those of `union bpf_attr`, `struct bpf_map_info` and `struct bpf_prog_info` in
//! `include/uapi/linux/bpf.h` of 6.18, up to the last field that is used here; the compiler checks every offset
//! and size. A field without a version is as old as its command.
//!
//! A kernel takes a struct that is shorter than its own as if zeros followed, and one that is longer if what it
//! does not know is zero; otherwise it answers E2BIG. So a field of a newer kernel costs nothing as long as it is
//! zero.

/// Defines a struct that the kernel reads or writes, with the offset of each field and the size of the whole.
macro_rules! kernel_struct {
    (
        $(#[$meta:meta])*
        struct $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $vis:vis $field:ident: $type:ty = $offset:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Default)]
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$field_meta])* $vis $field: $type,)*
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(std::mem::offset_of!($name, $field) == $offset);)*
        };
    };
}
pub(super) use kernel_struct;

kernel_struct! {
    /// `BPF_MAP_CREATE`. It holds no address, so that every value of it is safe to send.
    struct MapCreate: 72 {
        pub(crate) map_type: u32 = 0,
        /// In bytes.
        pub(crate) key_size: u32 = 4,
        /// In bytes.
        pub(crate) value_size: u32 = 8,
        pub(crate) max_entries: u32 = 12,
        /// 4.6
        pub(crate) map_flags: u32 = 16,
        /// The fd of the template for the values of a map of maps (4.12).
        pub(crate) inner_map_fd: u32 = 20,
        /// Taken only with `BPF_F_NUMA_NODE` (4.14).
        pub(crate) numa_node: u32 = 24,
        /// Ends in a NUL byte (4.15).
        pub(crate) map_name: [u8; 16] = 28,
        /// The network card that holds the map, 0 for the kernel itself (4.16).
        pub(crate) map_ifindex: u32 = 44,
        /// 4.18
        pub(super) btf_fd: u32 = 48,
        /// 4.18
        pub(crate) btf_key_type_id: u32 = 52,
        /// 4.18
        pub(crate) btf_value_type_id: u32 = 56,
        /// 5.6
        pub(super) btf_vmlinux_value_type_id: u32 = 60,
        /// Means something else for each map type (5.16).
        pub(crate) map_extra: u64 = 64,
    }
}

kernel_struct! {
    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY` and `BPF_MAP_FREEZE`.
    struct MapElem: 32 {
        pub(super) map_fd: u32 = 0,
        pub(super) padding: u32 = 4,
        /// Address of `key_size` bytes, 0 for none.
        pub(super) key: u64 = 8,
        /// Address of the value; `next_key` in `BPF_MAP_GET_NEXT_KEY`.
        pub(super) value: u64 = 16,
        pub(super) flags: u64 = 24,
    }
}

kernel_struct! {
    /// `BPF_MAP_*_BATCH`, the kernel's `batch` member (5.6).
    struct MapBatch: 56 {
        /// Address of the place to go on from, 0 for the start.
        pub(super) in_batch: u64 = 0,
        /// Address of the place that the call got to.
        pub(super) out_batch: u64 = 8,
        /// Address of `count` keys.
        pub(super) keys: u64 = 16,
        /// Address of `count` values.
        pub(super) values: u64 = 24,
        /// How many entries there is room for; the kernel writes how many it handled.
        pub(super) count: u32 = 32,
        pub(super) map_fd: u32 = 36,
        pub(super) elem_flags: u64 = 40,
        pub(super) flags: u64 = 48,
    }
}

kernel_struct! {
    /// `BPF_PROG_LOAD`. The addresses in it are set by [`prog_load`](super::bpf::prog_load) alone.
    struct ProgLoad: 144 {
        pub(crate) prog_type: u32 = 0,
        /// In instructions of 8 bytes.
        pub(super) insn_cnt: u32 = 4,
        /// Address of the instructions.
        pub(super) insns: u64 = 8,
        /// Address of a string that ends in a NUL byte.
        pub(super) license: u64 = 16,
        /// 0 for no log, else bits: 1 the verifier's path, 2 every state, 4 statistics (5.2).
        pub(crate) log_level: u32 = 24,
        pub(super) log_size: u32 = 28,
        /// Address of `log_size` bytes.
        pub(super) log_buf: u64 = 32,
        /// Checked for kprobes alone, and only before 5.0.
        pub(crate) kern_version: u32 = 40,
        /// 4.12
        pub(crate) prog_flags: u32 = 44,
        /// Ends in a NUL byte (4.15).
        pub(crate) prog_name: [u8; 16] = 48,
        /// The network card that runs the program, 0 for the kernel itself (4.16).
        pub(crate) prog_ifindex: u32 = 64,
        /// 4.17
        pub(crate) expected_attach_type: u32 = 68,
        /// 5.0, as all up to `line_info_cnt`.
        pub(super) prog_btf_fd: u32 = 72,
        pub(super) func_info_rec_size: u32 = 76,
        pub(super) func_info: u64 = 80,
        pub(super) func_info_cnt: u32 = 88,
        pub(super) line_info_rec_size: u32 = 92,
        pub(super) line_info: u64 = 96,
        pub(super) line_info_cnt: u32 = 104,
        /// 5.5
        pub(super) attach_btf_id: u32 = 108,
        /// 5.5
        pub(super) attach_prog_fd: u32 = 112,
        /// 5.17
        pub(super) core_relo_cnt: u32 = 116,
        /// 5.14
        pub(super) fd_array: u64 = 120,
        /// 5.17
        pub(super) core_relos: u64 = 128,
        /// 5.17
        pub(super) core_relo_rec_size: u32 = 136,
        /// The kernel writes how many bytes the whole log takes (6.4).
        pub(super) log_true_size: u32 = 140,
    }
}

kernel_struct! {
    /// `BPF_BTF_LOAD` (4.18).
    struct BtfLoad: 32 {
        /// Address of the types.
        pub(super) btf: u64 = 0,
        /// Address of `btf_log_size` bytes.
        pub(super) btf_log_buf: u64 = 8,
        /// In bytes.
        pub(super) btf_size: u32 = 16,
        pub(super) btf_log_size: u32 = 20,
        /// 0 for no log.
        pub(super) btf_log_level: u32 = 24,
        /// The kernel writes how many bytes the whole log takes (6.4).
        pub(super) btf_log_true_size: u32 = 28,
    }
}

kernel_struct! {
    /// `BPF_PROG_TEST_RUN`, the kernel's `test` member (4.12).
    struct ProgTestRun: 40 {
        pub(super) prog_fd: u32 = 0,
        /// The kernel writes what the program returned.
        pub(super) retval: u32 = 4,
        /// In bytes.
        pub(super) data_size_in: u32 = 8,
        /// Room in bytes, which the kernel minds since 5.0; it writes how many the packet has in the end.
        pub(super) data_size_out: u32 = 12,
        /// Address of the packet.
        pub(super) data_in: u64 = 16,
        /// Address of the room for the packet in the end.
        pub(super) data_out: u64 = 24,
        /// How often to run the program.
        pub(super) repeat: u32 = 32,
        /// The kernel writes how many nanoseconds one run took on average.
        pub(super) duration: u32 = 36,
    }
}

kernel_struct! {
    /// `BPF_PROG_TEST_RUN` of an XDP program whose frames go on as its verdicts say (5.18).
    struct ProgRunLive: 80 {
        pub(super) prog_fd: u32 = 0,
        pub(super) retval: u32 = 4,
        /// In bytes.
        pub(super) data_size_in: u32 = 8,
        pub(super) data_size_out: u32 = 12,
        /// Address of the packet.
        pub(super) data_in: u64 = 16,
        pub(super) data_out: u64 = 24,
        /// How many frames.
        pub(super) repeat: u32 = 32,
        pub(super) duration: u32 = 36,
        /// Bytes of the context.
        pub(super) ctx_size_in: u32 = 40,
        pub(super) ctx_size_out: u32 = 44,
        /// Address of the context.
        pub(super) ctx_in: u64 = 48,
        pub(super) ctx_out: u64 = 56,
        pub(super) flags: u32 = 64,
        pub(super) cpu: u32 = 68,
        /// Frames that are made at once; 0 for 64.
        pub(super) batch_size: u32 = 72,
        pub(super) padding: u32 = 76,
    }
}

kernel_struct! {
    /// `BPF_PROG_BIND_MAP`, the kernel's `prog_bind_map` member (5.10).
    struct ProgBindMap: 12 {
        pub(super) prog_fd: u32 = 0,
        pub(super) map_fd: u32 = 4,
        pub(super) flags: u32 = 8,
    }
}

kernel_struct! {
    /// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
    struct Obj: 16 {
        /// Address of a path that ends in a NUL byte.
        pub(super) pathname: u64 = 0,
        pub(super) bpf_fd: u32 = 8,
        /// `BPF_F_RDONLY`, `BPF_F_WRONLY` (4.15).
        pub(super) file_flags: u32 = 12,
    }
}

kernel_struct! {
    /// `BPF_*_GET_NEXT_ID` and `BPF_*_GET_FD_BY_ID`.
    struct ById: 12 {
        /// The id to open, or the one to go on from.
        pub(super) id: u32 = 0,
        /// The kernel writes the next id.
        pub(super) next_id: u32 = 4,
        /// `BPF_F_RDONLY`, `BPF_F_WRONLY` (4.15).
        pub(super) open_flags: u32 = 8,
    }
}

kernel_struct! {
    /// `BPF_OBJ_GET_INFO_BY_FD`.
    struct ObjInfo: 16 {
        pub(super) bpf_fd: u32 = 0,
        /// Room in bytes; the kernel writes how many bytes its own struct has, if that is less.
        pub(super) info_len: u32 = 4,
        /// Address of `info_len` bytes.
        pub(super) info: u64 = 8,
    }
}

kernel_struct! {
    /// `struct bpf_map_info`: what the kernel says of a map (4.13).
    struct MapInfo: 88 {
        pub(crate) map_type: u32 = 0,
        pub(crate) id: u32 = 4,
        pub(crate) key_size: u32 = 8,
        pub(crate) value_size: u32 = 12,
        pub(crate) max_entries: u32 = 16,
        pub(crate) map_flags: u32 = 20,
        /// 4.15
        pub(crate) name: [u8; 16] = 24,
        /// 4.16
        pub(crate) ifindex: u32 = 40,
        /// 5.6
        pub(super) btf_vmlinux_value_type_id: u32 = 44,
        /// 4.16
        pub(super) netns_dev: u64 = 48,
        /// 4.16
        pub(super) netns_ino: u64 = 56,
        /// 4.18
        pub(crate) btf_id: u32 = 64,
        /// 4.18
        pub(crate) btf_key_type_id: u32 = 68,
        /// 4.18
        pub(crate) btf_value_type_id: u32 = 72,
        /// 6.8; only padding before.
        pub(super) btf_vmlinux_id: u32 = 76,
        /// 5.16
        pub(crate) map_extra: u64 = 80,
    }
}

kernel_struct! {
    /// `struct bpf_btf_info`: what the kernel says of types that it holds (4.18, `name` and all behind it 5.11).
    struct BtfInfo: 32 {
        pub(super) btf: u64 = 0,
        pub(super) btf_size: u32 = 8,
        pub(super) id: u32 = 12,
        /// Address of `name_len` bytes.
        pub(super) name: u64 = 16,
        /// Room in bytes; the kernel writes how long the name is.
        pub(super) name_len: u32 = 24,
        /// 1 for the types of the kernel or of a module.
        pub(super) kernel_btf: u32 = 28,
    }
}

kernel_struct! {
    /// `struct bpf_prog_info`: what the kernel says of a program (4.13).
    struct ProgInfo: 224 {
        pub(crate) prog_type: u32 = 0,
        pub(crate) id: u32 = 4,
        pub(crate) tag: [u8; 8] = 8,
        /// In bytes; 0 where the program is interpreted.
        pub(crate) jited_prog_len: u32 = 16,
        /// In bytes.
        pub(crate) xlated_prog_len: u32 = 20,
        pub(super) jited_prog_insns: u64 = 24,
        pub(super) xlated_prog_insns: u64 = 32,
        /// Nanoseconds since the machine started (4.15, as all up to `name`).
        pub(crate) load_time: u64 = 40,
        pub(crate) created_by_uid: u32 = 48,
        /// Room in ids; the kernel writes how many maps the program uses.
        pub(crate) nr_map_ids: u32 = 52,
        /// Address of `nr_map_ids` numbers of 32 bits.
        pub(super) map_ids: u64 = 56,
        pub(crate) name: [u8; 16] = 64,
        /// 4.16
        pub(crate) ifindex: u32 = 80,
        /// Bit 0 (in the machine's bit order): the license is GPL-compatible (4.18).
        pub(crate) gpl_compatible: u32 = 84,
        /// 4.16
        pub(super) netns_dev: u64 = 88,
        /// 4.16
        pub(super) netns_ino: u64 = 96,
        pub(super) nr_jited_ksyms: u32 = 104,
        pub(super) nr_jited_func_lens: u32 = 108,
        pub(super) jited_ksyms: u64 = 112,
        pub(super) jited_func_lens: u64 = 120,
        /// 5.0
        pub(crate) btf_id: u32 = 128,
        pub(super) func_info_rec_size: u32 = 132,
        pub(super) func_info: u64 = 136,
        pub(super) nr_func_info: u32 = 144,
        pub(super) nr_line_info: u32 = 148,
        pub(super) line_info: u64 = 152,
        pub(super) jited_line_info: u64 = 160,
        pub(super) nr_jited_line_info: u32 = 168,
        pub(super) line_info_rec_size: u32 = 172,
        pub(super) jited_line_info_rec_size: u32 = 176,
        pub(super) nr_prog_tags: u32 = 180,
        pub(super) prog_tags: u64 = 184,
        /// Nanoseconds, counted while `kernel.bpf_stats_enabled` is 1 (5.1).
        pub(crate) run_time_ns: u64 = 192,
        /// Runs, counted as above (5.1).
        pub(crate) run_cnt: u64 = 200,
        pub(super) recursion_misses: u64 = 208,
        /// Instructions that the verifier walked through (5.16).
        pub(crate) verified_insns: u32 = 216,
        pub(super) padding: u32 = 220,
    }
}

kernel_struct! {
    /// `BPF_LINK_CREATE`, the kernel's `link_create` member (5.7; for XDP 5.9).
    struct LinkCreate: 16 {
        pub(super) prog_fd: u32 = 0,
        /// `target_ifindex` for XDP.
        pub(super) target: u32 = 4,
        pub(super) attach_type: u32 = 8,
        /// `XDP_FLAGS_*_MODE` for XDP.
        pub(super) flags: u32 = 12,
    }
}

kernel_struct! {
    /// `BPF_RAW_TRACEPOINT_OPEN`, the kernel's `raw_tracepoint` member (4.17).
    struct RawTracepointOpen: 16 {
        /// Address of a string; 0 for a program that was loaded for one place alone.
        pub(super) name: u64 = 0,
        pub(super) prog_fd: u32 = 8,
        pub(super) padding: u32 = 12,
    }
}

kernel_struct! {
    /// `BPF_LINK_UPDATE`, the kernel's `link_update` member (5.7).
    struct LinkUpdate: 16 {
        pub(super) link_fd: u32 = 0,
        pub(super) new_prog_fd: u32 = 4,
        pub(super) flags: u32 = 8,
        /// Taken only with `BPF_F_REPLACE`.
        pub(super) old_prog_fd: u32 = 12,
    }
}

kernel_struct! {
    /// `BPF_LINK_DETACH`, the kernel's `link_detach` member (5.9).
    struct LinkDetach: 4 {
        pub(super) link_fd: u32 = 0,
    }
}

kernel_struct! {
    /// `struct bpf_link_info`: what the kernel says of a link (5.8), as far as an XDP link has something to say.
    struct LinkInfo: 24 {
        pub(crate) link_type: u32 = 0,
        pub(crate) id: u32 = 4,
        pub(crate) prog_id: u32 = 8,
        pub(super) padding: u32 = 12,
        /// The interface of an XDP link, 0 once the link is detached (5.9). Other types have something else here.
        pub(crate) ifindex: u32 = 16,
        pub(super) rest: u32 = 20,
    }
}
