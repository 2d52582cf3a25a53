//! An interface that was looked up once, and the socket that reaches it.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::netns::NetNs;
use super::socket::RouteSocket;
use crate::error::{Error, ErrorKind, Result, quote};
use crate::netlink::{InterfaceInfo, InterfaceRef};

/// A network interface in its network namespace. Copies are cheap and share one socket.
#[derive(Clone, Debug)]
pub struct Interface {
    index: NonZeroU32,
    name: String,
    socket: Arc<RouteSocket>,
}

impl Interface {
    /// The interface called `name` in the network namespace of the calling thread.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(&InterfaceRef::named(name)?, None)
    }

    /// The interface `link`, in `namespace` or in that of the calling thread.
    pub fn open(link: &InterfaceRef, namespace: Option<&NetNs>) -> Result<Self> {
        Self::find(link, Arc::new(RouteSocket::open(namespace)?))
    }

    /// The interface `link` in the network namespace of `socket`.
    pub fn find(link: &InterfaceRef, socket: Arc<RouteSocket>) -> Result<Self> {
        let found = socket.interface(link)?;
        Self::seen(&found, socket)
    }

    /// The interface that was `seen` by `socket`.
    pub(crate) fn seen(seen: &InterfaceInfo, socket: Arc<RouteSocket>) -> Result<Self> {
        let index = NonZeroU32::new(seen.index).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "the kernel told of an interface with index 0")
        })?;
        Ok(Self { index, name: seen.name.clone(), socket })
    }

    /// Its number in its network namespace.
    pub fn index(&self) -> NonZeroU32 {
        self.index
    }

    /// The name that it had when it was looked up.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is like now, and which XDP programs run on it.
    pub fn look(&self) -> Result<InterfaceInfo> {
        self.socket.interface(&InterfaceRef::Index(self.index))
    }

    pub(super) fn socket(&self) -> &RouteSocket {
        &self.socket
    }
}

/// Its name in backquotes.
impl Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quote(&self.name).fmt(f)
    }
}
