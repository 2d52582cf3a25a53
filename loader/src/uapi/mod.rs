//! The kernel's and the ELF specification's numbers, under their own names: constants and layouts, no logic.
//!
//! A number that the kernel may extend is a newtype over its integer and not a Rust `enum`: a newer kernel or a
//! newer compiler may use a value that this list does not have, and that value must survive the way through.

pub mod bpf;
pub mod btf;
pub mod capability;
pub mod elf;
pub mod ethtool;
pub mod genetlink;
pub mod if_link;
pub mod perf_event;
pub mod route;

/// Defines a newtype over an integer with named values.
///
/// `Display` prints the short name (`hash`), `Debug` prints the kernel's (`BPF_MAP_TYPE_HASH`),
/// and a value without a name prints as its number.
macro_rules! named_values {
    (
        $(#[$meta:meta])*
        pub struct $type:ident: $int:ty, $prefix:literal {
            $($(#[$value_meta:meta])* $name:ident = $value:literal $short:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $int);

        impl $type {
            $(
                #[doc = concat!("`", $prefix, stringify!($name), "`")]
                $(#[$value_meta])*
                pub const $name: Self = Self($value);
            )*

            /// The short lower-case name that bpftool(8) and ip(8) use, if the value is known.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($short),)*
                    _ => None,
                }
            }

            /// The name in the kernel's headers, if the value is known.
            pub fn kernel_name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(concat!($prefix, stringify!($name))),)*
                    _ => None,
                }
            }

            /// The value with this short or kernel name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($short | concat!($prefix, stringify!($name)) => Some(Self($value)),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.kernel_name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{}({})", stringify!($type), self.0),
                }
            }
        }
    };
}
pub(crate) use named_values;
