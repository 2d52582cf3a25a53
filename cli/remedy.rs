//! What the libraries know to help, in the words of the command line.

use std::path::Path;

use blocklist::Blocklist;
use blocklist::remedy::{MORE_ROOM, PURGE, TURN_ON};
use loader::error::Whereabouts;
use loader::pin::BPFFS_ROOT;
use loader::{Error, Help, Mode, Remedy, shell_word};

use crate::args::options;
use crate::displace;

/// What the process is called that guards a change on trial.
pub(crate) const GUARD: &str = "xdpload-guard";

/// What to do about an error.
pub(crate) fn help(error: &Error) -> Option<String> {
    error.help().as_ref().map(told)
}

/// The same of the help of a verdict.
pub(crate) fn told(help: &Help) -> String {
    help.told(|remedy| allowed(words(remedy), remedy))
}

/// What to do about the refusal of native mode where generic mode has taken its place, if that leaves anything to do.
pub(crate) fn besides_generic(refusal: &Error) -> Option<String> {
    let help = refusal.help()?;
    let is_all = help.told(|_| String::new()).is_empty();
    (!is_all).then(|| {
        help.told(|remedy| match remedy {
            Remedy::UseMode { mode: Mode::Generic, .. } => "leave it in generic mode".to_owned(),
            other => allowed(words(other), other),
        })
    })
}

/// What is proposed, and what it takes that this process lacks.
fn allowed(words: String, remedy: &Remedy) -> String {
    if is_on_trial(remedy) { words } else { displace::as_far_as_allowed(words, remedy) }
}

/// The error with its help as text, for who is to tell it as it is.
pub(crate) fn in_words(error: Error) -> Error {
    retold(error, |remedy| allowed(words(remedy), remedy))
}

/// The same where `block on` is what has failed. The blocklist takes no other program's place.
pub(crate) fn in_words_of_block_on(error: Error) -> Error {
    let again = |at: &Whereabouts| format!("xdpload block on {}", shell_word(&at.interface));
    let words = |remedy: &Remedy| match remedy {
        Remedy::Replace { at: Some(at), .. } => allowed(detach(at, ""), remedy),
        Remedy::Replace { at: None, .. } => "detach it first".to_owned(),
        Remedy::ReplaceByLink { at, .. } if !is_on_trial(remedy) => allowed(detach(at, " --link"), remedy),
        Remedy::UseMode { mode, at: Some(at) } => format!("{} --mode {mode}{}", again(at), options(at)),
        Remedy::LoadAnew(at) => format!("load it from its object: {}{}", again(at), options(at)),
        other => words(other),
    };
    retold(error, words)
}

/// The same where `load` is what has failed. It takes the place of nothing, and copies no entries.
#[cfg(feature = "load")]
pub(crate) fn in_words_of_load(error: Error) -> Error {
    retold(error, |remedy| match remedy {
        Remedy::CopyMaps { by_pin: true } => "`--pin-map MAP=/...` pins a new one elsewhere".to_owned(),
        other => words(other),
    })
}

fn retold(error: Error, words: impl FnOnce(&Remedy) -> String) -> Error {
    match error.help() {
        Some(help) => error.with_help(help.told(words)),
        None => error,
    }
}

