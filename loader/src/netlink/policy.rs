//! What may be done to the programs that are there, and what a refusal means: the answers that the plan of an attach
//! and the attach itself share.

use nix::errno::Errno;

use super::mode::ModeChoice;
use super::state::{XdpProgram, XdpState};
use super::write::XdpChange;
use crate::error::{Cause, Error, ErrorKind, Help, Remedy, Result};
use crate::mode::Mode;

/// Fails with [`Conflict`](ErrorKind::Conflict) if a program runs there in any mode: attaching displaces none.
///
/// The kernel's own check (`XDP_FLAGS_UPDATE_IF_NOEXIST`) looks at one mode only, and its refusal names no program.
/// `choice` is the mode in which a program was to be attached.
pub fn refuse_to_displace(state: &XdpState, choice: ModeChoice) -> Result<()> {
    if state.is_empty() {
        return Ok(());
    }
    let message = format!("{} is there already", list(state.programs()));
    let mode = match (state.programs(), choice) {
        ([program], ModeChoice::Only(mode)) if program.mode != mode => Some(program.mode),
        _ => None,
    };
    Err(occupied(message, Remedy::Replace { mode, at: None }))
}

/// The program that a replacement with this choice of mode takes the place of, which must be program `id` if one
/// is given.
///
/// A replacement runs in the mode of the program before it: the kernel cannot change the mode in one step, because
/// it refuses native and generic at once (EEXIST, `dev_xdp_attach` in `net/core/dev.c`).
pub fn program_to_replace(state: &XdpState, choice: ModeChoice, id: Option<u32>) -> Result<XdpProgram> {
    match (only(state, id)?.as_slice(), choice) {
        ([program], ModeChoice::Auto) => Ok(*program),
        ([program], ModeChoice::Only(mode)) if program.mode == mode => Ok(*program),
        ([program], ModeChoice::Only(mode)) => {
            let message = format!("{program} is there, and cannot be replaced by one in {mode} mode");
            let how = format!("replace it in {} mode (", program.mode);
            let remedy = Remedy::UseMode { mode: program.mode, at: None };
            Err(occupied(message, (how, remedy, "), or detach it first")))
        }
        (several, ModeChoice::Only(mode)) => {
            let found = several.iter().copied().find(|program| program.mode == mode);
            found
                .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no program in {mode} mode is there")))
        }
        (several, ModeChoice::Auto) => {
            let message = format!("{} are there: say the mode of the one to replace", list(several));
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

fn occupied(message: String, help: impl Into<Help>) -> Error {
    Error::new(ErrorKind::Conflict, message).with_cause(Cause::Occupied).with_help(help)
}

/// The programs that are to be detached: all, or only program `id`.
pub fn programs_to_detach(state: &XdpState, id: Option<u32>) -> Result<Vec<XdpProgram>> {
    only(state, id)
}

/// The programs that are there, at least one; if `id` is given, those with that number.
fn only(state: &XdpState, id: Option<u32>) -> Result<Vec<XdpProgram>> {
    let wanted = |program: &&XdpProgram| id.is_none() || program.id == id;
    let found = state.programs().iter().filter(wanted).copied().collect::<Vec<_>>();
    match (found.is_empty(), id) {
        (false, _) => Ok(found),
        (true, Some(id)) if !state.is_empty() => {
            let message = format!("program {id} is not there, but {} is", list(state.programs()));
            Err(Error::new(ErrorKind::Conflict, message).with_cause(Cause::Changed))
        }
        (true, _) => Err(Error::new(ErrorKind::NotFound, "no XDP program is there")),
    }
}

fn list(programs: &[XdpProgram]) -> String {
    programs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Whether [`ModeChoice::Auto`] may go on to generic mode after native was refused with `errno`.
///
/// Drivers use many numbers to say that they cannot: EOPNOTSUPP, EINVAL, ERANGE, E2BIG, ENOMEM, ENOSPC, ENOTCONN.
/// Those left out here are not about the driver: a missing privilege, an interface or program fd that is gone,
/// somebody else's program. With these generic mode would fail as well, or do what nobody asked for.
pub fn may_fall_back(errno: i32) -> bool {
    !matches!(
        Errno::from_raw(errno),
        Errno::EPERM
            | Errno::EACCES
            | Errno::ENODEV
            | Errno::ENOENT
            | Errno::EBADF
            | Errno::EBUSY
            | Errno::EEXIST
            | Errno::EINTR
            | Errno::EAGAIN
    )
}

/// Whether the kernel has refused with EINVAL and not said why. From 5.7 on it explains almost each such refusal of a
/// change that expects a program; before, it does not know the flag for that.
pub fn is_unexplained(refusal: &Error) -> bool {
    refusal.errno() == Some(Errno::EINVAL as i32) && refusal.kernel_message().is_none()
}

/// What stands behind the kernel's refusal of `change`, where that is for the program that is there
/// (`dev_xdp_attach()` in `net/core/dev.c`). `message` is the kernel's sentence.
pub(crate) fn cause_of_refusal(change: XdpChange, errno: i32, message: Option<&str>) -> Option<Cause> {
    let is_attach = matches!(change, XdpChange::Attach { .. });
    match Errno::from_raw(errno) {
        Errno::EBUSY if message.is_some_and(|message| message.contains("BPF XDP link")) => {
            Some(Cause::HeldByLink)
        }
        Errno::EBUSY | Errno::EEXIST if is_attach => Some(Cause::Occupied),
        Errno::EEXIST => Some(Cause::Changed),
        _ => None,
    }
}

/// What to do about a refused attach in `mode`, when the cause is certain. `message` is the kernel's sentence.
pub fn help_for_refusal(mode: Mode, errno: i32, message: Option<&str>) -> Option<&'static str> {
    match (Errno::from_raw(errno), message) {
        (Errno::EPERM, None) => Some("this needs CAP_NET_ADMIN in the interface's network namespace"),
        (_, Some(message)) if mode == Mode::Native && message.contains("MTU") => Some(
            "lower that MTU, or make it a multi-buffer program (section `xdp.frags`), \
             or use generic mode",
        ),
        (Errno::EBUSY, Some(message)) if message.contains("BPF XDP link") => {
            Some("a bpf_link holds the program that is there; it can only be changed through that link")
        }
        (Errno::EOPNOTSUPP, _) if mode == Mode::Native => Some("generic mode works with every driver"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: XdpProgram = XdpProgram { mode: Mode::Native, id: Some(12) };
    const OFFLOAD: XdpProgram = XdpProgram { mode: Mode::Offload, id: Some(13) };

    fn state<const N: usize>(programs: [XdpProgram; N]) -> XdpState {
        XdpState::from_programs(programs)
    }

    #[test]
    fn attaching_displaces_no_program_in_any_mode() {
        assert!(refuse_to_displace(&state([]), ModeChoice::Auto).is_ok());
        let help = |choice| refuse_to_displace(&state([NATIVE]), choice).unwrap_err().help();
        let replace = |mode| Some(Remedy::Replace { mode, at: None }.into());
        assert_eq!(help(Mode::Native.into()), replace(None));
        assert_eq!(help(ModeChoice::Auto), replace(None));
        assert_eq!(help(Mode::Generic.into()), replace(Some(Mode::Native)));
        let error = refuse_to_displace(&state([OFFLOAD]), ModeChoice::Auto).unwrap_err();
        assert_eq!(error.to_string(), "XDP program 13 in offload mode is there already");
        assert_eq!((error.kind(), error.cause()), (ErrorKind::Conflict, Some(Cause::Occupied)));
    }

    #[test]
    fn a_replacement_keeps_the_mode() {
        let one = state([NATIVE]);
        assert_eq!(program_to_replace(&one, ModeChoice::Auto, None).unwrap(), NATIVE);
        assert_eq!(program_to_replace(&one, Mode::Native.into(), Some(12)).unwrap(), NATIVE);
        let refusal = |choice, id| {
            let error = program_to_replace(&one, choice, id).unwrap_err();
            (error.to_string(), error.cause())
        };
        let message = "XDP program 12 in native mode is there, and cannot be replaced by one in generic mode";
        assert_eq!(refusal(Mode::Generic.into(), None), (message.to_owned(), Some(Cause::Occupied)));
        let message = "program 7 is not there, but XDP program 12 in native mode is";
        assert_eq!(refusal(ModeChoice::Auto, Some(7)), (message.to_owned(), Some(Cause::Changed)));
    }

    #[test]
    fn who_loses_a_race_hears_what_the_look_before_would_have_said() {
        let attach = XdpChange::Attach { new: 3 };
        let replace = XdpChange::Replace { new: 3, expected: 4 };
        let cause = |change, errno: Errno, message| cause_of_refusal(change, errno as i32, message);
        let (there, link) = (Some("XDP program already attached"), Some("Can't replace active BPF XDP link"));
        assert_eq!(cause(attach, Errno::EBUSY, there), Some(Cause::Occupied));
        // Before 4.16 the kernel does not say why.
        assert_eq!(cause(attach, Errno::EBUSY, None), Some(Cause::Occupied));
        assert_eq!(cause(attach, Errno::EBUSY, link), Some(Cause::HeldByLink));
        let both = Some("Native and generic XDP can't be active at the same time");
        assert_eq!(cause(attach, Errno::EEXIST, both), Some(Cause::Occupied));
        let other = Some("Active program does not match expected");
        assert_eq!(cause(replace, Errno::EEXIST, other), Some(Cause::Changed));
        assert_eq!(cause(replace, Errno::EBUSY, link), Some(Cause::HeldByLink));
        assert_eq!(cause(attach, Errno::EINVAL, None), None);
    }

    #[test]
    fn among_several_the_mode_says_which_to_replace() {
        let two = state([OFFLOAD, NATIVE]);
        assert_eq!(program_to_replace(&two, Mode::Offload.into(), None).unwrap(), OFFLOAD);
        assert_eq!(program_to_replace(&two, ModeChoice::Auto, Some(13)).unwrap(), OFFLOAD);
        let error = program_to_replace(&two, ModeChoice::Auto, None).unwrap_err();
        assert!(error.to_string().contains("native mode and XDP program 13"), "{error}");
        let error = program_to_replace(&two, Mode::Generic.into(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_detach_takes_off_all_or_only_the_one_that_was_named() {
        let two = state([OFFLOAD, NATIVE]);
        assert_eq!(programs_to_detach(&two, None).unwrap(), [NATIVE, OFFLOAD]);
        assert_eq!(programs_to_detach(&two, Some(13)).unwrap(), [OFFLOAD]);
        assert_eq!(programs_to_detach(&two, Some(1)).unwrap_err().kind(), ErrorKind::Conflict);
        for id in [None, Some(1)] {
            let error = programs_to_detach(&state([]), id).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::NotFound, "no XDP program is there")
            );
        }
    }

    #[test]
    fn only_a_drivers_refusal_leads_to_generic_mode() {
        let numbers =
            |list: &[Errno]| list.iter().map(|&errno| may_fall_back(errno as i32)).collect::<Vec<_>>();
        assert_eq!(numbers(&[Errno::EOPNOTSUPP, Errno::EINVAL, Errno::ERANGE, Errno::ENOTCONN]), [true; 4]);
        assert_eq!(numbers(&[Errno::EPERM, Errno::EBUSY, Errno::EEXIST, Errno::ENODEV]), [false; 4]);
    }

    #[test]
    fn help_is_given_only_where_the_cause_is_certain() {
        let help = |mode, errno: Errno, message| help_for_refusal(mode, errno as i32, message);
        let mtu = help(Mode::Native, Errno::ERANGE, Some("Peer MTU is too large to set XDP"));
        assert!(mtu.is_some_and(|text| text.contains("xdp.frags")));
        assert!(help(Mode::Native, Errno::EOPNOTSUPP, None).is_some_and(|text| text.contains("generic")));
        let link = help(Mode::Native, Errno::EBUSY, Some("Can't replace active BPF XDP link"));
        assert!(link.is_some_and(|text| text.contains("bpf_link")));
        assert_eq!(help(Mode::Native, Errno::EBUSY, Some("XDP program already attached")), None);
        assert_eq!(help(Mode::Offload, Errno::EOPNOTSUPP, None), None);
        assert_eq!(help(Mode::Native, Errno::EINVAL, None), None);
        assert!(help(Mode::Generic, Errno::EPERM, None).is_some());
    }
}
