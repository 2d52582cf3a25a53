//! A plan's calls that keep prog arrays filled while their program is attached: pins in a directory of its own.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::{Execution, Outcome, done, make_directory};
use crate::error::{Context as _, Result, quote};
use crate::pin;
use crate::plan::{Attachment, MapSlot, PinsAction, ProgArrayPins, prog_array_directory};

impl Execution<'_> {
    pub(super) fn ask_for_cookie(&mut self) -> Result<Outcome> {
        self.netns_cookie = self.socket().netns_cookie()?;
        Ok(Outcome::Found(format!("netns cookie {}", self.netns_cookie)))
    }

    /// Makes a call about the pins of an attachment, now that the numbers in the directory's name are known.
    pub(super) fn change_prog_array_pins(&mut self, pins: &ProgArrayPins) -> Result<Outcome> {
        let id = match pins.of {
            Attachment::New(slot) => self.slots.infos[slot.0].as_ref().map(|info| info.id),
            Attachment::Replaced => self.here().running.as_ref().and_then(|(program, _)| program.id),
        };
        let id = id.expect("a plan names an attachment after it has asked for the program's id");
        if pins.of == Attachment::Replaced && self.slots.infos.iter().flatten().any(|info| info.id == id) {
            return Ok(Outcome::Found("the same program is there".to_owned()));
        }
        let dir = prog_array_directory(&pins.bpffs, self.netns_cookie, self.interface().index, id);
        let dir = match (pins.of, &pins.action) {
            (Attachment::Replaced, _) => dir,
            (Attachment::New(_), PinsAction::MakeDir) => self.here_mut().tail_pins.insert(dir).clone(),
            // A program that is loaded once more for another interface has another id.
            (Attachment::New(_), _) => self.here().tail_pins.clone().unwrap_or(dir),
        };
        let path = Path::new(&dir);
        match &pins.action {
            PinsAction::MakeDir => make_directory(&dir),
            PinsAction::Pin { map, name } => done(self.pin_prog_array(*map, path.join(name))),
            PinsAction::Unpin { name } => done(pin::unpin(path.join(name))),
            PinsAction::UnpinAll => {
                if matches!(pins.of, Attachment::New(_)) {
                    self.here_mut().prog_arrays.clear();
                }
                done(pin::unpin_all(path).map(drop))
            }
            PinsAction::RemoveDir => done(pin::remove_dir(path)),
        }
    }

    fn pin_prog_array(&mut self, map: MapSlot, path: PathBuf) -> Result<()> {
        let name = self.plan.maps[map.0].clone();
        pin::pin_in_bpffs(self.map(map).as_fd(), &path)
            .context(|| format!("pinning the prog array {}", quote(&name)))?;
        self.here_mut().prog_arrays.push((name, path));
        Ok(())
    }
}
