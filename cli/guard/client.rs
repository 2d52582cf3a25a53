//! Talking to the guard of an interface: what it waits for, and that all is well.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use loader::attach::NetNs;
use loader::netlink::{InterfaceInfo, Mode, XdpProgram};
use loader::{Error, ErrorKind, Result};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;

use super::{TO_STRANGERS, socket_name};
use crate::remedy::GUARD;

/// How long a guard may take to answer. It may be stopped, and then it never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// The call without which no guard can be asked, nor stand.
pub(super) const SOCKET: &str = "socket(2)";

/// How often a guard is asked that ends without an answer.
const ATTEMPTS: u32 = 10;

/// A change that waits to be confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// How long it still waits.
    pub(crate) left: Duration,
    /// The process that waits.
    pub(crate) pid: u32,
    /// How the interface was called when the change was made.
    pub(crate) name: String,
    /// The network namespace that it has been moved to, where the guard has found it in one.
    pub(crate) netns: Option<String>,
    /// Why the guard has not found the interface anywhere, if so.
    pub(crate) lost: Option<String>,
    /// Why the roll-back fails, which is tried again as long as it waits; none before it has begun.
    pub(crate) failure: Option<String>,
    /// The program on trial.
    pub(crate) new: Option<u32>,
    /// What is put back.
    pub(crate) before: Vec<XdpProgram>,
    /// Where the link of the new program is pinned now that it is confirmed.
    pub(crate) pin: Option<PathBuf>,
}

/// What a guard says.
#[derive(Debug)]
enum Answer {
    Waits(Pending),
    /// It belongs to another user.
    Silent,
    /// It ended without a word: it had the change put back, or is killed.
    Ended,
    /// There is none.
    Nobody,
    /// Nothing came from this process, or from one whose number cannot be known (0).
    Unanswered(i32),
}

/// Those who ask the guards of a network namespace. One guard may have many interfaces: if it has not answered once, it
/// is not waited for again.
pub(crate) struct Guards<'n> {
    netns: Option<&'n NetNs>,
    silent: Vec<i32>,
    /// Whether callers of one queued up to the limit, and none was let in: anybody may take a name that is free, or
    /// those of all interfaces.
    crowded: bool,
}

/// The change of the interface `ifindex` that waits to be confirmed; see [`Guards::pending`].
pub(crate) fn pending(netns: Option<&NetNs>, ifindex: u32) -> Result<Option<Pending>> {
    Guards::new(netns).pending(ifindex)
}

impl<'n> Guards<'n> {
    /// The guards in `netns`, or in the network namespace of this thread.
    pub(crate) fn new(netns: Option<&'n NetNs>) -> Self {
        Self { netns, silent: Vec::new(), crowded: false }
    }

    /// The change of the interface `ifindex` that waits to be confirmed, if one does and this user may know of it.
    pub(crate) fn pending(&mut self, ifindex: u32) -> Result<Option<Pending>> {
        for _ in 0..ATTEMPTS {
            match self.ask(ifindex, "status\n")? {
                Answer::Waits(pending) => return Ok(Some(pending)),
                Answer::Nobody | Answer::Silent => return Ok(None),
                Answer::Unanswered(pid) => return Err(no_answer(ifindex, pid, "")),
                // Its trial was over at this moment. Mostly nobody answers any more.
                Answer::Ended => {}
            }
        }
        Ok(None)
    }

    /// The changes that wait of interfaces that are not among those `present` any more: they were moved to another
    /// network namespace, or are gone. Each with the number that the interface had.
    pub(crate) fn of_absent(&mut self, present: &[InterfaceInfo]) -> Vec<(u32, Pending)> {
        let is_absent = |ifindex: &u32| present.iter().all(|link| link.index != *ifindex);
        let mut found = Vec::new();
        for ifindex in self.named().into_iter().filter(is_absent) {
            // Anybody may take any number of names.
            if self.crowded {
                break;
            }
            found.extend(self.pending(ifindex).ok().flatten().map(|pending| (ifindex, pending)));
        }
        found
    }

    /// The numbers of interfaces for which somebody has the name of a guard, each once.
    fn named(&self) -> Vec<u32> {
        let read = || fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
        let sockets = match self.netns {
            Some(netns) => netns.run(read).unwrap_or_default(),
            None => read(),
        };
        let mut named = Vec::new();
        for line in sockets.lines() {
            let ifindex = line.rsplit_once(&format!(" @{GUARD}/")).and_then(|(_, index)| index.parse().ok());
            named.extend(ifindex.filter(|ifindex| !named.contains(ifindex)));
        }
        named
    }

