//! What passes over most of a kernel's 150,000 types before anything of them is decoded.

use crate::uapi::btf::BtfKind;

/// Places of the table for what names begin with.
const PLACES: u32 = 1 << 12;

/// What a walk over all types of a kernel looks for. It keeps back all that is wanted and little else, and decides
/// that by the kind and the first three bytes of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sieve {
    /// A bit for each kind.
    kinds: u32,
    /// A bit for each three bytes, which several share.
    begins: [u64; (PLACES / u64::BITS) as usize],
}

impl Default for Sieve {
    fn default() -> Self {
        Self { kinds: 0, begins: [0; (PLACES / u64::BITS) as usize] }
    }
}

impl Sieve {
    /// Keeps back the types of this kind with this name, or with a flavour of it.
    pub fn want(&mut self, kind: BtfKind, name: &str) {
        self.kinds |= 1_u32.checked_shl(kind.0).unwrap_or_default();
        // Behind a name is its end or a flavour, and behind its end is another name.
        match *name.as_bytes() {
            [one, two, three, ..] => self.begin([one, two, three]),
            [one, two] => [0, b'_'].into_iter().for_each(|three| self.begin([one, two, three])),
            [one] => {
                self.begin([one, b'_', b'_']);
                (0..=u8::MAX).for_each(|three| self.begin([one, 0, three]));
            }
            [] => {}
        }
    }

    fn begin(&mut self, bytes: [u8; 3]) {
        let (word, bit) = place(bytes);
        self.begins[word] |= bit;
    }

    /// Whether it keeps back all that `other` does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let holds = |mine: u64, others: u64| mine & others == others;
        holds(self.kinds.into(), other.kinds.into())
            && self.begins.iter().zip(&other.begins).all(|(mine, others)| holds(*mine, *others))
    }

    /// The kinds that may be wanted, a bit for each.
    pub(super) fn kinds(&self) -> u32 {
        self.kinds
    }

    /// Whether a type may be wanted whose name `strings` begins with.
    pub(super) fn keeps_name(&self, strings: &[u8]) -> bool {
        let Some(bytes) = strings.first_chunk() else {
            // The last strings of a table are too short to tell.
            return !strings.is_empty();
        };
        let (word, bit) = place(*bytes);
        self.begins[word] & bit != 0
    }
}

/// Where these bytes stand in the table: the upper bits of a product, in which each byte has a part.
fn place([one, two, three]: [u8; 3]) -> (usize, u64) {
    let product = u32::from_le_bytes([one, two, three, 0]).wrapping_mul(0x9e37_79b1);
    let place = product / (u32::MAX / PLACES + 1);
    ((place / u64::BITS) as usize, 1 << (place % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_stays_and_its_flavours_do() {
        let mut sieve = Sieve::default();
        sieve.want(BtfKind::STRUCT, "sock");
        sieve.want(BtfKind::ENUM, "t");
        sieve.want(BtfKind::ENUM, "u8");
        for name in ["sock\0", "sock___old\0", "t\0", "t\0next\0", "t___v2\0", "u8\0", "u8___v2\0"] {
            assert!(sieve.keeps_name(name.as_bytes()), "{name}");
        }
        for name in ["\0\0\0", "", "u\0\0", "file\0", "xock\0", "u64\0", "task_struct\0"] {
            assert!(!sieve.keeps_name(name.as_bytes()), "{name}");
        }
        assert_eq!(sieve.kinds(), 1 << BtfKind::STRUCT.0 | 1 << BtfKind::ENUM.0);
        assert!(!Sieve::default().keeps_name(b"sock\0"));
    }

    #[test]
    fn a_wider_sieve_covers_a_narrower_one() {
        let wanting = |wants: &[(BtfKind, &str)]| {
            let mut sieve = Sieve::default();
            for (kind, name) in wants {
                sieve.want(*kind, name);
            }
            sieve
        };
        let wide = wanting(&[(BtfKind::STRUCT, "sock"), (BtfKind::FUNC, "bpf_rdonly_cast")]);
        let narrow = wanting(&[(BtfKind::STRUCT, "sock")]);
        assert!(wide.covers(&wide) && wide.covers(&narrow) && wide.covers(&Sieve::default()));
        assert!(!narrow.covers(&wide) && !wide.covers(&wanting(&[(BtfKind::STRUCT, "iphdr")])));
        assert!(!wide.covers(&wanting(&[(BtfKind::UNION, "sock")])));
    }
}
