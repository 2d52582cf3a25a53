//! `xdpload demo`: all of it at work in private network namespaces.

use loader::Result;

use crate::args;

pub(crate) fn run(_args: &args::Demo) -> Result<()> {
    Ok(())
}
