//! `include/uapi/linux/btf.h`: the BPF Type Format's numbers.

use super::named_values;

/// The first two bytes of BTF, as a number in its own byte order.
pub const BTF_MAGIC: u16 = 0xeb9f;
/// The only version of the format so far.
pub const BTF_VERSION: u8 = 1;
/// Bytes of `struct btf_header`. A newer kernel's header may be longer, and says so in `hdr_len`.
pub const BTF_HEADER_SIZE: usize = 24;
/// Bytes of `struct btf_type`, which every type begins with.
pub const BTF_TYPE_SIZE: usize = 12;
/// Bytes of the one number that follows a `BTF_KIND_INT`: encoding, bit offset and bits.
pub const BTF_INT_SIZE: usize = 4;
/// Bytes of `struct btf_array`.
pub const BTF_ARRAY_SIZE: usize = 12;
/// Bytes of `struct btf_member`.
pub const BTF_MEMBER_SIZE: usize = 12;
/// Bytes of `struct btf_enum`.
pub const BTF_ENUM_SIZE: usize = 8;
/// Bytes of `struct btf_enum64`.
pub const BTF_ENUM64_SIZE: usize = 12;
/// Bytes of `struct btf_param`.
pub const BTF_PARAM_SIZE: usize = 8;
/// Bytes of `struct btf_var`.
pub const BTF_VAR_SIZE: usize = 4;
/// Bytes of `struct btf_var_secinfo`.
pub const BTF_VAR_SECINFO_SIZE: usize = 12;
/// Bytes of `struct btf_decl_tag`.
pub const BTF_DECL_TAG_SIZE: usize = 4;

/// Bytes of `struct btf_ext_header` before it had CO-RE relocations.
pub const BTF_EXT_OLD_HEADER_SIZE: usize = 24;
/// Bytes of `struct btf_ext_header`, which is in `tools/lib/bpf/libbpf_internal.h`: the kernel never sees it.
pub const BTF_EXT_HEADER_SIZE: usize = 32;
/// Bytes of `struct btf_ext_info_sec`, which the records of a section follow.
pub const BTF_EXT_INFO_SEC_SIZE: usize = 8;
/// Bytes of `struct bpf_func_info`.
pub const FUNC_INFO_SIZE: usize = 8;
/// Bytes of `struct bpf_line_info`.
pub const LINE_INFO_SIZE: usize = 16;
/// Bytes of `struct bpf_core_relo`.
pub const CORE_RELO_SIZE: usize = 16;

/// `btf_type.info`: how many entries follow the type.
///
/// Linux 6.18 uses the low 16 bits of these 24 and the low five of the seven of [`BTF_INFO_KIND_MASK`], and
/// leaves the others zero; later headers give them to the two fields. The wide masks read both.
pub const BTF_INFO_VLEN_MASK: u32 = 0x00ff_ffff;
/// `btf_type.info`: where the kind begins.
pub const BTF_INFO_KIND_SHIFT: u32 = 24;
/// `btf_type.info`: the kind, once shifted down.
pub const BTF_INFO_KIND_MASK: u32 = 0x7f;
/// `btf_type.info`: a flag whose meaning depends on the kind.
pub const BTF_INFO_KIND_FLAG: u32 = 1 << 31;

named_values! {
    /// The kind of a type. The version is the first kernel that takes it in `BPF_BTF_LOAD`.
    pub struct BtfKind: u32, "BTF_KIND_" {
        UNKN = 0 "void";
        /// 4.18
        INT = 1 "int";
        /// 4.18
        PTR = 2 "ptr";
        /// 4.18
        ARRAY = 3 "array";
        /// 4.18
        STRUCT = 4 "struct";
        /// 4.18
        UNION = 5 "union";
        /// 4.18
        ENUM = 6 "enum";
        /// 4.18
        FWD = 7 "fwd";
        /// 4.18
        TYPEDEF = 8 "typedef";
        /// 4.18
        VOLATILE = 9 "volatile";
        /// 4.18
        CONST = 10 "const";
        /// 4.18
        RESTRICT = 11 "restrict";
        /// 5.0
        FUNC = 12 "func";
        /// 5.0
        FUNC_PROTO = 13 "func_proto";
        /// 5.2
        VAR = 14 "var";
        /// 5.2
        DATASEC = 15 "datasec";
        /// 5.13
        FLOAT = 16 "float";
        /// 5.16
        DECL_TAG = 17 "decl_tag";
        /// 5.17
        TYPE_TAG = 18 "type_tag";
        /// 6.0
        ENUM64 = 19 "enum64";
    }
}

/// `BTF_KIND_INT`: the number is signed.
pub const BTF_INT_SIGNED: u8 = 1 << 0;
/// `BTF_KIND_INT`: the number is a character.
pub const BTF_INT_CHAR: u8 = 1 << 1;
/// `BTF_KIND_INT`: the number is a truth value.
pub const BTF_INT_BOOL: u8 = 1 << 2;

named_values! {
    /// Where a variable lives, from `struct btf_var`.
    pub struct VarLinkage: u32, "BTF_VAR_" {
        STATIC = 0 "static";
        GLOBAL_ALLOCATED = 1 "global";
        GLOBAL_EXTERN = 2 "extern";
    }
}

named_values! {
    /// Who may call a function, from the place of `BTF_KIND_FUNC`'s vlen.
    pub struct FuncLinkage: u32, "BTF_FUNC_" {
        STATIC = 0 "static";
        GLOBAL = 1 "global";
        EXTERN = 2 "extern";
    }
}

named_values! {
    /// Which number a CO-RE relocation asks for, from `enum bpf_core_relo_kind` in `include/uapi/linux/bpf.h`.
    pub struct CoreReloKind: u32, "BPF_CORE_" {
        /// Where a field begins, in bytes.
        FIELD_BYTE_OFFSET = 0 "byte_off";
        /// Bytes of a field.
        FIELD_BYTE_SIZE = 1 "byte_sz";
        /// Whether there is such a field.
        FIELD_EXISTS = 2 "field_exists";
        /// Whether a field is signed.
        FIELD_SIGNED = 3 "signed";
        /// By how many bits to shift a bit-field to the left, so that its first bit is the highest of 64.
        FIELD_LSHIFT_U64 = 4 "lshift_u64";
        /// By how many bits to shift it back to the right, so that its last bit is the lowest.
        FIELD_RSHIFT_U64 = 5 "rshift_u64";
        /// The type's number in the object's own BTF.
        TYPE_ID_LOCAL = 6 "local_type_id";
        /// The type's number in the kernel's BTF.
        TYPE_ID_TARGET = 7 "target_type_id";
        /// Whether there is such a type.
        TYPE_EXISTS = 8 "type_exists";
        /// Bytes of a type.
        TYPE_SIZE = 9 "type_size";
        /// Whether an enumeration has such a value.
        ENUMVAL_EXISTS = 10 "enumval_exists";
        /// The number that a value of an enumeration stands for.
        ENUMVAL_VALUE = 11 "enumval_value";
        /// Whether there is such a type, with all that the program knows of it.
        TYPE_MATCHES = 12 "type_matches";
    }
}
