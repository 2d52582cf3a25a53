//! What passes over most of a kernel's 150,000 types before anything of them is decoded.

use crate::uapi::btf::BtfKind;

/// What a walk over all types of a kernel looks for. It keeps back all that is wanted and little else, and decides
/// that by the kind and the first two bytes of the name.
#[derive(Clone, Debug)]
pub struct Sieve {
    /// A bit for each kind.
    kinds: u32,
    begins: [[bool; 1 << u8::BITS]; 2],
}

impl Default for Sieve {
    fn default() -> Self {
        Self { kinds: 0, begins: [[false; 1 << u8::BITS]; 2] }
    }
}

impl Sieve {
    /// Keeps back the types of this kind with this name, or with a flavour of it.
    pub fn want(&mut self, kind: BtfKind, name: &str) {
        self.kinds |= 1_u32.checked_shl(kind.0).unwrap_or_default();
        let [first, second] = &mut self.begins;
        let mut bytes = name.bytes().map(usize::from);
        first[bytes.next().unwrap_or_default()] = true;
        // Behind a name of one letter is its end or a flavour.
        let [end, flavour] = [0, usize::from(b'_')];
        let next = bytes.next();
        second[next.unwrap_or(end)] = true;
        second[next.unwrap_or(flavour)] = true;
    }

    /// Whether a type of this kind may be wanted.
    pub(super) fn keeps_kind(&self, kind: BtfKind) -> bool {
        self.kinds >> (kind.0 % u32::BITS) & 1 != 0
    }

    /// Whether a type may be wanted whose name `strings` begins with.
    pub(super) fn keeps_name(&self, strings: &[u8]) -> bool {
        let [first, second] = &self.begins;
        matches!(strings, [one, two, ..] if first[usize::from(*one)] && second[usize::from(*two)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_stays_and_its_flavours_do() {
        let mut sieve = Sieve::default();
        sieve.want(BtfKind::STRUCT, "sock");
        sieve.want(BtfKind::ENUM, "t");
        for name in ["sock\0", "sock___old\0", "t\0", "t___v2\0"] {
            assert!(sieve.keeps_name(name.as_bytes()), "{name}");
        }
        for name in ["\0", "", "s", "u\0", "file\0", "xock\0"] {
            assert!(!sieve.keeps_name(name.as_bytes()), "{name}");
        }
        let kinds = [BtfKind::STRUCT, BtfKind::ENUM, BtfKind::UNION, BtfKind::UNKN];
        assert_eq!(kinds.map(|kind| sieve.keeps_kind(kind)), [true, true, false, false]);
        assert!(!Sieve::default().keeps_kind(BtfKind::STRUCT) && !Sieve::default().keeps_name(b"sock\0"));
    }
}
