//! The conversation with the kernel's routing family: one request, its replies.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::netns::NetNs;
use crate::error::{Cause, Error, ErrorKind, Remedy, Result, quote};
use crate::features::Answer;
use crate::kernel::{Privilege, explain_refusal, explain_socket};
use crate::netlink::{self, Body, InterfaceInfo, InterfaceRef, Mode, Reply, XdpChange};
use crate::sys::{self, Errno};

/// Room for any datagram. The kernel fills 32 KiB of a dump (`netlink_recvmsg` in `net/netlink/af_netlink.c`), or as
/// much as one link takes; the longest part of a link, its alternative names, is one attribute of at most 64 KiB.
pub(super) const DATAGRAM: usize = 128 * 1024;
/// Room for the answer to nearly every other request: one interface has about 1,100 bytes, a refusal fewer.
const FIRST_DATAGRAM: usize = 4 * 1024;
/// How often a list of interfaces is asked for anew because some came or went meanwhile.
const MAX_DUMPS: usize = 16;

const GETLINK: &str = "netlink(RTM_GETLINK)";
/// The call that attaches and detaches, as messages write it.
pub(crate) const SETLINK: &str = "netlink(RTM_SETLINK)";
const GETNSID: &str = "netlink(RTM_GETNSID)";
const GETROUTE: &str = "netlink(RTM_GETROUTE)";
const ALL: &str = "all interfaces";
const ALL_ROUTES: &str = "all routes";

/// A netlink socket in one network namespace.
///
/// Each request is one sendto(2) and one recvfrom(2), a list of interfaces some more of the latter. Threads may share
/// the socket: a request and its replies are one turn.
pub struct RouteSocket {
    fd: OwnedFd,
    /// The namespace as an error names it, empty for the one of this process.
    place: String,
    /// The namespace itself, where it is not the one of the thread that opened the socket.
    namespace: Option<NetNs>,
    turn: Mutex<Turn>,
}

/// How the kernel answered a change. That it did not answer is neither.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is made, and the kernel or the driver may have a remark on it.
    Done { warning: Option<String> },
    /// Nothing has changed.
    Refused(Error),
}

impl Outcome {
    pub(super) fn into_result(self) -> Result<Option<String>> {
        match self {
            Self::Done { warning } => Ok(warning),
            Self::Refused(error) => Err(error),
        }
    }
}

#[derive(Default)]
struct Turn {
    /// The number of the last request. Replies to an older one, left by a failed turn, are told by it.
    sequence: u32,
    /// Has room for the datagrams that were expected so far.
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// The namespace, where it is not the one of the thread that opened the socket.
    pub(super) fn namespace(&self) -> Option<&NetNs> {
        self.namespace.as_ref()
    }

    /// Opens a socket in `namespace`, or in that of the calling thread.
    pub fn open(namespace: Option<&NetNs>) -> Result<Self> {
        let (opened, place) = match namespace {
            None => (sys::netlink::open_route(), String::new()),
            Some(namespace) => (namespace.run(sys::netlink::open_route)?, format!(" in {namespace}")),
        };
        let fd = opened.map_err(|errno| explain_socket(Error::os("socket(2)", "NETLINK_ROUTE", errno.0)))?;
        match sys::netlink::enable_extended_acks(fd.as_fd()) {
            // A kernel before 4.12 refuses without a sentence, and that is all.
            Ok(()) | Err(Errno(libc::ENOPROTOOPT)) => {
                let namespace = namespace.map(NetNs::try_clone).transpose()?;
                Ok(Self { namespace, ..Self::over(fd, place) })
            }
            Err(errno) => Err(Error::os("setsockopt", "NETLINK_EXT_ACK", errno.0)),
        }
    }

    fn over(fd: OwnedFd, place: String) -> Self {
        Self { fd, place, namespace: None, turn: Mutex::default() }
    }