fn words(remedy: &Remedy) -> String {
    let attach = |at: &Whereabouts| format!("xdpload attach {} OBJ", shell_word(&at.interface));
    match remedy {
        Remedy::ChooseProgram => "--prog NAME".to_owned(),
        Remedy::TakeAsXdp { section: Some(section) } => format!("--section {}", shell_word(section)),
        Remedy::TakeAsXdp { section: None } => "--prog NAME, or --section NAME".to_owned(),
        Remedy::SayMapsDialect => "--maps-dialect iproute2, or libbpf to leave those fields out".to_owned(),
        Remedy::SetMaxEntries { map, enough: None } => format!("--max-entries {}=N", shell_word(map)),
        Remedy::SetMaxEntries { map, enough: Some(enough) } => {
            format!("`--max-entries {}={enough}`", shell_word(map))
        }
        Remedy::PinMap { map, bpffs } => format!("--pin-map {}={}/...", shell_word(map), shell_word(bpffs)),
        Remedy::SetLater { section, variable } => {
            format!("xdpload map set IF:{} {} VALUE", shell_word(section), shell_word(variable))
        }
        Remedy::GiveKconfig => "--kconfig FILE".to_owned(),
        Remedy::GiveTypes => "--btf FILE, which is raw BTF or an ELF file with a section .BTF".to_owned(),
        Remedy::NameInterface => "--dev IF".to_owned(),
        Remedy::NameExtended => "xdpload load OBJ --target-prog ID|PATH --pin DIR".to_owned(),
        Remedy::PinProgram => "`xdpload load OBJ --prog NAME --pin DIR`".to_owned(),
        Remedy::PinLink => "--pin /sys/fs/bpf/NAME".to_owned(),
        Remedy::CopyMaps { by_pin: true } => {
            "`attach --replace --migrate-maps` copies its entries into a new one".to_owned()
        }
        Remedy::CopyMaps { by_pin: false } => {
            "`--migrate-maps` copies its entries into the new one".to_owned()
        }
        Remedy::KeepNoMaps => "replace without `--keep-maps`".to_owned(),
        Remedy::UseBpffs => "--bpffs DIR".to_owned(),
        Remedy::WithoutLink => "leave out `--link`".to_owned(),
        Remedy::WithoutTrial => "leave out `--confirm`".to_owned(),
        Remedy::UseMode { mode, at: None } => format!("`--mode {mode}`"),
        Remedy::UseMode { mode, at: Some(at) } => format!("{} --mode {mode}{}", attach(at), options(at)),
        Remedy::LoadAnew(at) => format!("load it from its object: {}{}", attach(at), options(at)),
        Remedy::Replace { mode, at: None } => {
            let mode = mode.map_or_else(String::new, |mode| format!(" --mode {mode}"));
            format!("replace it (`--replace{mode}`), or detach it first")
        }
        Remedy::Replace { mode, at: Some(at) } => {
            let mode = mode.map_or_else(String::new, |mode| format!(" --mode {mode}"));
            format!("{}{mode} --replace{}, or: {}", attach(at), options(at), detach(at, ""))
        }
        Remedy::ReplaceByLink { at, .. } if is_on_trial(remedy) => format!(
            "it is on trial: xdpload confirm {}{}, which keeps it; or: {}",
            shell_word(&at.interface),
            options(at),
            detach(at, " --link")
        ),
        Remedy::ReplaceByLink { at, .. } => {
            format!("{} --replace --link{}, or: {}", attach(at), options(at), detach(at, " --link"))
        }
        Remedy::Detach(at) => detach(at, ""),
        Remedy::DetachById => "`xdpload detach IF --id N`".to_owned(),
        Remedy::Look { at, above: true } => format!("xdpload status{}", options(at)),
        Remedy::Look { at, above: false } => {
            format!("xdpload status {}{}", shell_word(&at.interface), options(at))
        }
        Remedy::Other { name: TURN_ON, bpffs, .. } => block(bpffs, "on IF"),
        Remedy::Other { name: PURGE, bpffs, .. } => block(bpffs, "off --purge"),
        Remedy::Other { name: MORE_ROOM, bpffs, .. } => more_room(bpffs, "IF --max-rules N"),
        other => other.to_string(),
    }
}

/// Commands about a blocklist, as help says them.
pub(crate) trait Commands {
    /// `xdpload block` with these `words`, and the option that leads to this blocklist.
    fn command(&self, words: &str) -> String;

    /// What makes more room: `on` says where it is to be on then, and for how many rules.
    fn more_room(&self, on: &str) -> String;
}

impl Commands for Blocklist {
    fn command(&self, words: &str) -> String {
        block(self.bpffs(), words)
    }

    fn more_room(&self, on: &str) -> String {
        more_room(self.bpffs(), on)
    }
}

fn block(bpffs: &Path, words: &str) -> String {
    match bpffs.to_string_lossy() {
        usual if usual == BPFFS_ROOT => format!("`xdpload block {words}`"),
        other => format!("`xdpload block {words} --bpffs {}`", shell_word(&other)),
    }
}

/// The maps of a blocklist cannot grow: it is made anew.
fn more_room(bpffs: &Path, on: &str) -> String {
    let on = format!("on {on}");
    ["save FILE", "off --purge", &on, "load FILE"].map(|words| block(bpffs, words)).join(", then ")
}

fn detach(at: &Whereabouts, link: &str) -> String {
    format!("xdpload detach {}{link}{}", shell_word(&at.interface), options(at))
}

/// Whether it is the guard of a trial that has the link open.
fn is_on_trial(remedy: &Remedy) -> bool {
    let Remedy::ReplaceByLink { holders, .. } = remedy else { return false };
    holders.iter().any(|holder| holder.name == GUARD)
}

#[cfg(test)]
mod tests {
    use loader::error::Process;
    use loader::{ErrorKind, Mode};

    use super::*;

    fn refused(remedy: Remedy) -> Error {
        Error::new(ErrorKind::Conflict, "no").with_help(remedy)
    }

    fn at(netns: Option<&str>, bpffs: Option<&str>) -> Whereabouts {
        Whereabouts {
            interface: "eth0".to_owned(),
            netns: netns.map(str::to_owned),
            bpffs: bpffs.map(Into::into),
        }
    }

    /// What the command line says, and what `block on` does.
    fn both(remedy: Remedy) -> [String; 2] {
        let error = refused(remedy);
        [error.clone(), in_words_of_block_on(error)].map(|error| error.help().unwrap().told(words))
    }

