//! The command lines of docs/coming-from-gobpf.md, run from top to bottom on a real interface.

use crate::objects::object;
use crate::requirement::{kernel, tool};
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, Veth};
use crate::xdpload::xdpload;

const DOCUMENT: &str = include_str!("../../docs/coming-from-gobpf.md");

/// Where the object pins its map by itself.
const PIN: &str = "/sys/fs/bpf/globals/globals/blacklist";

/// The third cells of the tables that compare calls, as far as they are whole command lines.
fn command_lines() -> Vec<&'static str> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .filter(|cells| cells.len() == 5)
        .filter_map(|cells| cells[2].strip_prefix("`xdpload ")?.strip_suffix('`'))
        .collect()
}

#[test]
fn the_command_lines_of_the_document_work() {
    need!(tool("ip"));
    need!(kernel((5, 7), "XDP_FLAGS_REPLACE"));
    let sandbox = need!(Sandbox::new());
    let _veth = Veth::new(&sandbox);
    let object = object("blacklist_gobpf");
    let lines = command_lines();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        let words = line.split(' ').map(|word| match word {
            "IF" => NEAR,
            "OBJ" => &object,
            "PIN" => PIN,
            word => word,
        });
        xdpload(&words.collect::<Vec<_>>()).ok();
    }
    assert_eq!(sandbox.pins(), ["globals", "globals/globals", "globals/globals/blacklist"]);
}