    /// Runs `call` in the namespace of this socket: on a thread of its own where that is another one.
    pub(super) fn in_its_namespace<T: Send>(&self, call: impl FnOnce() -> T + Send) -> Result<T> {
        match &self.namespace {
            Some(namespace) => namespace.run(call),
            None => Ok(call()),
        }
    }

    /// Whether the socket is in `namespace`. No cookie is needed for that, which kernels before 5.14 do not tell.
    pub fn is_in(&self, namespace: &NetNs) -> Result<bool> {
        let own = match &self.namespace {
            Some(own) => own.identity()?,
            None => NetNs::at("/proc/thread-self/ns/net")?.identity()?,
        };
        Ok(own == namespace.identity()?)
    }

    /// The number of the socket's network namespace, which no other ever has (5.14).
    pub fn netns_cookie(&self) -> Result<u64> {
        sys::netlink::netns_cookie(self.fd.as_fd())
            .map_err(|errno| Error::os("getsockopt", "SO_NETNS_COOKIE", errno.0))
    }

    /// The same, and 0 where the kernel cannot tell.
    pub(super) fn netns_cookie_or_zero(&self) -> Result<u64> {
        match self.netns_cookie() {
            Err(error) if error.errno() == Some(libc::ENOPROTOOPT) => Ok(0),
            answer => answer,
        }
    }