    #[test]
    fn commands_say_where_the_interface_is() {
        let there = at(Some("edge"), Some("/b"));
        let says = |remedy| help(&refused(remedy)).unwrap();
        assert_eq!(says(Remedy::Detach(there.clone())), "xdpload detach eth0 --netns edge --bpffs /b");
        let look = |above| says(Remedy::Look { at: there.clone(), above });
        assert_eq!(look(false), "xdpload status eth0 --netns edge --bpffs /b");
        assert_eq!(look(true), "xdpload status --netns edge --bpffs /b");
        let replace = Remedy::Replace { mode: Some(Mode::Native), at: Some(there) };
        let words = "xdpload attach eth0 OBJ --mode native --replace --netns edge --bpffs /b, or: \
                     xdpload detach eth0 --netns edge --bpffs /b";
        assert_eq!(says(replace), words);
    }

    /// The kernel lets an interface be called nearly anything, also by whoever is root in a container.
    #[test]
    fn a_shell_reads_nothing_but_names_in_commands() {
        let words = |text| shell_word(text);
        assert_eq!(["eth0.7@x", "/sys/fs/bpf/é"].map(words), ["eth0.7@x", "/sys/fs/bpf/é"]);
        assert_eq!(
            ["a;reboot", "$(id)", "it's", ""].map(words),
            ["'a;reboot'", "'$(id)'", r"'it'\''s'", "''"]
        );
        let there = Whereabouts { interface: "a;b".to_owned(), ..at(Some("x y"), Some("/b&")) };
        let says = help(&refused(Remedy::Detach(there))).unwrap();
        assert_eq!(says, "xdpload detach 'a;b' --netns 'x y' --bpffs '/b&'");
    }

    /// It attaches no object, and takes no other program's place.
    #[test]
    fn block_on_names_itself() {
        let here = at(None, None);
        let generic = Remedy::UseMode { mode: Mode::Generic, at: Some(here.clone()) };
        let words = ["xdpload attach eth0 OBJ --mode generic", "xdpload block on eth0 --mode generic"];
        assert_eq!(both(generic), words);
        let replace = Remedy::Replace { mode: Some(Mode::Native), at: Some(here.clone()) };
        let words = "xdpload attach eth0 OBJ --mode native --replace, or: xdpload detach eth0";
        assert_eq!(both(replace), [words, "xdpload detach eth0"]);
        let words = ["replace it (`--replace`), or detach it first", "detach it first"];
        assert_eq!(both(Remedy::Replace { mode: None, at: None }), words);
        let by_link = |holders| Remedy::ReplaceByLink { at: here.clone(), holders };
        let words = "xdpload attach eth0 OBJ --replace --link, or: xdpload detach eth0 --link";
        assert_eq!(both(by_link(Vec::new())), [words, "xdpload detach eth0 --link"]);
        let guard = Process { id: 7, name: GUARD.to_owned() };
        let words = "it is on trial: xdpload confirm eth0, which keeps it; or: xdpload detach eth0 --link";
        assert_eq!(both(by_link(vec![guard])), [words, words]);
        assert_eq!(both(Remedy::LoadAnew(here))[1], "load it from its object: xdpload block on eth0");
    }

    /// It has no option that copies entries, and `attach` is another command.
    #[cfg(feature = "load")]
    #[test]
    fn load_names_what_it_has() {
        let says = |by_pin| help(&in_words_of_load(refused(Remedy::CopyMaps { by_pin }))).unwrap();
        assert_eq!(says(true), "`--pin-map MAP=/...` pins a new one elsewhere");
        let error = in_words_of_load(refused(Remedy::ChooseProgram));
        assert_eq!(help(&error).as_deref(), Some("--prog NAME"));
    }

    #[test]
    fn words_of_names_and_of_other_remedies_stay() {
        let error =
            Error::new(ErrorKind::InvalidInput, "no").with_help(("say which: ", Remedy::ChooseProgram));
        assert_eq!(help(&error).as_deref(), Some("say which: --prog NAME"));
        assert_eq!(in_words(error).help().unwrap().to_string(), "say which: --prog NAME");
        let map = |enough| Remedy::SetMaxEntries { map: "a\u{1b}b".to_owned(), enough };
        assert_eq!(help(&refused(map(None))).as_deref(), Some(r"--max-entries 'a\u{1b}b'=N"));
        assert_eq!(help(&refused(map(Some(9)))).as_deref(), Some(r"`--max-entries 'a\u{1b}b'=9`"));
        let pinned = help(&refused(Remedy::PinProgram));
        assert_eq!(pinned.as_deref(), Some("`xdpload load OBJ --prog NAME --pin DIR`"));
        let other = Remedy::Other { name: "of another crate", words: "`that`", bpffs: "/b".into() };
        assert_eq!(help(&refused(other)).as_deref(), Some("`that`"));
        let purge = Remedy::Other { name: PURGE, words: "", bpffs: "/b".into() };
        assert_eq!(help(&refused(purge)).as_deref(), Some("`xdpload block off --purge --bpffs /b`"));
        assert_eq!(help(&Error::new(ErrorKind::Os, "no")), None);
    }
}
