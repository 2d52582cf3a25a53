//! CO-RE, "compile once, run everywhere": instructions that depend on the kernel's types are adapted to them.
//!
//! A compiler writes the numbers of the types that it knows into the instructions, the place of a field for instance,
//! and for each such instruction a record: which type, which part of it, which number. The loader looks up the same
//! part in the types of the kernel that will run the program, and puts that kernel's number there:
//!
//! ```text
//! record        struct sk_buff, access string 0:3, byte offset
//! spec          the part in words: struct sk_buff.len, at byte 0x70 as the program knows it
//! candidates    types of the kernel that are called sk_buff, perhaps with a flavour: sk_buff___old
//! compat        the same part there, if there is one: at byte 0x78
//! patch         r1 = *(u32 *)(r2 + 112) becomes r1 = *(u32 *)(r2 + 120)
//! ```
//!
//! What is not found is no error: programs ask whether a field exists and go another way if not. The instruction
//! becomes a call of a helper that does not exist, and the verifier refuses the program if it can be reached.
//!
//! Which numbers there are: `include/uapi/linux/bpf.h` in Linux 6.18. How they are computed is fixed by what libbpf
//! does (`relo_core.c`), since objects are tested with that.

mod candidates;
mod compat;
mod matches;
mod number;
mod patch;
mod spec;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use self::candidates::{Candidate, Candidates, kind_and_name, want};
pub use self::compat::essential;
use self::compat::{Budget, MAX_LEVEL, Pair};
use self::number::{Number, Reading};
pub use self::patch::BAD_RELOCATION;
use self::patch::{Change, Resize};
use self::spec::Part;
use crate::btf::{Btf, CoreRelocation, KernelTypes, LazyBtf, Name, Sieve, TypeId};
use crate::bytes::ByteOrder;
use crate::error::{Error, ErrorKind, Remedy, Result, escape};
use crate::insn::Insn;
use crate::order::InOrder as _;
use crate::uapi::bpf::BPF_INSN_SIZE;
use crate::uapi::btf::CoreReloKind;

/// What a relocation has come to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Index of the instruction.
    pub insn: usize,
    /// Which number was asked for.
    pub kind: CoreReloKind,
    /// Of what, in words: `struct sk_buff.len`.
    pub subject: String,
    /// The number as the program's own types have it.
    pub before: u64,
    /// The number as the kernel's types have it; none where they do not have the subject, or hold it in a way that
    /// the instruction cannot read, and the instruction must not be reached.
    pub after: Option<u64>,
    /// How they hold it in the latter case.
    pub unfit: Option<Unfit>,
}

/// How the kernel holds a field that the instruction cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// In another number of bytes, and not as a pointer or an unsigned number, which alone are the same in more bytes.
    Size {
        /// The program's number of bytes.
        here: u32,
        /// The kernel's.
        there: u32,
    },
    /// As another kind of thing: as a pointer where the program has a number, for instance.
    Kind,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { here, there } => write!(f, "{there} bytes and not {here}"),
            Self::Kind => f.write_str("of another kind"),
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ", escape(&self.subject), noun(self.kind))?;
        let number = |number: u64| Shown { kind: self.kind, number };
        match (self.after, self.unfit) {
            _ if self.kind == CoreReloKind::TYPE_ID_LOCAL => write!(f, "{}", number(self.before)),
            (Some(after), _) => write!(f, "{} -> {}", number(self.before), number(after)),
            (None, Some(unfit)) => write!(f, "{} -> {unfit}, must not be reached", number(self.before)),
            (None, None) => write!(f, "{} -> not found, must not be reached", number(self.before)),
        }
    }
}

/// A number as people write it: offsets in hexadecimal, truth values in words, values of enumerations with their sign.
struct Shown {
    kind: CoreReloKind,
    number: u64,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CoreReloKind::FIELD_BYTE_OFFSET => write!(f, "{:#x}", self.number),
            CoreReloKind::ENUMVAL_VALUE => write!(f, "{}", i64::from_ne_bytes(self.number.to_ne_bytes())),
            CoreReloKind::FIELD_EXISTS
            | CoreReloKind::FIELD_SIGNED
            | CoreReloKind::TYPE_EXISTS
            | CoreReloKind::TYPE_MATCHES
            | CoreReloKind::ENUMVAL_EXISTS => f.write_str(if self.number == 0 { "no" } else { "yes" }),
            _ => write!(f, "{}", self.number),
        }
    }
}

