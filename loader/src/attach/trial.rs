//! What a guard is told of changes on trial, and how: fds and words over a Unix socket.
//!
//! One [`Trial`] for each interface, before it is changed; the `bpf_link` that then holds the program, if one does; and
//! that all is made, after the last. Each message has an answer: nothing, or the kind of an error and
//! its words. The end of the conversation is no message; the guard then looks which of the changes were made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::link::find_link_of;
use super::{Interface, Leftover, find_to_displace, not_by_link};
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::netlink::{Mode, XdpProgram, programs_to_detach};
use crate::sys::{Errno, unix};

/// Bytes of the longest message; pins are the longest of what it has.
const MAX_MESSAGE: usize = 64 * 1024;

/// A change of the program of an interface that is taken back unless somebody confirms it.
#[derive(Debug)]
pub struct Trial {
    /// The interface's number in its network namespace.
    pub ifindex: u32,
    /// The interface's name.
    pub name: String,
    /// The root of bpffs.
    pub bpffs: String,
    /// Where the `bpf_link` of a new program is pinned when the change is confirmed.
    pub pin: PathBuf,
    /// What runs there before the change and is put back, with an fd of each.
    pub before: Vec<(XdpProgram, OwnedFd)>,
    /// The `bpf_link` that holds it, if one does.
    pub link: Option<OwnedFd>,
    /// The pins of that link, which a detach removes.
    pub link_pins: Vec<PathBuf>,
    /// The program that comes there; none if the change takes off what is there.
    pub new: Option<OwnedFd>,
    /// What was made or changed for the change and is taken back with it, the last first.
    pub leftovers: Vec<Leftover>,
}

impl Trial {
    /// A trial of taking off what runs on `interface`, or only program `id`; `by_link` is how
    /// [`detach_links`](super::detach_links) does it, with the pins below `bpffs`, and otherwise
    /// [`detach`](super::detach) does.
    ///
    /// A link without a pin is held by a process and could not be put back as it was: it is refused.
    pub fn of_detach(
        interface: &Interface,
        id: Option<u32>,
        bpffs: impl AsRef<Path>,
        by_link: bool,
    ) -> Result<Self> {
        let bpffs = bpffs.as_ref();
        let seen = interface.look()?;
        let (mut before, mut link, mut link_pins) = (Vec::new(), None, Vec::new());
        for program in programs_to_detach(&seen.xdp, id)? {
            before.push((program, find_to_displace(program, id.is_some(), bpffs)?.into()));
            if !by_link {
                continue;
            }
            let held = find_link_of(&seen, program, bpffs)?.ok_or_else(|| not_by_link(program))?;
            let own = held.state()?.id;
            link_pins
                .extend(super::link_pins(bpffs).into_iter().filter(|(id, _)| *id == own).map(|(_, pin)| pin));
            if link_pins.is_empty() {
                let message =
                    format!("bpf_link {own} is not pinned, so that it could not be put back on {interface}");
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with_help(("its owner, who holds it open, can detach it; or ", Remedy::WithoutTrial)));
            }
            link = Some(held.into());
        }
        Ok(Self {
            ifindex: interface.index().get(),
            name: interface.name().to_owned(),
            bpffs: bpffs.to_string_lossy().into_owned(),
            pin: PathBuf::new(),
            before,
            link,
            link_pins,
            new: None,
            leftovers: Vec::new(),
        })
    }

    /// Tells the guard at the other end of `guard`, and waits until it is ready.
    pub fn send(&self, guard: &UnixStream) -> Result<()> {
        let mut fds: Vec<_> = self.before.iter().map(|(_, fd)| fd.as_fd()).collect();
        fds.extend(self.link.as_ref().map(AsFd::as_fd));
        fds.extend(self.new.as_ref().map(AsFd::as_fd));
        for leftover in &self.leftovers {
            fds.extend(leftover.fds());
        }
        tell(guard, &format!("{TRIAL}\0{}", self.words().join("\0")), &fds)
    }

    fn words(&self) -> Vec<String> {
        let paths =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let mut words = vec![self.ifindex.to_string(), self.name.clone(), self.bpffs.clone()];
        words.extend(paths(std::slice::from_ref(&self.pin)));
        words.push(self.before.len().to_string());
        for (program, _) in &self.before {
            words.push(program.mode.to_string());
            words.push(program.id.unwrap_or(0).to_string());
        }
        words.push(u8::from(self.link.is_some()).to_string());
        words.push(u8::from(self.new.is_some()).to_string());
        words.push(self.link_pins.len().to_string());
        words.extend(paths(&self.link_pins));
        for leftover in &self.leftovers {
            words.extend(leftover.words());
        }
        words
    }

    /// The opposite of [`words`](Self::words).
    fn read(words: &str, fds: Vec<OwnedFd>) -> Option<Self> {
        let (mut words, mut fds) = (words.split('\0'), fds.into_iter());
        let ifindex = words.next()?.parse().ok()?;
        let (name, bpffs) = (words.next()?.to_owned(), words.next()?.to_owned());
        let pin = PathBuf::from(words.next()?);
        let mut before = Vec::new();
        for _ in 0..words.next()?.parse::<usize>().ok()? {
            let word = words.next()?;
            let mode = Mode::ALL.into_iter().find(|mode| mode.to_string() == word)?;
            let id = words.next()?.parse().ok().filter(|&id| id != 0);
            before.push((XdpProgram { mode, id }, fds.next()?));
        }
        let link = if words.next()? == "1" { Some(fds.next()?) } else { None };
        let new = if words.next()? == "1" { Some(fds.next()?) } else { None };
        let count = words.next()?.parse::<usize>().ok()?;
        let link_pins: Vec<_> = words.by_ref().take(count).map(PathBuf::from).collect();
        let mut leftovers = Vec::new();
        while let Some(kind) = words.next() {
            leftovers.push(Leftover::read(kind, &mut words, &mut fds)?);
        }
        Some(Self { ifindex, name, bpffs, pin, before, link, link_pins, new, leftovers })
    }
}

