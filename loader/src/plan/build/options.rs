//! Options of the kernel's configuration: what they are set to, in the bytes that programs read.

use super::Loader;
use crate::btf::Shape;
use crate::error::{Error, ErrorKind, Result, quote};
use crate::features::Kernel;
use crate::kconfig::{Letter, Setting};
use crate::object::{ExternSpec, OptionKind, OptionSpec};
use crate::uapi::btf::BtfKind;

/// The kernel's version as `LINUX_VERSION_CODE` puts it.
pub(super) const KERNEL_VERSION: &str = "LINUX_KERNEL_VERSION";
/// Whether programs can ask for the cookie that they were attached with (5.15).
pub(super) const HAS_BPF_COOKIE: &str = "LINUX_HAS_BPF_COOKIE";
/// The enumeration of the kernel's helpers, which shows whether it has the one that gives the cookie.
pub(super) const HELPERS: &str = "bpf_func_id";
/// The helper's number among `enum bpf_func_id`.
const GET_ATTACH_COOKIE: &str = "BPF_FUNC_get_attach_cookie";
/// Whether system calls are behind functions that take their arguments from saved registers (4.17).
pub(super) const HAS_SYSCALL_WRAPPER: &str = "LINUX_HAS_SYSCALL_WRAPPER";

/// Whether this is an option of the configuration, and not one of those that libbpf has invented.
pub(super) fn is_of_config(name: &str) -> bool {
    name.starts_with("CONFIG_")
}

impl Loader<'_> {
    /// What the option is set to; `None` for one that the kernel does not have.
    pub(super) fn setting(&self, name: &str, kernel: &Kernel) -> Result<Option<Setting<'_>>> {
        match name {
            _ if is_of_config(name) => match &self.kconfig {
                Some(kconfig) => kconfig.get(name),
                None => Err(unknown("the kernel's configuration", name)),
            },
            KERNEL_VERSION => match kernel.version_code {
                Some(code) => Ok(Some(Setting::Number(code.into()))),
                None => Err(unknown("the kernel's version", name)),
            },
            HAS_BPF_COOKIE => self.has_bpf_cookie().map(|yes| Some(number(yes))),
            HAS_SYSCALL_WRAPPER => match &self.kernel_symbols {
                Some(symbols) => {
                    Ok(Some(number(syscall_wrapper().is_some_and(|symbol| symbols.has(symbol)))))
                }
                None => Err(unknown("the kernel's symbols", name)),
            },
            _ => Ok(None),
        }
    }

    /// The refusal of an option that the kernel does not have.
    #[cold]
    pub(super) fn no_such_option(&self, name: &str) -> Error {
        let option = quote(name);
        let message = match &self.kconfig {
            Some(kconfig) if is_of_config(name) => {
                format!("option {option} is not set in {}", quote(kconfig.origin()))
            }
            _ => format!(
                "there is no option {option}: expected one of the kernel's configuration (CONFIG_...)"
            ),
        };
        Error::new(ErrorKind::Unsupported, message)
            .with_help("an option that is declared `__weak` is 0 where the kernel does not have it")
    }

    /// Whether the kernel has the helper that gives a program the cookie that it was attached with.
    fn has_bpf_cookie(&self) -> Result<bool> {
        let types = self.kernel_types.as_ref().and_then(|types| types.vmlinux.as_ref());
        let Some(btf) = types else {
            return Err(unknown("the kernel's BTF", HAS_BPF_COOKIE));
        };
        for id in btf.find(BtfKind::ENUM, HELPERS) {
            if let Shape::Enum(helpers) = btf.get(id)?.shape {
                return Ok(helpers.values.iter().any(|value| btf.is_text(value.name, GET_ATTACH_COOKIE)));
            }
        }
        Ok(false)
    }
}

/// Something that a plan cannot be made without.
#[cold]
pub(super) fn unknown(what: &str, name: &str) -> Error {
    let message = format!("{} needs {what}, of which nothing is known here", quote(name));
    Error::new(ErrorKind::InvalidInput, message).with_help("`Loader::ask_kernel` asks the running one")
}

