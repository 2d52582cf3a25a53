//! A pair of virtual Ethernet interfaces: `near0` in the sandbox, where programs are attached, and `far0` in another
//! network namespace, where the packets come from.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::command::{command, run};
use crate::objects::object;
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::{Far, Sandbox};

/// The interface in the sandbox.
pub(crate) const NEAR: &str = "near0";
/// The interface in the far namespace.
pub(crate) const FAR: &str = "far0";

/// The addresses of `near0`.
pub(crate) const NEAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The addresses of `far0`: its own, and two senders for the blacklist to tell apart.
pub(crate) const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub(crate) const BLOCKED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 78);

/// How long an interface may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// The pair, up and ready to carry packets.
pub(crate) struct Veth {
    /// The far side.
    pub(crate) far: Far,
    near_end: End,
    far_end: End,
}

/// One interface of the pair.
struct End {
    index: u32,
    mac: Mac,
}

/// A sandbox with a veth pair in it, on a machine that has `tools`.
pub(crate) fn pair(tools: &[&str]) -> Result<(Sandbox, Veth), Missing> {
    tools.iter().try_for_each(|name| tool(name).map(drop))?;
    tool("ip")?;
    kernel((4, 19), "native XDP on veth")?;
    let sandbox = Sandbox::new()?;
    let veth = Veth::new(&sandbox);
    Ok((sandbox, veth))
}

impl Veth {
    /// Makes the pair between `sandbox` and a new namespace called `far`, and waits until both ends are up.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let far = sandbox.far("far");
        let peer_namespace = far.namespace().as_raw_fd();
        netlink(async |handle| {
            handle.link().add(LinkVeth::new(NEAR, FAR).build()).execute().await?;
            let move_peer = LinkUnspec::new_with_name(FAR).setns_by_fd(peer_namespace).build();
            handle.link().set(move_peer).execute().await
        });
        bring_up("lo");
        let near_addresses = [NEAR_V4.into(), NEAR_V6.into()];
        let far_addresses = [FAR_V4.into(), FAR_V6.into(), BLOCKED.into(), OTHER.into()];
        let near_end = End::set_up(NEAR, &near_addresses);
        let far_end = far.run(|| End::set_up(FAR, &far_addresses));
        near_end.know_neighbours(&far_addresses, far_end.mac);
        far.run(|| far_end.know_neighbours(&near_addresses, near_end.mac));
        near_end.wait_until_ready(NEAR_V6);
        far.run(|| far_end.wait_until_ready(FAR_V6));
        Self { far, near_end, far_end }
    }

    /// Takes IPv6 from the far end: then nothing but the test sends, and counters count what it sends.
    pub(crate) fn without_ipv6(&self) {
        let path = format!("/proc/sys/net/ipv6/conf/{FAR}/disable_ipv6");
        self.far.run(|| fs::write(path, "1")).expect("the namespace is the test's own");
    }

    /// The index of `near0`.
    pub(crate) fn near_index(&self) -> u32 {
        self.near_end.index
    }

    /// The index of `far0`.
    pub(crate) fn far_index(&self) -> u32 {
        self.far_end.index
    }

    /// The hardware address of `near0`.
    pub(crate) fn near_mac(&self) -> Mac {
        self.near_end.mac
    }

    /// Gives both ends the same MTU. In native mode veth takes a program only on an MTU that fits one page.
    pub(crate) fn set_mtu(&self, mtu: u32) {
        let set = |index| {
            netlink(async |handle| {
                let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
                handle.link().set(message).execute().await
            });
        };
        set(self.near_end.index);
        self.far.run(|| set(self.far_end.index));
    }

    /// Lets `far0` take frames that a native program on `near0` sends back: veth wants a program on that side too
    /// (drivers/net/veth.c, `veth_xdp_xmit`; without one it has no receive ring).
    pub(crate) fn let_far_receive_from_xdp(&self) {
        let object = object("xdp_pass");
        self.far.run(|| {
            run(&mut command("ip", &["link", "set", FAR, "xdpdrv", "obj", &object, "sec", "xdp"])).ok();
        });
    }
}

impl End {
    /// Brings up the interface `name` of the calling thread's namespace and gives it `addresses`.
    fn set_up(name: &str, addresses: &[IpAddr]) -> Self {
        let link = bring_up(name);
        let index = link.header.index;
        netlink(async |handle| {
            for &address in addresses {
                add_address(&handle, index, address).await?;
            }
            Ok(())
        });
        let mac = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(mac) => Mac::try_from(mac.as_slice()).ok(),
            _ => None,
        });
        Self { index, mac: mac.expect("veth has a hardware address") }
    }

    /// Enters `addresses` by hand, so that no ARP or neighbour discovery stands between a packet and its arrival.
    fn know_neighbours(&self, addresses: &[IpAddr], mac: Mac) {
        netlink(async |handle| {
            for &address in addresses {
                let entry = handle.neighbours().add(self.index, address).link_layer_address(&mac);
                entry.state(NeighbourState::Permanent).execute().await?;
            }
            Ok(())
        });
    }

    /// Waits until the kernel sends what it is given and takes what is for `address`; until then it drops both.
    fn wait_until_ready(&self, address: Ipv6Addr) {
        let up = LinkAttribute::OperState(State::Up);
        wait_for("the interface to come up", || {
            netlink(async |handle| link(&handle, self.index).await).attributes.contains(&up)
        });
        // A kernel thread enters the route to an IPv6 address, some time after the address has been added.
        let route = format!("{:032x} 80 ", u128::from(address));
        wait_for("the IPv6 address to work", || {
            fs::read_to_string("/proc/thread-self/net/ipv6_route").is_ok_and(|table| table.contains(&route))
        });
    }
}

/// Waits until `is_so`, which the kernel gives no handy notice of.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Brings up the interface `name` and returns what the kernel knows about it.
fn bring_up(name: &str) -> LinkMessage {
    netlink(async |handle| {
        handle.link().set(LinkMessageBuilder::<LinkUnspec>::new().name(name).up().build()).execute().await?;
        handle.link().get().match_name(name.to_owned()).execute().try_next().await.map(Option::unwrap)
    })
}

async fn link(handle: &Handle, index: u32) -> Result<LinkMessage, Error> {
    handle.link().get().match_index(index).execute().try_next().await.map(Option::unwrap)
}

async fn add_address(handle: &Handle, index: u32, address: IpAddr) -> Result<(), Error> {
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    let mut request = handle.address().add(index, address, prefix);
    // Without the second that duplicate address detection takes.
    request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    request.execute().await
}

/// Does `work` over a netlink socket of the calling thread's namespace.
fn netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T, Error>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let answer = runtime.expect("a runtime needs no privilege").block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().expect("a netlink socket needs no privilege");
        tokio::spawn(connection);
        work(handle).await
    });
    answer.unwrap_or_else(|error| panic!("netlink: {error}"))
}