/// Gives the guard the `bpf_link` that holds the new program of the interface with this number, and waits until it has
/// it.
pub(crate) fn hand_over(guard: &UnixStream, ifindex: u32, link: BorrowedFd<'_>) -> Result<()> {
    tell(guard, &format!("{LINK}\0{ifindex}"), &[link])
}

/// Tells the guard that what it was told of is made, and waits until it has heard it. A guard that is not told looks
/// itself.
pub fn tell_made(guard: &UnixStream) -> Result<()> {
    tell(guard, MADE, &[])
}

/// Tells the guard that the interface with this number is not changed after all, and waits until it has heard it.
pub fn tell_unchanged(guard: &UnixStream, ifindex: u32) -> Result<()> {
    tell(guard, &format!("{UNCHANGED}\0{ifindex}"), &[])
}

/// Has the guard take back at once all that was made, and waits until it has.
pub fn take_back(guard: &UnixStream) -> Result<()> {
    tell(guard, TAKE_BACK, &[])
}

/// What messages begin with.
const TRIAL: &str = "trial";
const LINK: &str = "link";
const MADE: &str = "made";
const UNCHANGED: &str = "unchanged";
const TAKE_BACK: &str = "take back";

/// What a guard hears.
#[derive(Debug)]
pub enum Heard {
    /// A change that is about to be made.
    Trial(Trial),
    /// The `bpf_link` that holds the new program of the interface with this number.
    Link(u32, OwnedFd),
    /// What it was told of is made.
    Made,
    /// The interface with this number is not changed after all.
    Unchanged(u32),
    /// It is to take back at once what is made.
    TakeBack,
    /// Nothing more: whoever makes the changes is done, or dead.
    End,
}

/// Waits for the next message to a guard.
pub fn hear(socket: &UnixStream) -> Result<Heard> {
    let Some((message, fds)) = receive(socket)? else { return Ok(Heard::End) };
    read_message(&message, fds).ok_or_else(not_understood)
}

fn read_message(message: &str, fds: Vec<OwnedFd>) -> Option<Heard> {
    match message.split_once('\0') {
        Some((TRIAL, words)) => Trial::read(words, fds).map(Heard::Trial),
        Some((LINK, ifindex)) => Some(Heard::Link(ifindex.parse().ok()?, fds.into_iter().next()?)),
        Some((UNCHANGED, ifindex)) => Some(Heard::Unchanged(ifindex.parse().ok()?)),
        None if message == MADE => Some(Heard::Made),
        None if message == TAKE_BACK => Some(Heard::TakeBack),
        _ => None,
    }
}

/// Answers a message.
pub fn answer(socket: &UnixStream, answer: &Result<()>) -> Result<()> {
    let words = match answer {
        Ok(()) => String::new(),
        Err(error) => {
            let help = error.help().map_or_else(String::new, |help| format!("\0{help}"));
            format!("{}\0{error}{help}", error.kind())
        }
    };
    send(socket, &words, &[])
}

/// Sends a message to the guard, and waits for its answer.
fn tell(guard: &UnixStream, words: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
    send(guard, words, fds)?;
    receive_answer(guard)
}

/// The guard's answer to a message.
fn receive_answer(guard: &UnixStream) -> Result<()> {
    let Some((words, _)) = receive(guard)? else {
        return Err(Error::new(ErrorKind::Os, "the guard that was to take the change back has ended"));
    };
    if words.is_empty() {
        return Ok(());
    }
    let mut words = words.splitn(3, '\0');
    let kind = words.next().and_then(ErrorKind::from_name);
    let (Some(kind), Some(message)) = (kind, words.next()) else { return Err(not_understood()) };
    let error = Error::new(kind, message);
    Err(match words.next() {
        Some(help) => error.with_help(help),
        None => error,
    })
}

