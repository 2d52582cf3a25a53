//! The tag of a program: the hash of its instructions by which the kernel tells programs apart.

use hmac_sha256::Hash;
use sha1_smol::Sha1;

use super::{Insn, encode_all};
use crate::bytes::ByteOrder;
use crate::uapi::bpf::{BPF_LD_IMM64, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, BPF_TAG_SIZE};

/// The tag that the kernel gives to a program: the first bytes of a hash of its instructions as they are loaded,
/// without the numbers of maps (`bpf_prog_calc_tag()` in `kernel/bpf/core.c`).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// By SHA-256, since 6.18.
    pub sha256: [u8; BPF_TAG_SIZE],
    /// By SHA-1, before.
    pub sha1: [u8; BPF_TAG_SIZE],
}

impl Tags {
    /// The tags of the program with these instructions.
    pub fn of(insns: &[Insn]) -> Self {
        let bytes = encode_all(&without_maps(insns), ByteOrder::NATIVE);
        let first = |hash: &[u8]| std::array::from_fn(|at| hash[at]);
        Self { sha256: first(&Hash::hash(&bytes)), sha1: first(&Sha1::from(&bytes).digest().bytes()) }
    }

    /// Whether the kernel's `tag` is this program's, whichever kernel it is.
    pub fn has(&self, tag: [u8; BPF_TAG_SIZE]) -> bool {
        self.sha256 == tag || self.sha1 == tag
    }
}

fn without_maps(insns: &[Insn]) -> Vec<Insn> {
    let mut insns = insns.to_vec();
    let mut at = 0;
    while at < insns.len() {
        let is_map = insns[at].code == BPF_LD_IMM64
            && [BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE].contains(&insns[at].src);
        if !is_map {
            at += 1;
            continue;
        }
        insns[at].imm = 0;
        if let Some(second) = insns.get_mut(at + 1) {
            second.imm = 0;
        }
        at += 2;
    }
    insns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_left_out() {
        let insn = |code, src, imm| Insn { code, dst: 1, src, off: 0, imm };
        let load = |src, imm| [insn(BPF_LD_IMM64, src, imm), Insn { dst: 0, ..insn(0, 0, imm) }];
        let tags = |src, imm| Tags::of(&load(src, imm));
        for map in [BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE] {
            assert_eq!(tags(map, 7), tags(map, 8));
        }
        assert_ne!(tags(0, 7), tags(0, 8));
        assert!(tags(0, 7).has(tags(0, 7).sha1) && tags(0, 7).has(tags(0, 7).sha256));
        assert!(!tags(0, 7).has(tags(0, 8).sha1));
    }
}
