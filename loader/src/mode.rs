//! Where in the kernel an XDP program runs.

use std::fmt::{self, Display};

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// In the driver, before the kernel has made a socket buffer: the fast one, which a driver must support.
    Native,
    /// In the network stack, on a socket buffer: any interface, much slower.
    Generic,
    /// On the network card.
    Offload,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Offload];

    /// The name that people and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