    /// Looks at one interface. One that does not exist is of kind [`NotFound`](ErrorKind::NotFound).
    ///
    /// Digits that name one interface and are the number of another are an error of kind
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn interface(&self, which: &InterfaceRef) -> Result<InterfaceInfo> {
        let (first, second) = which.questions();
        let Some(second) = second else { return self.one_interface(&first) };
        let is_missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        match (self.one_interface(&first), self.one_interface(&second)) {
            (Ok(named), Ok(numbered)) if named.index != numbered.index => {
                Err(self.two_interfaces(&named, &numbered))
            }
            (Ok(found), Ok(_)) => Ok(found),
            (Ok(found), Err(error)) | (Err(error), Ok(found)) if is_missing(&error) => Ok(found),
            (Err(first), Err(second)) if is_missing(&first) && is_missing(&second) => {
                Err(self.no_such_interface(which))
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    fn one_interface(&self, which: &InterfaceRef) -> Result<InterfaceInfo> {
        let object = format!("interface {which}");
        let ask =
            |room| self.exchange(GETLINK, &object, room, &|sequence| netlink::get_link(which, sequence));
        let mut replies = match ask(FIRST_DATAGRAM) {
            // It did not fit: an interface with very many names.
            Err(error) if error.kind() == ErrorKind::Unsupported => ask(DATAGRAM)?,
            replies => replies?,
        };
        match replies.pop().map(|reply| reply.body) {
            Some(Body::Link(link)) => Ok(link),
            Some(Body::Error { errno, .. }) if errno == libc::ENODEV => Err(self.no_such_interface(which)),
            body => Err(refusal(GETLINK, &object, body)),
        }
    }

    /// Looks at the interface `index` of the namespace that this one has the number `netns_id` for. It takes
    /// CAP_NET_ADMIN there (4.15).
    pub fn interface_elsewhere(&self, netns_id: i32, index: u32) -> Result<InterfaceInfo> {
        let object = format!("interface {index} of namespace {netns_id}");
        let request = |sequence| netlink::get_link_elsewhere(netns_id, index, sequence);
        let mut replies = self.exchange(GETLINK, &object, DATAGRAM, &request)?;
        match replies.pop().map(|reply| reply.body) {
            Some(Body::Link(link)) => Ok(link),
            body => Err(refusal(GETLINK, &object, body)),
        }
    }

    /// The number that this namespace has for `other`; none if it has none, which is so unless the kernel had to name
    /// it here.
    pub(super) fn netns_id(&self, other: &NetNs) -> Result<Option<i32>> {
        let request = |sequence| netlink::get_netns_id(other.fd().as_raw_fd(), sequence);
        let mut replies = self.exchange(GETNSID, other, FIRST_DATAGRAM, &request)?;
        match replies.pop().map(|reply| reply.body) {
            Some(Body::NetnsId(id)) => Ok(id),
            body => Err(refusal(GETNSID, other, body)),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Looks at all interfaces of the namespace, in the kernel's order.
    pub fn interfaces(&self) -> Result<Vec<InterfaceInfo>> {
        for _ in 0..MAX_DUMPS {
            let mut replies = self.exchange(GETLINK, &ALL, DATAGRAM, &netlink::dump_links)?;
            let interrupted = replies.iter().any(|reply| reply.interrupted);
            match replies.pop().map(|reply| reply.body) {
                Some(Body::Done) if interrupted => {}
                Some(Body::Done) => return Ok(replies.into_iter().filter_map(into_link).collect()),
                body => return Err(refusal(GETLINK, &ALL, body)),
            }
        }
        Err(Error::new(
            ErrorKind::Os,
            format!("the interfaces changed during each of {MAX_DUMPS} looks at them"),
        ))
    }

    /// The gateways of all routes of the namespace that lead everywhere, of whichever tables and families; each once.
    pub fn default_gateways(&self) -> Result<Vec<IpAddr>> {
        let mut replies = self.exchange(GETROUTE, &ALL_ROUTES, DATAGRAM, &netlink::dump_routes)?;
        match replies.pop().map(|reply| reply.body) {
            Some(Body::Done) => {}
            body => return Err(refusal(GETROUTE, &ALL_ROUTES, body)),
        }
        let mut found: Vec<IpAddr> = Vec::new();
        for reply in replies {
            let Body::Gateways(gateways) = reply.body else { continue };
            for gateway in gateways {
                if !found.contains(&gateway) {
                    found.push(gateway);
                }
            }
        }
        Ok(found)
    }

    /// Makes `change` to the interface `index`.
    ///
    /// An error is a conversation that broke off: the request may have been carried out, and only the answer was lost.
    pub(crate) fn set_xdp(&self, index: u32, mode: Mode, change: XdpChange) -> Result<Outcome> {
        let body = self.change(index, |sequence| netlink::set_xdp(index, mode, change, sequence))?;
        Ok(match outcome(index, mode, body) {
            Outcome::Refused(error) => {
                let errno = error.errno().unwrap_or_default();
                let cause = netlink::cause_of_refusal(change, errno, error.kernel_message());
                Outcome::Refused(cause.into_iter().fold(error, Error::with_cause))
            }
            done @ Outcome::Done { .. } => done,
        })
    }

    /// Takes off whatever runs on the interface `index` in `mode`, unless a `bpf_link` holds it.
    pub(super) fn detach_uncompared(&self, index: u32, mode: Mode) -> Result<Outcome> {
        let body = self.change(index, |sequence| netlink::detach_uncompared(index, mode, sequence))?;
        Ok(outcome(index, mode, body))
    }

    /// As [`set_xdp`](Self::set_xdp); what was attached or replaced is put back if no answer came. A detach may have
    /// happened.
    pub(super) fn set_xdp_or_put_back(&self, index: u32, mode: Mode, change: XdpChange) -> Result<Outcome> {
        let make = |change| self.set_xdp(index, mode, change);
        make(change).inspect_err(|_| {
            // The conversation's own error is what the caller is told.
            let _ = change.undo().map(make);
        })
    }

    /// Whether the kernel knows `XDP_FLAGS_REPLACE` (5.7), by which it compares the program that is there with the
    /// expected one. Any interface will do; nothing is changed there. It takes CAP_NET_ADMIN to be told.
    pub fn can_compare(&self, index: u32) -> Result<Answer> {
        let body = self.change(index, |sequence| netlink::probe_compare(index, sequence))?;
        Ok(match body {
            Some(Body::Error { errno: 0, .. }) => Answer::Yes,
            Some(Body::Error { errno: libc::EINVAL, .. }) => Answer::No,
            _ => Answer::Unknown,
        })
    }

    /// Fails with [`Unsupported`](ErrorKind::Unsupported) if the kernel does not know `XDP_FLAGS_REPLACE`.
    ///
    /// Worth a look after a refusal that [`is_unexplained`](netlink::is_unexplained). A kernel before 5.7 cannot
    /// compare the program that is there with the expected one, and a change is never made without the comparison.
    pub(crate) fn refuse_if_it_cannot_compare(&self, index: u32) -> Result<()> {
        if self.can_compare(index)? != Answer::No {
            return Ok(());
        }
        let message = "this kernel cannot compare the program that is there with the expected one \
                       (XDP_FLAGS_REPLACE, Linux 5.7)";
        Err(Error::new(ErrorKind::Unsupported, message)
            .with_cause(Cause::CannotCompare)
            .with_help(("a program that is there can be detached without that: ", Remedy::DetachById)))
    }

    fn change(&self, index: u32, request: impl Fn(u32) -> Vec<u8>) -> Result<Option<Body>> {
        let mut replies = self.exchange(SETLINK, &interface(index), FIRST_DATAGRAM, &request)?;
        Ok(replies.pop().map(|reply| reply.body))
    }

    /// Sends a request and receives up to its last reply. Datagrams of more than `room` bytes are an error.
    fn exchange(
        &self,
        call: &str,
        object: &dyn Display,
        room: usize,
        request: &dyn Fn(u32) -> Vec<u8>,
    ) -> Result<Vec<Reply>> {
        let failed = |syscall| move |errno: Errno| Error::os(syscall, format!("{call} of {object}"), errno.0);
        let Turn { sequence, buffer } = &mut *self.take_turn();
        *sequence = sequence.wrapping_add(1);
        if buffer.len() < room {
            *buffer = vec![0; room];
        }
        sys::netlink::send_request(self.fd.as_fd(), &request(*sequence)).map_err(failed("sendto"))?;

        let mut replies = Vec::new();
        loop {
            let len = sys::netlink::receive(self.fd.as_fd(), buffer).map_err(failed("recvfrom"))?;
            let datagram = buffer.get(..len).ok_or_else(|| cut_short(call, object, len, buffer.len()))?;
            let received = netlink::read_replies(datagram).map_err(|error| error.context(call))?;
            // A router may have a million routes of which none is of interest.
            let is_wanted = |reply: &Reply| !(reply.more && matches!(reply.body, Body::Other(_)));
            let own = received.into_iter().filter(|reply| reply.sequence == *sequence);
            replies.extend(own.filter(is_wanted));
            if replies.last().is_some_and(|reply| !reply.more) {
                return Ok(replies);
            }
        }
    }

    /// A thread that panicked in its turn has left nothing half-made: the next turn has a new sequence number.
    fn take_turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn two_interfaces(&self, named: &InterfaceInfo, numbered: &InterfaceInfo) -> Error {
        let (name, other) = (quote(&named.name), quote(&numbered.name));
        let message = format!(
            "{0} may be the interface with that name, or {other}, which has that index{1}",
            numbered.index, self.place
        );
        let help = format!("name:{0} is {name}, index:{0} is {other}", numbered.index);
        Error::new(ErrorKind::InvalidInput, message).with_help(help)
    }

    fn no_such_interface(&self, which: &InterfaceRef) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no interface {which}{}", self.place))
    }
}

impl fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSocket")
            .field("fd", &self.fd)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// How the kernel has answered a change in `mode` of the interface `index`.
fn outcome(index: u32, mode: Mode, body: Option<Body>) -> Outcome {
    if let Some(Body::Ack { warning }) = body {
        return Outcome::Done { warning };
    }
    let error = refusal(SETLINK, &interface(index), body);
    let errno = error.errno().unwrap_or_default();
    let error = explain_refusal(error, &[Privilege::Interface]);
    Outcome::Refused(match netlink::help_for_refusal(mode, errno, error.kernel_message()) {
        Some(help) if error.help().is_none() => error.with_help(help),
        _ => error,
    })
}

fn into_link(reply: Reply) -> Option<InterfaceInfo> {
    match reply.body {
        Body::Link(link) => Some(link),
        _ => None,
    }
}

fn interface(index: u32) -> String {
    format!("interface {index}")
}

/// The error for a reply that is not the one that was asked for.
fn refusal(call: &str, object: &dyn Display, body: Option<Body>) -> Error {
    match body {
        Some(Body::Error { errno, message }) => {
            Error::os(call, object, errno).with_kernel_message(message.unwrap_or_default())
        }
        _ => Error::new(ErrorKind::Malformed, format!("{call} for {object} was answered by something else")),
    }
}

fn cut_short(call: &str, object: &dyn Display, len: usize, room: usize) -> Error {
    let message =
        format!("{call} for {object} was answered by {len} bytes, and {room} is the most that is taken");
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

    use super::*;
    use crate::uapi::if_link::{NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR, RTM_NEWLINK};

    /// A kernel that answers each request with the next list of datagrams.
    fn fake_kernel(answers: Vec<Vec<Vec<u8>>>) -> RouteSocket {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        thread::spawn(move || {
            for answer in answers {
                recv(theirs.as_raw_fd(), &mut [0; 256], MsgFlags::empty()).unwrap();
                for datagram in answer {
                    send(theirs.as_raw_fd(), &datagram, MsgFlags::empty()).unwrap();
                }
            }
        });
        RouteSocket::over(ours, " in a test".to_owned())
    }

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes();
        [&len, &kind.to_ne_bytes()[..], &flags.to_ne_bytes(), &sequence.to_ne_bytes(), &[0; 4], payload]
            .concat()
    }

    fn link(index: u32, flags: u16, sequence: u32) -> Vec<u8> {
        message(RTM_NEWLINK, flags, sequence, &[&[0; 4], &index.to_ne_bytes()[..], &[0; 8]].concat())
    }

    fn done(flags: u16, sequence: u32) -> Vec<u8> {
        message(NLMSG_DONE, NLM_F_MULTI | flags, sequence, &[0; 4])
    }

    fn refused(errno: i32, sequence: u32) -> Vec<u8> {
        message(
            NLMSG_ERROR,
            0,
            sequence,
            &[&(-errno).to_ne_bytes()[..], &16u32.to_ne_bytes(), &[0; 12]].concat(),
        )
    }

    #[test]
    fn replies_to_an_older_request_are_passed_over() {
        let socket = fake_kernel(vec![vec![link(7, 0, 99), [link(8, 0, 98), link(3, 0, 1)].concat()]]);
        assert_eq!(socket.interface(&"index:3".parse().unwrap()).unwrap().index, 3);
    }

    #[test]
    fn digits_are_a_name_before_they_are_an_index() {
        let digits: InterfaceRef = "3".parse().unwrap();
        let link = |index, sequence| vec![link(index, 0, sequence)];
        let none = |sequence| vec![refused(libc::ENODEV, sequence)];
        let look = |answers| fake_kernel(answers).interface(&digits);
        assert_eq!(look(vec![link(7, 1), none(2)]).unwrap().index, 7);
        assert_eq!(look(vec![none(1), link(3, 2)]).unwrap().index, 3);
        assert_eq!(look(vec![link(3, 1), link(3, 2)]).unwrap().index, 3);
        let error = look(vec![link(7, 1), link(3, 2)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().ends_with("which has that index in a test"), "{error}");
        assert!(error.help().is_some_and(|help| help.to_string().contains("index:3")));
        let missing = look(vec![none(1), none(2)]).unwrap_err();
        assert_eq!(missing.to_string(), "there is no interface named `3` or with index 3 in a test");
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_its_namespace() {
        let socket = fake_kernel(vec![vec![refused(libc::ENODEV, 1)], vec![refused(libc::ENOMEM, 2)]]);
        let missing = socket.interface(&InterfaceRef::named("eth9").unwrap()).unwrap_err();
        assert_eq!(missing.to_string(), "there is no interface named `eth9` in a test");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let other = socket.interface(&InterfaceRef::named("eth9").unwrap()).unwrap_err();
        assert!(
            other.to_string().starts_with("netlink(RTM_GETLINK) for interface named `eth9` failed: "),
            "{other}"
        );
    }

    #[test]
    fn an_interrupted_list_is_asked_for_again() {
        let multi = NLM_F_MULTI;
        let socket = fake_kernel(vec![
            vec![link(1, multi | NLM_F_DUMP_INTR, 1), done(0, 1)],
            vec![link(1, multi, 2), done(NLM_F_DUMP_INTR, 2)],
            vec![[link(1, multi, 3), link(2, multi, 3)].concat(), link(4, multi, 3), done(0, 3)],
        ]);
        let indices = socket.interfaces().unwrap().iter().map(|link| link.index).collect::<Vec<_>>();
        assert_eq!(indices, [1, 2, 4]);

        let restless = (1..=16).map(|sequence| vec![done(NLM_F_DUMP_INTR, sequence)]).collect();
        let error = fake_kernel(restless).interfaces().unwrap_err();
        assert_eq!(error.to_string(), "the interfaces changed during each of 16 looks at them");
    }

    #[test]
    fn an_interface_with_a_long_answer_is_asked_for_again() {
        let long = [0; FIRST_DATAGRAM];
        let link = message(RTM_NEWLINK, 0, 2, &[&[0; 4], &3u32.to_ne_bytes()[..], &[0; 8]].concat());
        let socket =
            fake_kernel(vec![vec![[&message(RTM_NEWLINK, 0, 1, &[])[..], &long].concat()], vec![link]]);
        assert_eq!(socket.interface(&"index:3".parse().unwrap()).unwrap().index, 3);
    }

    #[test]
    fn an_answer_that_does_not_fit_is_an_error() {
        let socket = fake_kernel(vec![vec![vec![0; DATAGRAM + 1]]]);
        let error = socket.interfaces().unwrap_err();
        assert!(error.to_string().contains("was answered by 131073 bytes"), "{error}");
    }

    fn outcome(socket: &RouteSocket, change: XdpChange) -> Result<Option<String>> {
        socket.set_xdp(3, Mode::Native, change).and_then(Outcome::into_result)
    }

    #[test]
    fn a_change_whose_answer_is_lost_is_undone() {
        let (lost, asked) = (vec![vec![1]], XdpChange::Attach { new: 5 });
        let socket = fake_kernel(vec![lost, vec![refused(0, 2)], vec![refused(0, 3)]]);
        let error = socket.set_xdp_or_put_back(3, Mode::Native, asked).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        // The second answer went to the undoing, so the next change gets the third.
        assert_eq!(outcome(&socket, asked).unwrap(), None);
    }

    #[test]
    fn a_kernel_that_cannot_compare_is_told_from_one_that_can() {
        let einval = fake_kernel(vec![vec![refused(libc::EINVAL, 1)]]);
        let error = einval.refuse_if_it_cannot_compare(3).unwrap_err();
        assert_eq!((error.kind(), error.cause()), (ErrorKind::Unsupported, Some(Cause::CannotCompare)));
        assert!(error.to_string().contains("Linux 5.7"), "{error}");

        let taken = fake_kernel(vec![vec![refused(0, 1)]]);
        taken.refuse_if_it_cannot_compare(3).unwrap();
    }
}
