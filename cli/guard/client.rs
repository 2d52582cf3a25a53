//! Talking to the guard of an interface: what it waits for, and that all is well.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use loader::attach::NetNs;
use loader::netlink::{Mode, XdpProgram};
use loader::{Error, ErrorKind, Result};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

use super::{TO_STRANGERS, socket_name};

/// How long a guard may take to answer: it may have to make a pin.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a guard is asked that ends without an answer.
const ATTEMPTS: u32 = 10;

/// A change that waits to be confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    /// How long it still waits.
    pub(crate) left: Duration,
    /// The process that waits.
    pub(crate) pid: u32,
    /// What happens then, in words.
    pub(crate) back: String,
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
}

/// The change of the interface `ifindex` that waits to be confirmed, if one does and this user may know of it.
pub(crate) fn pending(netns: Option<&NetNs>, ifindex: u32) -> Result<Option<Pending>> {
    for _ in 0..ATTEMPTS {
        match ask(netns, ifindex, "status\n")? {
            Answer::Waits(pending) => return Ok(Some(pending)),
            Answer::Nobody | Answer::Silent => return Ok(None),
            // Its trial was over at this moment. Mostly nobody answers any more.
            Answer::Ended => {}
        }
    }
    Ok(None)
}

/// Confirms the change of the interface `ifindex`, if one waits.
pub(crate) fn confirm(netns: Option<&NetNs>, ifindex: u32) -> Result<Option<Pending>> {
    match ask(netns, ifindex, "confirm\n")? {
        Answer::Waits(pending) => Ok(Some(pending)),
        Answer::Nobody => Ok(None),
        Answer::Silent => {
            let message = "only the user who made the change, and root, may confirm it";
            Err(Error::new(ErrorKind::PermissionDenied, message))
        }
        Answer::Ended => {
            let message = "the guard has ended without an answer: it rolled the change back, or was killed";
            Err(Error::new(ErrorKind::Conflict, message)
                .with_help("`xdpload status` shows what is there now"))
        }
    }
}

/// Whether the other end is this user, or root.
pub(super) fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| [0, geteuid().as_raw()].contains(&peer.uid()))
}

/// The user, neither this one nor root, who has the name of the guard of the interface `ifindex` in this namespace.
pub(super) fn stranger(ifindex: u32) -> Option<u32> {
    let address = SocketAddr::from_abstract_name(socket_name(ifindex)).ok()?;
    let stream = UnixStream::connect_addr(&address).ok().filter(|stream| !is_trusted(stream))?;
    getsockopt(&stream, PeerCredentials).ok().map(|peer| peer.uid())
}

fn ask(netns: Option<&NetNs>, ifindex: u32, request: &str) -> Result<Answer> {
    let connect = || {
        SocketAddr::from_abstract_name(socket_name(ifindex))
            .and_then(|address| UnixStream::connect_addr(&address))
    };
    let stream = match netns {
        Some(netns) => netns.run(connect)?,
        None => connect(),
    };
    let mut stream = match stream {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(Answer::Nobody),
        stream => stream.map_err(|error| failed("connect(2)", &error))?,
    };
    // Anybody may take a name that is free.
    if !is_trusted(&stream) {
        return Ok(Answer::Nobody);
    }
    let mut answer = String::new();
    let asked = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(request.as_bytes()))
        // Whoever is refused has not been listened to.
        .or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
        .and_then(|()| stream.read_to_string(&mut answer));
    match asked {
        // Whoever ends the conversation may have answered before, without a look at the request.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => 0,
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

fn read(answer: &str) -> Option<Pending> {
    let mut pending = Pending::default();
    for line in answer.lines() {
        let (key, value) = line.split_once(' ')?;
        match key {
            "left" => pending.left = Duration::from_millis(value.parse().ok()?),
            "pid" => pending.pid = value.parse().ok()?,
            "back" => value.clone_into(&mut pending.back),
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
    Error::os(call, "the guard", error.raw_os_error().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A guard of the interface `ifindex`, which none has, that ends when it is asked.
    fn ends_when_asked(ifindex: u32) -> thread::JoinHandle<()> {
        let name = SocketAddr::from_abstract_name(socket_name(ifindex)).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
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
        let error = confirm(None, u32::MAX).unwrap_err();
        assert!(error.to_string().starts_with("the guard has ended without an answer"), "{error}");
        guard.join().unwrap();
    }

    #[test]
    fn an_answer_is_read_or_refused() {
        let answer =
            "left 1500\npid 7\nback program 9 is taken off `eth0`\nnew 9\nbefore native 3\npin /p q\n";
        let pending = read(answer).unwrap();
        assert_eq!((pending.left, pending.pid, pending.new), (Duration::from_millis(1500), 7, Some(9)));
        assert_eq!(pending.before, [XdpProgram { mode: Mode::Native, id: Some(3) }]);
        assert_eq!(pending.pin, Some(PathBuf::from("/p q")));
        for bad in ["left\n", "left x\n", "before native\n", "before fast 3\n", "what ever\n"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