/// What a relocation asks for, in words.
pub fn noun(kind: CoreReloKind) -> &'static str {
    match kind {
        CoreReloKind::FIELD_BYTE_OFFSET => "byte offset",
        CoreReloKind::FIELD_BYTE_SIZE | CoreReloKind::TYPE_SIZE => "size",
        CoreReloKind::FIELD_EXISTS | CoreReloKind::TYPE_EXISTS | CoreReloKind::ENUMVAL_EXISTS => "exists",
        CoreReloKind::FIELD_SIGNED => "signed",
        CoreReloKind::FIELD_LSHIFT_U64 => "left shift",
        CoreReloKind::FIELD_RSHIFT_U64 => "right shift",
        CoreReloKind::TYPE_ID_LOCAL => "own type id",
        CoreReloKind::TYPE_ID_TARGET => "kernel's type id",
        CoreReloKind::TYPE_MATCHES => "matches",
        CoreReloKind::ENUMVAL_VALUE => "value",
        _ => "unknown",
    }
}

/// What a relocation is about, in words: `struct sk_buff.len`.
pub fn subject(btf: &Btf, relocation: &CoreRelocation) -> Result<String> {
    let part = Part::read(btf, relocation)?;
    Ok(spec::words(btf, relocation.ty, &part))
}

/// Whether the kernel's types must be known to carry out a relocation of this kind.
pub fn needs_kernel(kind: CoreReloKind) -> bool {
    kind != CoreReloKind::TYPE_ID_LOCAL
}

/// Whether a type of the kernel can stand for one of the program's, whose names are known to agree: for a function
/// that its signatures have the same shape.
pub fn are_compatible(local: &Btf, ty: TypeId, target: &LazyBtf, found: TypeId) -> Result<bool> {
    Pair { local, target, budget: &Budget::new(), any_kind: false }.types_fit(ty, found, MAX_LEVEL)
}

/// What it takes to look at a candidate, in types and members that could be looked at meanwhile.
const CANDIDATE: usize = 32;

/// Carries out the relocations of one object.
#[derive(Debug)]
pub struct Relocator<'o, 't> {
    local: &'o Btf,
    order: ByteOrder,
    kernel: Option<&'t KernelTypes>,
    /// The types of the program's that some relocation is about.
    roots: Vec<TypeId>,
    candidates: OnceCell<Candidates<'o, 't>>,
    /// What has been found: programs read the same fields again and again.
    answers: RefCell<BTreeMap<Question, Option<Found<'t>>>>,
    budget: Budget,
}

/// A type of the program's, the access string, and which number is asked for.
type Question = (TypeId, Name, CoreReloKind);

