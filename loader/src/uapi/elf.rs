//! The numbers of the ELF specification (System V gABI) and of its BPF supplement (`EM_BPF`, `R_BPF_*`).

use super::named_values;

/// The first four bytes of every ELF file.
pub const ELFMAG: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// Bytes of `e_ident`.
pub const EI_NIDENT: usize = 16;
/// Index in `e_ident` of the class, 32 or 64 bits.
pub const EI_CLASS: usize = 4;
/// Index in `e_ident` of the byte order.
pub const EI_DATA: usize = 5;
/// `e_ident[EI_CLASS]`: 32-bit.
pub const ELFCLASS32: u8 = 1;
/// `e_ident[EI_CLASS]`: 64-bit.
pub const ELFCLASS64: u8 = 2;
/// `e_ident[EI_DATA]`: little-endian.
pub const ELFDATA2LSB: u8 = 1;
/// `e_ident[EI_DATA]`: big-endian.
pub const ELFDATA2MSB: u8 = 2;

/// Bytes of the ELF64 file header.
pub const EHDR_SIZE: usize = 64;
/// Bytes of an ELF64 section header.
pub const SHDR_SIZE: usize = 64;
/// Bytes of an ELF64 symbol.
pub const SYM_SIZE: usize = 24;
/// Bytes of an ELF64 relocation without an addend.
pub const REL_SIZE: usize = 16;
/// Bytes of an ELF64 relocation with an addend.
pub const RELA_SIZE: usize = 24;

named_values! {
    /// `e_type`.
    pub struct FileType: u16, "ET_" {
        NONE = 0 "none";
        REL = 1 "relocatable";
        EXEC = 2 "executable";
        DYN = 3 "shared object";
        CORE = 4 "core dump";
    }
}

named_values! {
    /// `e_machine`, as far as people mistake such files for BPF objects.
    pub struct Machine: u16, "EM_" {
        NONE = 0 "none";
        I386 = 3 "x86 (32-bit)";
        MIPS = 8 "mips";
        PPC64 = 21 "powerpc64";
        ARM = 40 "arm";
        X86_64 = 62 "x86-64";
        AARCH64 = 183 "aarch64";
        RISCV = 243 "riscv";
        BPF = 247 "bpf";
    }
}

named_values! {
    /// `sh_type`.
    pub struct SectionType: u32, "SHT_" {
        NULL = 0 "null";
        PROGBITS = 1 "progbits";
        SYMTAB = 2 "symtab";
        STRTAB = 3 "strtab";
        RELA = 4 "rela";
        NOTE = 7 "note";
        /// Takes no room in the file, as `.bss`.
        NOBITS = 8 "nobits";
        REL = 9 "rel";
        /// 32-bit section indices for symbols whose `st_shndx` is `SHN_XINDEX`.
        SYMTAB_SHNDX = 18 "symtab_shndx";
        LLVM_ADDRSIG = 0x6fff_4c03 "llvm_addrsig";
    }
}

/// `sh_flags`: the section is in memory while the program runs.
pub const SHF_ALLOC: u64 = 0x2;
/// `sh_flags`: the section holds instructions.
pub const SHF_EXECINSTR: u64 = 0x4;

/// Section index: undefined.
pub const SHN_UNDEF: u16 = 0;
/// First of the reserved section indices, which name no section.
pub const SHN_LORESERVE: u16 = 0xff00;
/// Section index: the symbol has an absolute value.
pub const SHN_ABS: u16 = 0xfff1;
/// Section index: the symbol is a common block.
pub const SHN_COMMON: u16 = 0xfff2;
/// Section index: the real one is elsewhere, since it does not fit in 16 bits.
pub const SHN_XINDEX: u16 = 0xffff;

named_values! {
    /// The type of a symbol, the low half of `st_info`.
    pub struct SymbolType: u8, "STT_" {
        NOTYPE = 0 "notype";
        OBJECT = 1 "object";
        FUNC = 2 "func";
        SECTION = 3 "section";
        FILE = 4 "file";
    }
}

named_values! {
    /// The binding of a symbol, the high half of `st_info`.
    pub struct SymbolBinding: u8, "STB_" {
        LOCAL = 0 "local";
        GLOBAL = 1 "global";
        WEAK = 2 "weak";
    }
}

named_values! {
    /// The visibility of a symbol, the low two bits of `st_other`. Clang's `visibility("hidden")` asks the verifier to
    /// look into a global function with what its caller knows, as into a static one.
    pub struct SymbolVisibility: u8, "STV_" {
        DEFAULT = 0 "default";
        INTERNAL = 1 "internal";
        HIDDEN = 2 "hidden";
        PROTECTED = 3 "protected";
    }
}

named_values! {
    /// The type of a BPF relocation (kernel: Documentation/bpf/llvm_reloc.rst).
    pub struct RelocationType: u32, "" {
        R_BPF_NONE = 0 "none";
        /// A 64-bit immediate load: a map, a variable, a function's address.
        R_BPF_64_64 = 1 "64_64";
        /// 64 bits of data.
        R_BPF_64_ABS64 = 2 "64_abs64";
        /// 32 bits of data.
        R_BPF_64_ABS32 = 3 "64_abs32";
        /// 32 bits of data in `.BTF` or `.BTF.ext`, not for the loader.
        R_BPF_64_NODYLD32 = 4 "64_nodyld32";
        /// The immediate of a call.
        R_BPF_64_32 = 10 "64_32";
    }
}
