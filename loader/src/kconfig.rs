//! A kernel's configuration as `/proc/config.gz` and `/boot/config-*` have it: one option on each line.
//!
//! ```text
//! CONFIG_BPF_SYSCALL=y
//! CONFIG_HZ=250
//! CONFIG_DEFAULT_HOSTNAME="(none)"
//! # CONFIG_MODULES is not set
//! ```
//!
//! The values are as the kernel's `scripts/kconfig` writes them (Linux 6.18). A text is taken as it stands between
//! its quotes, with the backslashes that the kernel puts before quotes and backslashes, as libbpf does.

use std::fmt;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Result, escape, quote};
use crate::order::sort_by_key;

/// The configuration of one kernel. A value is looked at when its option is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kconfig {
    origin: String,
    text: Vec<u8>,
    /// Where the lines begin that set an option, in the order of the options' names.
    lines: Vec<usize>,
}

/// What an option is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<'t> {
    /// `y`, `m` or `n`.
    Letter(Letter),
    /// A number; a negative one as its two's complement.
    Number(u64),
    /// What stands between the quotes.
    Text(&'t [u8]),
}

/// Whether a part of the kernel is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// `n`
    No,
    /// `y`
    Yes,
    /// `m`: as a module.
    Module,
}

impl Letter {
    /// The letter itself.
    pub fn char(self) -> char {
        match self {
            Self::No => 'n',
            Self::Yes => 'y',
            Self::Module => 'm',
        }
    }
}

impl Kconfig {
    /// The configuration in `text`, which errors call `origin`: the path of its file.
    pub fn new(origin: impl Into<String>, text: Vec<u8>) -> Self {
        let mut lines = Vec::new();
        let mut offset = 0;
        for line in text.split(|&byte| byte == b'\n') {
            if !line.starts_with(b"#") && line.contains(&b'=') {
                lines.push(offset);
            }
            offset += line.len() + 1;
        }
        sort_by_key(&mut lines, |&line| name_at(&text, line));
        Self { origin: origin.into(), text, lines }
    }

    /// Where it is from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What the option `name` is set to, `CONFIG_HZ` for instance; the first line that sets it counts.
    pub fn get(&self, name: &str) -> Result<Option<Setting<'_>>> {
        let name = name.as_bytes();
        let first = self.lines.partition_point(|&line| name_at(&self.text, line) < name);
        let Some(&line) = self.lines.get(first).filter(|&&line| name_at(&self.text, line) == name) else {
            return Ok(None);
        };
        let offset = line + name.len() + 1;
        let value = self.text[offset..].split(|&byte| byte == b'\n').next().unwrap_or_default();
        self.setting(value.trim_ascii_end(), offset).map(Some)
    }

    fn setting<'t>(&self, value: &'t [u8], offset: usize) -> Result<Setting<'t>> {
        let setting = match value {
            b"y" => Some(Setting::Letter(Letter::Yes)),
            b"m" => Some(Setting::Letter(Letter::Module)),
            b"n" => Some(Setting::Letter(Letter::No)),
            [b'"', text @ .., b'"'] => Some(Setting::Text(text)),
            _ => number(value).map(Setting::Number),
        };
        setting.ok_or_else(|| {
            let origin = quote(&self.origin).to_string();
            let found = String::from_utf8_lossy(value);
            let message = format!("expected y, m, n, a number or a text in quotes, found {}", quote(&found));
            Bytes::new(&self.text, ByteOrder::NATIVE, &origin).error(offset, message)
        })
    }
}

/// The name of the option that the line at `line` sets.
fn name_at(text: &[u8], line: usize) -> &[u8] {
    text[line..].split(|&byte| byte == b'=').next().unwrap_or_default()
}

impl fmt::Display for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(letter) => letter.char().fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", escape(&String::from_utf8_lossy(text))),
        }
    }
}

