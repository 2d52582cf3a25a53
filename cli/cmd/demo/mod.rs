//! `xdpload demo`: five packets at a time between two private network namespaces, told step by step.

mod messages;
mod objects;
mod packets;
mod table;
mod topology;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use clap::Args;
use loader::attach::{self, Interface};
use loader::load::Loaded;
use loader::map::UpdateFlags;
use loader::netlink::InterfaceRef;
use loader::object::Object;
use loader::pin::BPFFS_ROOT;
use loader::plan::{Loader, Target};
use loader::{Context as _, Result};

use self::objects::Objects;
use self::packets::{Expect, PACKETS, Receiver};
use self::table::{Row, Table};
use self::topology::{GATEWAY, INTERFACE, LISTED, OTHER, Sockets};
use crate::output;

const INTRODUCTION: &str = "\
Two private network namespaces stand for two machines, and a veth pair for the cable between them.
No real interface is touched, and nothing is left behind.

    sender      192.0.2.77  veth0 ============== veth0  192.0.2.1      gateway
                192.0.2.78                         ^
                                                   programs are attached here

The sender sends five UDP packets at a time, and the gateway counts those that arrive.
A line with `$` does the same by hand, with ping instead of UDP packets. On a real gateway, leave out
`--netns gateway`.";

const BUILT_IN: &str = "\
xdp_drop.o and blacklist.o are built in; in the source tree they are in bpf-src/prebuilt, compiled from
bpf-src/xdp_drop.bpf.c and bpf-src/blacklist.bpf.c.";

/// By hand it takes iproute2; the demo does without.
const CABLE: &[&str] = &[
    "ip netns add sender",
    "ip netns add gateway",
    "ip link add veth0 netns sender type veth peer name veth0 netns gateway",
    "ip -n sender address add 192.0.2.77/24 dev veth0",
    "ip -n sender address add 192.0.2.78/24 dev veth0",
    "ip -n gateway address add 192.0.2.1/24 dev veth0",
    "ip -n sender link set veth0 up",
    "ip -n gateway link set veth0 up",
];

const CLEAN_UP: &[&str] = &["ip netns delete sender", "ip netns delete gateway"];

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Demo {
    /// Load xdp_drop.o and blacklist.o from this directory instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) objects: Option<PathBuf>,
}

pub(crate) fn run(args: &Demo) -> Result<()> {
    let objects = Objects::open(args.objects.as_deref())?;
    let sockets = topology::build()?;
    output::print(&INTRODUCTION)?;
    if args.objects.is_none() {
        output::print(&BUILT_IN)?;
    }
    let mut demo = Play { receiver: Receiver::open(&sockets)?, sockets: &sockets, table: Table::default() };
    demo.play(&objects)?;
    output::print(&format!("\n{}", demo.table))?;
    demo.table.check()
}

/// The demo under way.
struct Play<'s> {
    sockets: &'s Sockets,
    receiver: Receiver<'s>,
    table: Table,
}

impl Play<'_> {
    fn play(&mut self, objects: &Objects) -> Result<()> {
        step("1. Connect the two machines. Packets pass", CABLE)?;
        self.send_from_listed("before", Expect::All)?;
        self.drop_everything(objects)?;
        self.drop_one_source(objects)?;
        let command = format!("xdpload detach {INTERFACE} --netns gateway");
        step("5. Detach the program. Packets pass again", &[&command])?;
        attach::detach(&Interface::named(INTERFACE)?, None, BPFFS_ROOT)?;
        self.send_from_listed("detached", Expect::All)?;
        step("6. Delete the namespaces; those of the demo end with it", CLEAN_UP)
    }

    fn drop_everything(&mut self, objects: &Objects) -> Result<()> {
        let object = &objects.xdp_drop;
        let command = format!("xdpload attach {INTERFACE} {} --netns gateway", object.path);
        step("2. Attach a program of two instructions that drops every packet", &[&command])?;
        attach(&object.object, false)?;
        self.send_from_listed("xdp_drop attached to veth0", Expect::None)
    }

    fn drop_one_source(&mut self, objects: &Objects) -> Result<()> {
        let object = &objects.blacklist;
        let command = format!("xdpload attach {INTERFACE} {} --replace --netns gateway", object.path);
        let title = "3. Replace it by the blacklist, in one step. It lists nothing yet, so packets pass";
        step(title, &[&command])?;
        let loaded = attach(&object.object, true)?;
        self.send_from_listed("blacklist attached, nothing listed", Expect::All)?;

        let command = format!("xdpload map set {INTERFACE}:blacklist {LISTED} 1 --netns gateway");
        step("4. List one source in the program's map; packets from the other one pass", &[&command])?;
        let map = loaded.map("blacklist").context(|| object.path.clone())?;
        // What counts is that the key is there; the value is for the user.
        map.update(&LISTED.octets(), &1_u32.to_ne_bytes(), UpdateFlags::ANY)?;
        self.send_from_listed("blacklist attached, source 192.0.2.77 listed", Expect::None)?;
        self.send("", OTHER, &self.sockets.other, Expect::All)
    }

    fn send_from_listed(&mut self, state: &'static str, expect: Expect) -> Result<()> {
        self.send(state, LISTED, &self.sockets.listed, expect)
    }

    /// Sends a round of packets and tells of it.
    fn send(
        &mut self,
        state: &'static str,
        source: Ipv4Addr,
        socket: &UdpSocket,
        expect: Expect,
    ) -> Result<()> {
        by_hand(&format!("ip netns exec sender ping -c {PACKETS} -I {source} {GATEWAY}"))?;
        let arrived = self.receiver.count(socket, expect)?;
        output::print(&format!("     {arrived} of {PACKETS} packets from {source} arrived"))?;
        self.table.0.push(Row { state, source, expect, arrived });
        Ok(())
    }
}

/// Tells what is done next, and how to do it by hand.
fn step(title: &str, commands: &[&str]) -> Result<()> {
    output::print(&format!("\n{title}."))?;
    commands.iter().try_for_each(|command| by_hand(command))
}

fn by_hand(command: &str) -> Result<()> {
    output::print(&format!("   $ {command}"))
}

/// Loads the object's program and attaches it, as `xdpload attach` does.
fn attach(object: &Object, replace: bool) -> Result<Loaded> {
    let target = Target::new(InterfaceRef::named(INTERFACE)?).replace(replace);
    Loader::new(object).attach_to(target).plan_for_running_kernel()?.execute(|_| ())
}
