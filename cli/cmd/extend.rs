//! Extensions: programs that replace a function of another program.

use clap::Args;
use loader::plan::{Existing, Loader};

/// The program that extensions (sections `freplace/<function>`) extend.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Extended {
    /// Replace functions of this program by the extensions in sections freplace/FUNCTION, for as long as their
    /// bpf_links are pinned at DIR/links/NAME
    #[arg(long, value_name = "ID|PATH", requires = "pin")]
    pub(crate) target_prog: Option<String>,
}

/// What the command line says about the program to extend.
pub(crate) fn extend<'o>(loader: Loader<'o>, extended: &Extended) -> Loader<'o> {
    match &extended.target_prog {
        // A pin is below bpffs, and so has a slash.
        Some(word) => {
            loader.extend(word.parse().map_or_else(|_| Existing::Pinned(word.clone()), Existing::Id))
        }
        None => loader,
    }
}
