//! How the user names an interface: by its name or by its index.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result, quote};
use crate::uapi::if_link::IFNAMSIZ;

/// The name of an interface, known to be one that the kernel could have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// Checks `name` by the rules of `dev_valid_name` in `net/core/dev.c`: 1 to 15 bytes, not `.` or `..`, and
    /// without `/`, `:` and white space.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let complaint = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.len() >= IFNAMSIZ {
            format!("it has {} bytes, and the kernel takes at most {}", name.len(), IFNAMSIZ - 1)
        } else if name == "." || name == ".." {
            "the kernel reserves it".to_owned()
        } else if let Some(c) = name.chars().find(|&c| is_forbidden(c)) {
            format!("it contains {c:?}")
        } else {
            return Ok(Self(name));
        };
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{} cannot name an interface: {complaint}", quote(&name)),
        ))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The kernel compares bytes: only white space of ASCII (`isspace`, vertical tab included) and NUL matter to it.
fn is_forbidden(c: char) -> bool {
    matches!(c, '/' | ':' | '\0' | '\x0b') || c.is_ascii_whitespace()
}

/// The kernel keeps the index in an `int` (`include/linux/netdevice.h`), and refuses a negative one with EINVAL.
const MAX_INDEX: u32 = i32::MAX as u32;

/// Which interface is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkRef {
    /// The one with this name; an alternative name of at most 15 bytes will do as well (5.5).
    Name(LinkName),
    /// The one with this number, as in the first column of `ip link`.
    Index(NonZeroU32),
}

impl LinkRef {
    /// The interface called `name`, even if the name is made of digits.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        LinkName::new(name).map(Self::Name)
    }
}

impl FromStr for LinkRef {
    type Err = Error;

    /// Digits are an index, anything else is a name.
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::named(text);
        }
        let index = text.parse().ok().filter(|index: &NonZeroU32| index.get() <= MAX_INDEX);
        index.map(Self::Index).ok_or_else(|| {
            let message = format!("{text} cannot be the index of an interface: expected 1 to {MAX_INDEX}");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

/// In the words of an error: ``named `eth0` `` or `with index 3`.
impl Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "named {}", quote(name.as_str())),
            Self::Index(index) => write!(f, "with index {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_index_and_the_rest_is_a_name() {
        assert_eq!("7".parse::<LinkRef>().unwrap(), LinkRef::Index(NonZeroU32::new(7).unwrap()));
        assert_eq!("eth0".parse::<LinkRef>().unwrap().to_string(), "named `eth0`");
        assert_eq!(LinkRef::named("7").unwrap().to_string(), "named `7`");
        for index in ["0", "2147483648", "4294967296"] {
            let error = index.parse::<LinkRef>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().ends_with("expected 1 to 2147483647"), "{error}");
        }
    }

    #[test]
    fn a_name_that_the_kernel_cannot_have_is_refused_with_the_reason() {
        let text = |name: &str| LinkName::new(name).unwrap_err().to_string();
        assert_eq!(text(""), "`` cannot name an interface: it is empty");
        assert_eq!(
            text("sixteen-bytes-xx"),
            "`sixteen-bytes-xx` cannot name an interface: it has 16 bytes, and the kernel takes at most 15"
        );
        assert_eq!(text(".."), "`..` cannot name an interface: the kernel reserves it");
        assert_eq!(text("a/b"), "`a/b` cannot name an interface: it contains '/'");
        assert_eq!(text("a\u{1b} b"), "`a\\u{1b} b` cannot name an interface: it contains ' '");
        assert!(LinkName::new("fifteen-bytes-x").is_ok());
    }
}