fn number(yes: bool) -> Setting<'static> {
    Setting::Number(yes.into())
}

/// The symbol of bpf(2) behind its wrapper; `None` where no kernel has wrappers.
pub(super) fn syscall_wrapper() -> Option<&'static str> {
    if cfg!(target_arch = "x86_64") {
        Some("__x64_sys_bpf")
    } else if cfg!(target_arch = "aarch64") {
        Some("__arm64_sys_bpf")
    } else if cfg!(target_arch = "s390x") {
        Some("__s390x_sys_bpf")
    } else if cfg!(target_arch = "riscv64") {
        Some("__riscv_sys_bpf")
    } else {
        None
    }
}

/// The bytes that a program reads where the option is set so.
pub(super) fn bytes(external: &ExternSpec, option: OptionSpec, setting: Setting<'_>) -> Result<Vec<u8>> {
    let size = option.size as usize;
    let number = |number: u64| {
        let bytes = number.to_ne_bytes();
        let low = if cfg!(target_endian = "big") { &bytes[bytes.len() - size..] } else { &bytes[..size] };
        low.to_vec()
    };
    let refusal = |expected: &str| {
        let message = format!("option {}: expected {expected}, found {setting}", quote(&external.name));
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    match (option.kind, setting) {
        (OptionKind::Bool, Setting::Letter(letter)) if letter != Letter::Module => {
            Ok(vec![u8::from(letter == Letter::Yes)])
        }
        // The kernel's configuration has no numbers for truth values, but libbpf's own options do.
        (OptionKind::Bool, Setting::Number(value @ 0..=1)) if !is_of_config(&external.name) => {
            Ok(number(value))
        }
        (OptionKind::Bool, _) => refusal("y or n for a bool"),
        (OptionKind::Tristate, Setting::Letter(letter)) => Ok(number(match letter {
            Letter::No => 0,
            Letter::Yes => 1,
            Letter::Module => 2,
        })),
        (OptionKind::Tristate, _) => refusal("y, m or n for an enum libbpf_tristate"),
        (OptionKind::Char { .. }, Setting::Letter(letter)) => Ok(number(u64::from(letter.char()))),
        (OptionKind::Char { signed } | OptionKind::Int { signed }, Setting::Number(value)) => {
            if fits(value, size, signed) {
                return Ok(number(value));
            }
            let sign = if signed { "a signed" } else { "an unsigned" };
            let bytes = if size == 1 { "1 byte".to_owned() } else { format!("{size} bytes") };
            refusal(&format!("{sign} number of {bytes}"))
        }
        (OptionKind::Char { .. }, Setting::Text(_)) => refusal("y, m, n or a number for a char"),
        (OptionKind::Int { .. }, _) => refusal("a number"),
        (OptionKind::Text, Setting::Text(text)) => {
            // What is too long is cut, as libbpf does: the last byte is always NUL.
            let mut bytes = text[..text.len().min(size - 1)].to_vec();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        (OptionKind::Text, _) => refusal("a text in quotes for an array of char"),
    }
}

/// Whether a number, which is as the configuration has it, fits into `size` bytes.
fn fits(value: u64, size: usize, signed: bool) -> bool {
    let bits = u32::try_from(size * 8).unwrap_or(u64::BITS);
    match 1_u64.checked_shl(bits) {
        None => true,
        Some(end) if signed => value.wrapping_add(end / 2) < end,
        Some(end) => value < end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ExternKind;

    /// A negative number as a configuration's is read.
    fn negative(number: u64) -> u64 {
        number.wrapping_neg()
    }

    fn ask(name: &str, kind: OptionKind, size: u32, setting: Setting<'_>) -> Result<Vec<u8>, String> {
        let option = OptionSpec { kind, size, offset: 0 };
        let spec = ExternSpec { name: name.to_owned(), weak: false, kind: ExternKind::Option(option) };
        bytes(&spec, option, setting).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_become_what_their_types_ask_for() {
        const SIGNED: bool = true;
        let [yes, module, no] = [Letter::Yes, Letter::Module, Letter::No].map(Setting::Letter);
        for (kind, size, setting, expected) in [
            (OptionKind::Bool, 1, yes, vec![1]),
            (OptionKind::Bool, 1, no, vec![0]),
            (OptionKind::Tristate, 4, module, 2_u32.to_ne_bytes().to_vec()),
            (OptionKind::Tristate, 8, yes, 1_u64.to_ne_bytes().to_vec()),
            (OptionKind::Char { signed: SIGNED }, 1, module, vec![b'm']),
            (OptionKind::Char { signed: SIGNED }, 1, Setting::Number(u64::MAX), vec![0xff]),
            (OptionKind::Char { signed: !SIGNED }, 1, Setting::Number(200), vec![200]),
            (
                OptionKind::Int { signed: !SIGNED },
                2,
                Setting::Number(0xfffe),
                0xfffe_u16.to_ne_bytes().to_vec(),
            ),
            (
                OptionKind::Int { signed: SIGNED },
                4,
                Setting::Number(negative(5)),
                (-5_i32).to_ne_bytes().to_vec(),
            ),
            (OptionKind::Int { signed: !SIGNED }, 8, Setting::Number(u64::MAX), vec![0xff; 8]),
            (OptionKind::Text, 4, Setting::Text(b"ab"), b"ab\0\0".to_vec()),
            (OptionKind::Text, 4, Setting::Text(b"abcdef"), b"abc\0".to_vec()),
            (OptionKind::Text, 1, Setting::Text(b"a"), vec![0]),
        ] {
            assert_eq!(ask("CONFIG_A", kind, size, setting), Ok(expected), "{kind:?} {setting}");
        }
        assert_eq!(ask("LINUX_HAS_BPF_COOKIE", OptionKind::Bool, 1, Setting::Number(1)), Ok(vec![1]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (module, text) = (Setting::Letter(Letter::Module), Setting::Text(b"x"));
        let int = |signed| OptionKind::Int { signed };
        for (kind, size, setting, expected) in [
            (OptionKind::Bool, 1, module, "expected y or n for a bool, found m"),
            (OptionKind::Bool, 1, Setting::Number(1), "expected y or n for a bool, found 1"),
            (
                OptionKind::Tristate,
                4,
                Setting::Number(1),
                "expected y, m or n for an enum libbpf_tristate, found 1",
            ),
            (
                OptionKind::Char { signed: true },
                1,
                Setting::Number(128),
                "expected a signed number of 1 byte, found 128",
            ),
            (
                OptionKind::Char { signed: true },
                1,
                text,
                "expected y, m, n or a number for a char, found \"x\"",
            ),
            (int(false), 2, Setting::Number(0x10000), "expected an unsigned number of 2 bytes, found 65536"),
            (int(true), 4, Setting::Number(1 << 31), "expected a signed number of 4 bytes, found 2147483648"),
            (int(true), 4, module, "expected a number, found m"),
            (
                OptionKind::Text,
                4,
                Setting::Number(3),
                "expected a text in quotes for an array of char, found 3",
            ),
        ] {
            let expected = format!("option `CONFIG_A`: {expected}");
            assert_eq!(ask("CONFIG_A", kind, size, setting), Err(expected));
        }
    }

    #[test]
    fn the_limits_of_numbers_are_those_of_c() {
        for (value, size, signed, expected) in [
            (127, 1, true, true),
            (128, 1, true, false),
            (negative(128), 1, true, true),
            (negative(129), 1, true, false),
            (255, 1, false, true),
            (256, 1, false, false),
            (u64::MAX, 1, false, false),
            (u64::MAX, 8, false, true),
            (u64::MAX, 8, true, true),
        ] {
            assert_eq!(fits(value, size, signed), expected, "{value} in {size}");
        }
    }
}