/// A number as strtoull(3) takes it with base 0: decimal, hexadecimal after `0x`, octal after `0`, perhaps negative.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (digits, 10),
    };
    // The parser of the standard library would take a second sign.
    let plain = digits.starts_with(|c: char| c.is_digit(radix));
    let number = u64::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Kconfig {
        Kconfig::new("/proc/config.gz", text.as_bytes().to_vec())
    }

    #[test]
    fn each_sort_of_value_is_read() {
        let config = config(
            "# comment\nCONFIG_A=y\nCONFIG_B=m\r\nCONFIG_C=n\nCONFIG_D=250\nCONFIG_E=0xff\nCONFIG_F=-1\n\
             CONFIG_G=\"a \\\"b\\\"\"\nCONFIG_H=\"\"\nCONFIG_I=010\nCONFIG_J=0",
        );
        for (name, expected) in [
            ("CONFIG_A", Setting::Letter(Letter::Yes)),
            ("CONFIG_B", Setting::Letter(Letter::Module)),
            ("CONFIG_C", Setting::Letter(Letter::No)),
            ("CONFIG_D", Setting::Number(250)),
            ("CONFIG_E", Setting::Number(255)),
            ("CONFIG_F", Setting::Number(u64::MAX)),
            ("CONFIG_G", Setting::Text(b"a \\\"b\\\"")),
            ("CONFIG_H", Setting::Text(b"")),
            ("CONFIG_I", Setting::Number(8)),
            ("CONFIG_J", Setting::Number(0)),
        ] {
            assert_eq!(config.get(name).unwrap(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_name_is_the_whole_name_at_the_start_of_a_line() {
        let config = config("CONFIG_LONGER=y\n CONFIG_SPACE=y\n# CONFIG_OFF is not set\nXCONFIG_A=y\n");
        for name in ["CONFIG_LONG", "CONFIG_SPACE", "CONFIG_OFF", "CONFIG_A", "CONFIG_LONGER=y", ""] {
            assert_eq!(config.get(name).unwrap(), None, "{name}");
        }
    }

    #[test]
    fn the_first_line_counts() {
        assert_eq!(config("A=1\nA=2\n").get("A").unwrap(), Some(Setting::Number(1)));
    }

    #[test]
    fn options_are_found_in_any_order() {
        let number = |at: usize| at * 7919 % 1000;
        let lines: Vec<_> = (0..1000).map(|at| format!("A{0}={0}\n# B{0}=1\n", number(at))).collect();
        let config = config(&(lines.concat() + "A5=9\nA10B=C=D\nA\n=3"));
        for number in 0..1000_u16 {
            let expected = Some(Setting::Number(number.into()));
            assert_eq!(config.get(&format!("A{number}")).unwrap(), expected);
            assert_eq!(config.get(&format!("B{number}")).unwrap(), None);
        }
        assert_eq!(config.get("A1000").unwrap(), None);
        assert!(config.get("A10B").unwrap_err().to_string().contains("found `C=D`"));
        assert_eq!(config.get("").unwrap(), Some(Setting::Number(3)));
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_place() {
        for value in ["", "\"open", "\"", "yes", "+1", "--1", "0x", "1 2", "18446744073709551616", "08"] {
            let config = config(&format!("CONFIG_B=y\nCONFIG_A={value}\n"));
            assert_eq!(
                config.get("CONFIG_A").unwrap_err().to_string(),
                format!(
                    "`/proc/config.gz` at offset 0x14: \
                     expected y, m, n, a number or a text in quotes, found `{value}`"
                )
            );
            assert!(config.get("CONFIG_B").is_ok());
        }
    }

    #[test]
    fn settings_print_as_they_are_written() {
        let config = config("A=m\nB=-1\nC=\"x\ty\"\n");
        let show = |name| config.get(name).unwrap().unwrap().to_string();
        assert_eq!([show("A"), show("B"), show("C")], ["m", "18446744073709551615", "\"x\\ty\""]);
    }
}
