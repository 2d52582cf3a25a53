//! How the user names an interface: by a name or by its index.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result, quote};
use crate::uapi::if_link::{ALTIFNAMSIZ, IFNAMSIZ};

/// The name of an interface, known to be one that the kernel could have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Checks `name` by the rules of `dev_valid_name` in `net/core/dev.c`: not `.` or `..`, and without `/`, `:` and
    /// white space. It has 1 to 15 bytes, or as an alternative name up to 127.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let complaint = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.len() >= ALTIFNAMSIZ {
            format!("it has {} bytes, and the kernel takes at most {}", name.len(), ALTIFNAMSIZ - 1)
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

    /// Whether only an alternative name has so many bytes.
    pub fn is_alternative(&self) -> bool {
        self.0.len() >= IFNAMSIZ
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
pub enum InterfaceRef {
    /// The one with this name; an alternative name will do as well (5.5).
    Name(InterfaceName),
    /// The one with this number, as in the first column of `ip link`.
    Index(NonZeroU32),
    /// Digits, which are both: the interface called so, or else the one with that number. Two of them are an error.
    Digits(InterfaceName, NonZeroU32),
}

impl InterfaceRef {
    /// The interface called `name`, even if the name is made of digits.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        InterfaceName::new(name).map(Self::Name)
    }

    /// What the kernel is asked for, one after the other; only for digits there is a second.
    pub(crate) fn questions(&self) -> (Self, Option<Self>) {
        match self {
            Self::Digits(name, index) => (Self::Name(name.clone()), Some(Self::Index(*index))),
            one => (one.clone(), None),
        }
    }
}

impl FromStr for InterfaceRef {
    type Err = Error;

    /// Digits are a name or an index; `name:7` and `index:7` say which. Anything else is a name.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("name:") {
            return Self::named(name);
        }
        let index = |text: &str| text.parse().ok().filter(|index: &NonZeroU32| index.get() <= MAX_INDEX);
        if let Some(text) = text.strip_prefix("index:") {
            return index(text).map(Self::Index).ok_or_else(|| {
                let message =
                    format!("{} cannot be the index of an interface: expected 1 to {MAX_INDEX}", quote(text));
                Error::new(ErrorKind::InvalidInput, message)
            });
        }
        let name = InterfaceName::new(text)?;
        match index(text).filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(index) => Ok(Self::Digits(name, index)),
            None => Ok(Self::Name(name)),
        }
    }
}

/// In the words of an error: ``named `eth0` ``, `with index 3`, or both.
impl Display for InterfaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "named {}", quote(name.as_str())),
            Self::Index(index) => write!(f, "with index {index}"),
            Self::Digits(name, index) => write!(f, "named {} or with index {index}", quote(name.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_name_or_an_index() {
        let index = InterfaceRef::Index(NonZeroU32::new(7).unwrap());
        let digits: InterfaceRef = "7".parse().unwrap();
        assert_eq!(digits.questions(), (InterfaceRef::named("7").unwrap(), Some(index.clone())));
        assert_eq!(digits.to_string(), "named `7` or with index 7");
        assert_eq!("index:7".parse::<InterfaceRef>().unwrap(), index);
        for (text, words) in [("eth0", "named `eth0`"), ("name:7", "named `7`"), ("+7", "named `+7`")] {
            assert_eq!(text.parse::<InterfaceRef>().unwrap().to_string(), words);
        }
        for index in ["0", "2147483648", "4294967296", "", "x"] {
            let error = format!("index:{index}").parse::<InterfaceRef>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().ends_with("expected 1 to 2147483647"), "{error}");
            // There may be an interface of that name.
            assert!(index.is_empty() || matches!(index.parse(), Ok(InterfaceRef::Name(_))));
        }
    }

    #[test]
    fn a_name_that_the_kernel_cannot_have_is_refused_with_the_reason() {
        let text = |name: &str| InterfaceName::new(name).unwrap_err().to_string();
        assert_eq!(text(""), "`` cannot name an interface: it is empty");
        assert_eq!(
            text(&"x".repeat(128)),
            format!(
                "`{}` cannot name an interface: it has 128 bytes, and the kernel takes at most 127",
                "x".repeat(128)
            )
        );
        assert_eq!(text(".."), "`..` cannot name an interface: the kernel reserves it");
        assert_eq!(text("a/b"), "`a/b` cannot name an interface: it contains '/'");
        assert_eq!(text("a\u{1b} b"), "`a\\u{1b} b` cannot name an interface: it contains ' '");
        assert!(!InterfaceName::new("fifteen-bytes-x").unwrap().is_alternative());
        assert!(InterfaceName::new("sixteen-bytes-xx").unwrap().is_alternative());
    }
}