    /// Confirms the change of the interface `ifindex`, if one waits.
    pub(crate) fn confirm(&mut self, ifindex: u32) -> Result<Option<Pending>> {
        match self.ask(ifindex, "confirm\n")? {
            Answer::Waits(pending) => Ok(Some(pending)),
            Answer::Nobody => Ok(None),
            Answer::Silent => {
                let message = "only the user who made the change, and root, may confirm it";
                Err(Error::new(ErrorKind::PermissionDenied, message))
            }
            Answer::Unanswered(pid) => {
                Err(no_answer(ifindex, pid, ", so that nothing is known to be confirmed"))
            }
            Answer::Ended => {
                let message =
                    "the guard has ended without an answer: it rolled the change back, or was killed";
                Err(Error::new(ErrorKind::Conflict, message)
                    .with_help("`xdpload status` shows what is there now"))
            }
        }
    }

    fn ask(&mut self, ifindex: u32, request: &str) -> Result<Answer> {
        let patience = if self.crowded { Duration::from_millis(100) } else { PATIENCE };
        let stream = match self.netns {
            Some(netns) => netns.run(|| connect_to_guard(ifindex, patience))?,
            None => connect_to_guard(ifindex, patience),
        };
        let stream = match stream {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(Answer::Nobody),
            // So many wait to be heard that no more are let in.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.crowded = true;
                return Ok(Answer::Unanswered(0));
            }
            // A filter may refuse sockets of this family.
            Err(error) if unix_socket().is_err() => return Err(failed(SOCKET, &error)),
            stream => stream.map_err(|error| failed("connect(2)", &error))?,
        };
        // Anybody may take a name that is free.
        if !is_trusted(&stream) {
            return Ok(Answer::Nobody);
        }
        let pid = getsockopt(&stream, PeerCredentials).map(|peer| peer.pid()).unwrap_or_default();
        if self.silent.contains(&pid) {
            return Ok(Answer::Unanswered(pid));
        }
        let answer = converse(stream, request, pid)?;
        // A process that cannot be told from others is waited for each time.
        self.silent.extend(Some(pid).filter(|pid| matches!(answer, Answer::Unanswered(_)) && *pid != 0));
        Ok(answer)
    }
}

/// The error for a guard that does not answer, and what follows from that.
fn no_answer(ifindex: u32, pid: i32, then: &str) -> Error {
    if pid == 0 {
        let name = socket_name(ifindex);
        let message = format!("whoever holds the guard's socket `@{name}` does not answer{then}");
        return Error::new(ErrorKind::Conflict, message).with_help(who_holds(&name));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_stopped = stat.rsplit(") ").next().is_some_and(|state| state.starts_with(['T', 't']));
    let why = if is_stopped { "is stopped and " } else { "" };
    let error =
        Error::new(ErrorKind::Conflict, format!("the guard, process {pid}, {why}does not answer{then}"));
    if is_stopped { error.with_help(format!("kill -CONT {pid} lets it go on")) } else { error }
}

/// A connection to the guard of the interface `ifindex` in this namespace, on which neither end is waited for for long.
fn connect_to_guard(ifindex: u32, patience: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(unix_socket()?);
    stream.set_read_timeout(Some(PATIENCE))?;
    // It is the limit of connect(2) too.
    stream.set_write_timeout(Some(patience))?;
    connect(stream.as_raw_fd(), &UnixAddr::new_abstract(socket_name(ifindex).as_bytes())?)?;
    Ok(stream)
}

pub(super) fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Whether `error` says that no guard at all can be asked, and nothing of the one of this interface.
pub(crate) fn is_without_sockets(error: &Error) -> bool {
    error.call() == Some(SOCKET)
}

/// Asks the guard, process `pid`, for an answer.
fn converse(mut stream: UnixStream, request: &str, pid: i32) -> Result<Answer> {
    let mut answer = String::new();
    let asked = stream
        .write_all(request.as_bytes())
        // Whoever is refused has not been listened to.
        .or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
        .and_then(|()| stream.read_to_string(&mut answer));
    match asked {
        // Whoever ends the conversation may have answered before, without a look at the request.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => 0,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Answer::Unanswered(pid)),
        asked => asked.map_err(|error| failed("recvfrom(2)", &error))?,
    };
    if answer.is_empty() {
        return Ok(Answer::Ended);
    }
    if answer == TO_STRANGERS {
        return Ok(Answer::Silent);
    }
    if let Some(words) = answer.strip_prefix("error ") {
        return Err(Error::new(ErrorKind::Conflict, words.trim_end()));
    }
    read(&answer).map(Answer::Waits).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "cannot read the guard's answer: it may be of another release")
    })
}