fn send(socket: &UnixStream, words: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let len = u32::try_from(words.len()).ok().filter(|&len| len as usize <= MAX_MESSAGE);
    let len = len.ok_or_else(|| Error::new(ErrorKind::Unsupported, "too much is to be told to the guard"))?;
    let message = [&len.to_ne_bytes()[..], words.as_bytes()].concat();
    let (mut rest, mut fds) = (&message[..], fds.chunks(unix::MAX_FDS).peekable());
    while !rest.is_empty() {
        let own = fds.next().unwrap_or_default();
        // One byte carries as many fds as may go at once; the last of them go with all other bytes.
        let part = if fds.peek().is_some() { &rest[..1] } else { rest };
        let sent = unix::send(socket.as_fd(), part, own).map_err(|errno| failed("sendmsg", errno))?;
        rest = &rest[sent..];
    }
    Ok(())
}

/// The next message, or none after the last.
fn receive(socket: &UnixStream) -> Result<Option<(String, Vec<OwnedFd>)>> {
    let (mut message, mut all_fds) = (Vec::new(), Vec::new());
    let mut wanted = size_of::<u32>();
    while message.len() < wanted {
        let mut part = vec![0; wanted - message.len()];
        let (len, fds) =
            unix::receive(socket.as_fd(), &mut part).map_err(|errno| failed("recvmsg", errno))?;
        if len == 0 {
            return Ok(None);
        }
        message.extend_from_slice(&part[..len]);
        all_fds.extend(fds);
        if let Ok(len) = <[u8; 4]>::try_from(&message[..]) {
            wanted += (u32::from_ne_bytes(len) as usize).min(MAX_MESSAGE);
        }
    }
    let words = String::from_utf8(message.split_off(size_of::<u32>())).map_err(|_| not_understood())?;
    Ok(Some((words, all_fds)))
}

fn failed(call: &str, errno: Errno) -> Error {
    Error::os(call, "the socket of the guard", errno.0)
}

fn not_understood() -> Error {
    Error::new(ErrorKind::Malformed, "the message to the guard cannot be understood")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn fd() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_trial_arrives_as_it_was_sent() {
        let program = |mode, id| XdpProgram { mode, id: Some(id) };
        let trial = Trial {
            ifindex: 7,
            name: "eth0".to_owned(),
            bpffs: "/sys/fs/bpf".to_owned(),
            pin: "/sys/fs/bpf/link".into(),
            before: vec![(program(Mode::Native, 3), fd()), (program(Mode::Offload, 4), fd())],
            link: Some(fd()),
            link_pins: vec!["/sys/fs/bpf/a".into(), "/sys/fs/bpf/b".into()],
            new: Some(fd()),
            leftovers: vec![Leftover::Pin("/p".into()), Leftover::Directory("/d".into())],
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        answer(&theirs, &Ok(())).unwrap();
        trial.send(&ours).unwrap();
        let Heard::Trial(got) = hear(&theirs).unwrap() else { panic!("it is a trial") };
        assert_eq!(got.words(), trial.words());
        assert_eq!((got.before.len(), got.link.is_some(), got.new.is_some()), (2, true, true));
        answer(&theirs, &Err(not_understood().with_help("say it again"))).unwrap();
        let error = hand_over(&ours, 7, trial.link.as_ref().unwrap().as_fd()).unwrap_err();
        assert_eq!(
            (error.to_string(), error.help()),
            (not_understood().to_string(), Some("say it again".into()))
        );
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert!(matches!(hear(&theirs).unwrap(), Heard::Link(7, _)));
        answer(&theirs, &Ok(())).unwrap();
        tell_made(&ours).unwrap();
        assert!(matches!(hear(&theirs).unwrap(), Heard::Made));
        answer(&theirs, &Ok(())).unwrap();
        tell_unchanged(&ours, 7).unwrap();
        assert!(matches!(hear(&theirs).unwrap(), Heard::Unchanged(7)));
        answer(&theirs, &Ok(())).unwrap();
        take_back(&ours).unwrap();
        assert!(matches!(hear(&theirs).unwrap(), Heard::TakeBack));
        drop(ours);
        assert!(matches!(hear(&theirs).unwrap(), Heard::End));
    }

    #[test]
    fn what_is_no_message_is_not_understood() {
        for (message, fds) in
            [("", 1), ("made\0", 0), ("link", 1), ("link\0x", 1), ("link\x007", 0), ("trial", 1)]
        {
            assert!(read_message(message, (0..fds).map(|_| fd()).collect()).is_none(), "{message:?}");
        }
    }

    #[test]
    fn half_a_trial_is_none() {
        let words = "7\0eth0\0/sys/fs/bpf\0/sys/fs/bpf/link\x001\0native\x003\x001\x001\x000";
        let leftover = "\0pin\0/p";
        let read = |words: &str, fds: usize| Trial::read(words, (0..fds).map(|_| fd()).collect());
        assert!(read(words, 3).unwrap().leftovers.is_empty());
        assert_eq!(read(&[words, leftover].concat(), 3).unwrap().leftovers.len(), 1);
        assert!(read(words, 2).is_none());
        // Without its last word, it is none, nor is its leftover.
        for (end, _) in words.match_indices('\0') {
            assert!(read(&words[..end], 3).is_none(), "{:?}", &words[..end]);
        }
        assert!(read(&[words, "\0pin"].concat(), 3).is_none());
    }
}
