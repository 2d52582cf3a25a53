//! Which mode is asked for, and the flags that ask for it.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result, quote};
use crate::mode::Mode;
use crate::uapi::if_link::{
    XDP_FLAGS, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE,
    XDP_FLAGS_UPDATE_IF_NOEXIST,
};

impl Mode {
    /// The bit of `IFLA_XDP_FLAGS` that asks for this mode.
    pub fn flag(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
            Self::Offload => XDP_FLAGS_HW_MODE,
        }
    }
}

/// What the user asked for: one mode, or the best that the interface takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeChoice {
    /// This mode and no other.
    Only(Mode),
    /// Native, and generic where the driver refuses native; see [`may_fall_back`](super::may_fall_back).
    Auto,
}

impl ModeChoice {
    /// The mode that is tried first.
    pub fn first(self) -> Mode {
        match self {
            Self::Only(mode) => mode,
            Self::Auto => Mode::Native,
        }
    }

    /// The mode that is tried when the driver has refused the first.
    pub fn fallback(self) -> Option<Mode> {
        match self {
            Self::Only(_) => None,
            Self::Auto => Some(Mode::Generic),
        }
    }
}

/// Native: a program that runs slowly without a word would be worse than a refusal.
impl Default for ModeChoice {
    fn default() -> Self {
        Self::Only(Mode::Native)
    }
}

impl From<Mode> for ModeChoice {
    fn from(mode: Mode) -> Self {
        Self::Only(mode)
    }
}

impl FromStr for ModeChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Mode::ALL.into_iter().find(|mode| mode.name() == text).map(Self::Only).ok_or_else(|| {
            let message = format!("unknown mode {}: expected native, generic, offload or auto", quote(text));
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

impl Display for ModeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(mode) => mode.fmt(f),
            Self::Auto => f.pad("auto"),
        }
    }
}

/// The value of `IFLA_XDP_FLAGS`.
///
/// There is no way to make one that has both `UPDATE_IF_NOEXIST` and `REPLACE` (the kernel refuses it with EBUSY
/// whenever a program is there), or neither (which would displace a program unseen), or not exactly one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFlags(u32);

impl XdpFlags {
    /// Attach in `mode` only if no program is there.
    pub fn attach(mode: Mode) -> Self {
        Self(XDP_FLAGS_UPDATE_IF_NOEXIST | mode.flag())
    }

    /// Replace or detach in `mode` only the program that `IFLA_XDP_EXPECTED_FD` names (5.7).
    pub fn compare(mode: Mode) -> Self {
        Self(XDP_FLAGS_REPLACE | mode.flag())
    }

    /// The name of the flag that asks for `mode`, the only one that a `bpf_link` takes.
    pub fn mode_alone(mode: Mode) -> &'static str {
        XDP_FLAGS.iter().find(|(bit, _)| *bit == mode.flag()).map_or("0", |&(_, name)| name)
    }

    /// The name of the other flag, which says what may be displaced.
    pub fn without_mode(self) -> &'static str {
        let is_mode = |bit: u32| Mode::ALL.iter().any(|mode| mode.flag() == bit);
        let mut names = XDP_FLAGS.iter().filter(|(bit, _)| self.0 & bit != 0 && !is_mode(*bit));
        names.next().map_or("0", |&(_, name)| name)
    }

    /// The number that the kernel gets.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// The kernel's names, joined by `|`.
impl Display for XdpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = XDP_FLAGS.iter().filter(|(bit, _)| self.0 & bit != 0).map(|&(_, name)| name);
        f.pad(&names.collect::<Vec<_>>().join("|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi::if_link::XdpAttached;

    #[test]
    fn a_choice_reads_back_as_it_prints() {
        for choice in Mode::ALL.map(ModeChoice::from).into_iter().chain([ModeChoice::Auto]) {
            assert_eq!(choice.to_string().parse::<ModeChoice>().unwrap(), choice);
        }
        assert_eq!(
            "skb".parse::<ModeChoice>().unwrap_err().to_string(),
            "unknown mode `skb`: expected native, generic, offload or auto"
        );
    }

    #[test]
    fn modes_have_the_names_that_the_kernel_numbers_have() {
        let numbers = [XdpAttached::DRV, XdpAttached::SKB, XdpAttached::HW];
        assert_eq!(Mode::ALL.map(|mode| XdpAttached::from_name(mode.name())), numbers.map(Some));
    }

    #[test]
    fn flags_never_ask_for_a_blind_replace() {
        for mode in Mode::ALL {
            assert_eq!(XdpFlags::attach(mode).bits() & !mode.flag(), XDP_FLAGS_UPDATE_IF_NOEXIST);
            assert_eq!(XdpFlags::compare(mode).bits() & !mode.flag(), XDP_FLAGS_REPLACE);
        }
        assert_eq!(
            XdpFlags::attach(Mode::Native).to_string(),
            "XDP_FLAGS_UPDATE_IF_NOEXIST|XDP_FLAGS_DRV_MODE"
        );
        assert_eq!(XdpFlags::compare(Mode::Generic).without_mode(), "XDP_FLAGS_REPLACE");
    }
}
