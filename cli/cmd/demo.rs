//! `xdpload demo`.

use loader::Result;

use crate::args;

pub(crate) fn run(_args: &args::Demo) -> Result<()> {
    Ok(())
}
