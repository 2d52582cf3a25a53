//! Where an interface goes that leaves its network namespace, also when it runs no program that would tell it there.

use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::socket::DATAGRAM;
use super::{Interface, NetNs, RouteSocket};
use crate::error::{Error, Result};
use crate::netlink::{self, Body, Destination, InterfaceInfo, InterfaceRef};
use crate::sys;

/// What the kernel tells, as long as this lives, of an interface that leaves its network namespace.
#[derive(Debug)]
pub(super) struct Departures {
    /// Where messages wait until somebody asks.
    socket: OwnedFd,
    /// The last of them.
    last: Option<Departure>,
}

/// An interface has left.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    /// What it was like.
    link: InterfaceInfo,
    /// Where it went; none if it was removed.
    to: Option<Destination>,
}

impl Departures {
    /// Watches the interface.
    pub(super) fn of(interface: &Interface) -> Result<Self> {
        let failed = |call| move |errno: sys::Errno| Error::os(call, "NETLINK_ROUTE", errno.0);
        let socket = interface.socket().in_its_namespace(sys::netlink::open_route)?;
        let socket = socket.map_err(failed("socket(2)"))?;
        let index = interface.index().get();
        sys::netlink::hear_of_departure(socket.as_fd(), index).map_err(failed("setsockopt"))?;
        Ok(Self { socket, last: None })
    }

    /// The last departure, if the interface has ever left.
    pub(super) fn last(&mut self) -> Option<&Departure> {
        let mut buffer = vec![0; DATAGRAM];
        // What cannot be read tells nothing.
        while let Ok(Some(len)) = sys::netlink::receive_waiting(self.socket.as_fd(), &mut buffer) {
            let replies = netlink::read_replies(buffer.get(..len).unwrap_or_default()).unwrap_or_default();
            for reply in replies {
                if let Body::Gone(link, to) = reply.body {
                    self.last = Some(Departure { link, to });
                }
            }
        }
        self.last.as_ref()
    }
}

impl Departure {
    /// Whether the interface was removed, and is in no other namespace.
    pub(super) fn is_removal(&self) -> bool {
        self.to.is_none()
    }

    /// The interface where it has gone, from the namespace of `home`. None if that namespace cannot be found, and if
    /// the interface has left it again.
    pub(super) fn find(&self, home: &RouteSocket) -> Option<(Interface, InterfaceInfo)> {
        let to = self.to?;
        let (namespaces, _) = NetNs::all().ok()?;
        let is_it =
            |namespace: &&NetNs| matches!(home.netns_id(namespace), Ok(Some(id)) if id == to.netns_id);
        let namespace = namespaces.iter().find(is_it)?;
        let socket = Arc::new(RouteSocket::open(Some(namespace)).ok()?);
        let interface = Interface::find(&InterfaceRef::Index(NonZeroU32::new(to.index)?), socket).ok()?;
        let there = interface.look().ok()?;
        // Its number goes to another when it has left.
        let has_address = there.address.iter().any(|&byte| byte != 0) && there.address == self.link.address;
        (has_address || there.name == self.link.name).then_some((interface, there))
    }
}