impl<'o, 't> Relocator<'o, 't> {
    /// Prepares for `relocations`, or some of them, which speak in the types of `local`.
    ///
    /// The types of the kernel are walked through once, and only if a relocation that is carried out asks for them.
    pub fn new<'r>(
        local: &'o Btf,
        order: ByteOrder,
        relocations: impl Iterator<Item = &'r CoreRelocation>,
        kernel: Option<&'t KernelTypes>,
    ) -> Self {
        let needing = relocations.filter(|relocation| needs_kernel(relocation.kind));
        let roots = needing.map(|relocation| relocation.ty).into_set();
        Self {
            local,
            order,
            kernel,
            roots,
            candidates: OnceCell::new(),
            answers: RefCell::default(),
            budget: Budget::new(),
        }
    }

    /// What to look for among the kernel's types. A type that cannot be read is refused by the relocation about it.
    pub fn sieve(&self) -> Sieve {
        let mut sieve = Sieve::default();
        for &root in &self.roots {
            if let Ok((kind, name)) = kind_and_name(self.local, root) {
                want(&mut sieve, kind, name);
            }
        }
        sieve
    }

    /// Whether a type that `relocations` are about is in none of the kernel's own types, so that it could be in a
    /// module's.
    pub fn wants_modules(&self, relocations: &[CoreRelocation]) -> Result<bool> {
        let mut needing = relocations.iter().filter(|relocation| needs_kernel(relocation.kind));
        if self.kernel.is_none() || needing.clone().next().is_none() {
            return Ok(false);
        }
        let candidates = self.candidates()?;
        Ok(needing.any(|relocation| candidates.of(relocation.ty).is_empty()))
    }

    /// Carries out `relocations` on the function whose instructions are `insns`.
    ///
    /// An error names the relocation; the place of the instruction is to be added with [`Failure::insn`].
    pub fn relocate(
        &self,
        insns: &mut [Insn],
        relocations: &[CoreRelocation],
    ) -> Result<Vec<Resolution>, Failure> {
        let mut resolved = Vec::with_capacity(relocations.len());
        for relocation in relocations {
            let insn = relocation.offset as usize / BPF_INSN_SIZE;
            resolved.push(self.resolve(insns, insn, relocation).map_err(|error| Failure { insn, error })?);
        }
        Ok(resolved)
    }

    fn resolve(&self, insns: &mut [Insn], insn: usize, relocation: &CoreRelocation) -> Result<Resolution> {
        let kind = relocation.kind;
        let part = Part::read(self.local, relocation)?;
        let subject = spec::words(self.local, relocation.ty, &part);
        let slots = insns.get_mut(insn..).unwrap_or_default();
        let (before, after) = self.apply(slots, relocation, &part).map_err(|error| {
            error.context(format!("CO-RE relocation, {} of {}", noun(kind), escape(&subject)))
        })?;
        Ok(Resolution { insn, kind, subject, before, after: after.ok(), unfit: after.err().flatten() })
    }

    /// Patches the instruction that `slots` begins with; the number before and after, or why there is none.
    fn apply(
        &self,
        slots: &mut [Insn],
        relocation: &CoreRelocation,
        part: &Part<'o>,
    ) -> Result<(u64, Result<u64, Option<Unfit>>)> {
        let kind = relocation.kind;
        let before = Number::of(kind, self.local, self.order, relocation.ty, Some(part))?;
        let before =
            before.ok_or_else(|| Error::new(ErrorKind::Malformed, "expected another access string"))?;
        let found = match kind {
            CoreReloKind::TYPE_ID_LOCAL => Some(Found { number: before, part: part.clone() }),
            _ => self.find(relocation, part)?,
        };
        let (number, target) = match found {
            Some(found) => (Some(found.number), Some(found.part)),
            None => (Number::of(kind, self.local, self.order, relocation.ty, None)?, None),
        };
        let Some(number) = number else {
            patch::poison(slots);
            let unfit = self.has_another_kind(relocation, part)?.then_some(Unfit::Kind);
            return Ok((before.value, Err(unfit)));
        };
        let mut change = Change {
            before: before.exact.then_some(before.value),
            after: number.value,
            resize: resize(before, number),
        };
        if let (Part::Value { signed, narrow: true, .. }, Some(target)) = (part, &target) {
            extend(&mut change, slots, *signed, target);
        }
        if patch::patch(slots, &change)? {
            return Ok((before.value, Ok(change.after)));
        }
        patch::poison(slots);
        let sizes = before.field.zip(number.field);
        Ok((before.value, Err(sizes.map(|((here, _), (there, _))| Unfit::Size { here, there }))))
    }

    fn candidates(&self) -> Result<&Candidates<'o, 't>> {
        let kernel = match self.kernel {
            Some(kernel) if kernel.vmlinux.is_some() => kernel,
            other => return Err(no_types(other.is_some())),
        };
        if let Some(candidates) = self.candidates.get() {
            return Ok(candidates);
        }
        let found = Candidates::search(self.local, self.order, &self.roots, kernel)?;
        Ok(self.candidates.get_or_init(|| found))
    }

    /// The number by the kernel's types, on which all of them agree that have the part.
    fn find(&self, relocation: &CoreRelocation, part: &Part<'o>) -> Result<Option<Found<'t>>> {
        let question = (relocation.ty, relocation.access, relocation.kind);
        if let Some(answer) = self.answers.borrow().get(&question) {
            return Ok(answer.clone());
        }
        let answer = self.search(relocation.kind, relocation.ty, part)?;
        self.answers.borrow_mut().insert(question, answer.clone());
        Ok(answer)
    }

    /// Whether the kernel has a field that was not found, but of a kind that the program cannot mean.
    #[cold]
    fn has_another_kind(&self, relocation: &CoreRelocation, part: &Part<'o>) -> Result<bool> {
        if !matches!(part, Part::Field(_)) {
            return Ok(false);
        }
        for &candidate in self.candidates()?.of(relocation.ty) {
            self.budget.spend(CANDIDATE)?;
            let pair = self.pair(candidate, true);
            if pair.find(relocation.kind, relocation.ty, part, candidate.id)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn pair(&self, candidate: Candidate<'t>, any_kind: bool) -> Pair<'o, 't, '_> {
        Pair { local: self.local, target: candidate.btf, budget: &self.budget, any_kind }
    }

    fn search(&self, kind: CoreReloKind, ty: TypeId, part: &Part<'o>) -> Result<Option<Found<'t>>> {
        let candidates = self.candidates()?;
        candidates.check_name(self.local, ty)?;
        let mut first: Option<(Found<'t>, Candidate<'t>)> = None;
        for &candidate in candidates.of(ty) {
            self.budget.spend(CANDIDATE)?;
            let pair = self.pair(candidate, false);
            let Some(found) = pair.find(kind, ty, part, candidate.id)? else { continue };
            let number = Number::of(kind, candidate.btf, self.order, candidate.id, Some(&found))?;
            let Some(number) = number else { continue };
            let found = Found { number, part: found };
            match &first {
                None => first = Some((found, candidate)),
                Some((other, _)) if found.agrees(other) => {}
                Some((other, chosen)) => return Err(ambiguous(kind, (other, *chosen), (&found, candidate))),
            }
        }
        Ok(first.map(|(found, _)| found))
    }
}

/// A relocation that cannot be carried out.
#[non_exhaustive]
#[derive(Debug)]
pub struct Failure {
    /// Index of the instruction.
    pub insn: usize,
    /// What is wrong.
    pub error: Error,
}

/// The part in the kernel's types, and its number.
#[derive(Clone, Debug)]
struct Found<'t> {
    number: Number,
    part: Part<'t>,
}

impl Found<'_> {
    fn agrees(&self, other: &Self) -> bool {
        let place = |part: &Part<'_>| match part {
            Part::Field(path) => path.bit_offset,
            _ => 0,
        };
        self.number.value == other.number.value && place(&self.part) == place(&other.part)
    }
}

/// What is to be done about a field that has another size in the kernel.
fn resize(before: Number, after: Number) -> Option<Resize> {
    let ((from, one), (to, other)) = before.field.zip(after.field)?;
    if from == to {
        return None;
    }
    // The upper half of a pointer or of an unsigned number is 0 where it is loaded from fewer bytes.
    let fits = one == other && one != Reading::Other;
    Some(if fits { Resize::FromTo(from, to) } else { Resize::Impossible })
}

/// A value of 32 bits goes into an instruction with 64: with copies of its sign where it can be negative. Compilers
/// and kernels before 6.0 do not say which can, but how the compiler has written it tells.
fn extend(change: &mut Change, slots: &[Insn], local_signed: bool, target: &Part<'_>) {
    let Part::Value { signed: target_signed, narrow, .. } = *target else { return };
    let sign_extended = |value: u64| {
        let sign = value >> 31 & 1;
        value & u64::from(u32::MAX) | (0_u64.wrapping_sub(sign) << 32)
    };
    let found = patch::number(slots);
    let written_signed = found == change.before.map(sign_extended) && found != change.before;
    if written_signed {
        change.before = found;
    }
    if narrow && (written_signed || local_signed || target_signed) {
        change.after = sign_extended(change.after);
    }
}

#[cold]
fn no_types(asked: bool) -> Error {
    let message = if asked {
        "the kernel shows no BTF: it was built without CONFIG_DEBUG_INFO_BTF, or /sys is not mounted"
    } else {
        "expected the BTF of the kernel that will run the program, found none"
    };
    Error::new(ErrorKind::InvalidInput, message).with_help(("give its BTF: ", Remedy::GiveTypes))
}

#[cold]
fn ambiguous(
    kind: CoreReloKind,
    (one, first): (&Found<'_>, Candidate<'_>),
    (other, second): (&Found<'_>, Candidate<'_>),
) -> Error {
    let number = |found: &Found<'_>| Shown { kind, number: found.number.value }.to_string();
    let message =
        format!("expected one answer, found {} by {first} and {} by {second}", number(one), number(other));
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests;