/// Whether the other end is this user, or root.
pub(super) fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| [0, geteuid().as_raw()].contains(&peer.uid()))
}

/// Who has the name of the guard of the interface `ifindex` in this namespace, and is neither this user nor root.
pub(super) fn stranger(ifindex: u32) -> Option<String> {
    match connect_to_guard(ifindex, PATIENCE) {
        Ok(stream) if is_trusted(&stream) => None,
        Ok(stream) => getsockopt(&stream, PeerCredentials).ok().map(|peer| format!("user {}", peer.uid())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Some("somebody who lets no caller in".to_owned())
        }
        Err(_) => None,
    }
}

/// How to find out who holds the socket `name`.
pub(super) fn who_holds(name: &str) -> String {
    format!("`ss -lxp src @{name}` shows the process")
}

fn read(answer: &str) -> Option<Pending> {
    let mut pending = Pending::default();
    for line in answer.lines() {
        let (key, value) = line.split_once(' ')?;
        match key {
            "left" => pending.left = Duration::from_millis(value.parse().ok()?),
            "pid" => pending.pid = value.parse().ok()?,
            // The same in the words of the guard, which calls the interface as it was called then.
            "back" => {}
            "name" => value.clone_into(&mut pending.name),
            "netns" => pending.netns = Some(value.to_owned()),
            "lost" => pending.lost = Some(value.to_owned()),
            "failure" => pending.failure = Some(value.to_owned()),
            "new" => pending.new = Some(value.parse().ok()?),
            "pin" => pending.pin = Some(value.into()),
            "before" => {
                let (mode, id) = value.split_once(' ')?;
                let mode = Mode::ALL.into_iter().find(|it| it.name() == mode)?;
                let id = id.parse().ok().filter(|&id| id != 0);
                pending.before.push(XdpProgram { mode, id });
            }
            _ => return None,
        }
    }
    Some(pending)
}

fn failed(call: &str, error: &io::Error) -> Error {
    Error::io(call, "the guard", error)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// The name of the guard of the interface `ifindex`, which none has.
    fn guard(ifindex: u32) -> UnixListener {
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(socket_name(ifindex)).unwrap()).unwrap()
    }

    /// A guard that ends when it is asked.
    fn ends_when_asked(ifindex: u32) -> thread::JoinHandle<()> {
        let listener = guard(ifindex);
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            drop(listener);
            drop(stream);
        })
    }

    #[test]
    fn a_guard_that_ends_meanwhile_waits_for_nothing() {
        let guard = ends_when_asked(u32::MAX);
        assert_eq!(pending(None, u32::MAX).unwrap(), None);
        guard.join().unwrap();
        let guard = ends_when_asked(u32::MAX);
        let error = Guards::new(None).confirm(u32::MAX).unwrap_err();
        assert!(error.to_string().starts_with("the guard has ended without an answer"), "{error}");
        guard.join().unwrap();
    }

    #[test]
    fn a_guard_that_does_not_answer_is_waited_for_once() {
        let _of_two = [guard(u32::MAX - 1), guard(u32::MAX - 2)];
        let (mut guards, begin) = (Guards::new(None), Instant::now());
        let words = format!("the guard, process {}, does not answer", std::process::id());
        assert_eq!(guards.pending(u32::MAX - 1).unwrap_err().to_string(), words);
        assert_eq!(guards.pending(u32::MAX - 2).unwrap_err().to_string(), words);
        let error = guards.confirm(u32::MAX - 2).unwrap_err();
        assert_eq!(error.to_string(), format!("{words}, so that nothing is known to be confirmed"));
        assert!(begin.elapsed() < 2 * PATIENCE, "{:?}", begin.elapsed());
    }

    #[test]
    fn an_answer_is_read_or_refused() {
        let answer = "left 1500\npid 7\nback some words\nname eth0\nnetns edge\nlost it is\nnew 9\n\
                      before native 3\nfailure it is\npin /p q\n";
        let pending = read(answer).unwrap();
        assert_eq!((pending.left, pending.pid, pending.new), (Duration::from_millis(1500), 7, Some(9)));
        assert_eq!(pending.before, [XdpProgram { mode: Mode::Native, id: Some(3) }]);
        assert_eq!((&*pending.name, pending.netns.as_deref()), ("eth0", Some("edge")));
        assert_eq!(pending.lost.as_deref(), Some("it is"));
        assert_eq!(pending.pin, Some(PathBuf::from("/p q")));
        assert_eq!(pending.failure.as_deref(), Some("it is"));
        for bad in ["left\n", "left x\n", "before native\n", "before fast 3\n", "what ever\n"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
