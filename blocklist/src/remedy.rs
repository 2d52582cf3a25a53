//! What helps where a blocklist is not there, not whole, or full: the names that [`Remedy::Other`] has for it.

use loader::Remedy;

use crate::store::Blocklist;

/// To make a blocklist where none is.
pub const TURN_ON: &str = "blocklist: turn on";
/// To remove a blocklist with all of its rules.
pub const PURGE: &str = "blocklist: purge";
/// To make a blocklist anew, with more room for the same rules: its maps cannot grow.
pub const MORE_ROOM: &str = "blocklist: more room";

impl Blocklist {
    pub(crate) fn turning_on(&self) -> Remedy {
        self.remedy(TURN_ON, "`Blocklist::make`")
    }

    pub(crate) fn purging(&self) -> Remedy {
        self.remedy(PURGE, "`Blocklist::purge`")
    }

    pub(crate) fn more_room(&self) -> Remedy {
        self.remedy(MORE_ROOM, "save its rules, make it anew with more room, and load them again")
    }

    fn remedy(&self, name: &'static str, words: &'static str) -> Remedy {
        Remedy::Other { name, words, bpffs: self.bpffs().to_owned() }
    }
}
