//! Making a blocklist and taking it away: its maps and programs, and where they are pinned.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use loader::diagnosis::why_rejected;
use loader::features::{Answer, Feature};
use loader::insn::Insn;
use loader::kernel::{permissions, probe};
use loader::map::{Map, MapParams, UpdateFlags};
use loader::netlink::InterfaceInfo;
use loader::pin::HeldBpffs;
use loader::program::Program;
use loader::uapi::bpf::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_MOV64_IMM, ObjName};
use loader::{Context as _, Error, ErrorKind, Loader, Object, Plan, RefusalKind, Result, pin, quote};
use nix::libc::{EINVAL, ENOENT};

use crate::layout::{Bucket, Cell as _, Config, Heads, LAYOUT, Line, RuleValue, SETS, SLOTS, flags};
use crate::store::{Blocklist, Lock, Shape, shapes};

/// The packet program, built in. Of its own name, so that the linker can lay it where no other command looks.
static OBJECT: [u8; include_bytes!("blocklist.o").len()] = *include_bytes!("blocklist.o");

/// `offsetof(struct xdp_md, ingress_ifindex)` (`include/uapi/linux/bpf.h`, 4.16).
const INGRESS_IFINDEX: i16 = 12;
/// Opcode of a read of 32 bits from memory: `BPF_LDX | BPF_MEM | BPF_W`.
const BPF_LDX_MEM_W: u8 = 0x61;

/// The function that is the packet program.
const PROGRAM: &str = "xdp_blocklist";

/// In how many buffers packets may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// In one.
    One,
    /// In several (frags), which a large MTU needs (5.18).
    Several,
}

impl Buffers {
    /// The pin of the program for such packets.
    fn pin_name(self) -> &'static str {
        match self {
            Self::One => PROGRAM,
            Self::Several => "xdp_blocklist_frags",
        }
    }
}

/// Rules that there is room for unless somebody says otherwise.
pub const DEFAULT_MAX_RULES: u32 = 100_000;
/// The most rules that room can be asked for.
pub const LARGEST_MAX_RULES: u32 = 1 << 26;

/// So many rules may lie in each other: the longest prefix has 128 bits.
const DEEPEST: u32 = 128;

/// Entries of the maps that grow, beside those for the rules that are promised. With them a full list is replaced by
/// another in parts ([`schedule`](crate::schedule)): one for each rule that waits until all within it have come, as
/// many for a load that repairs one that was killed, and some so that the parts are few.
fn reserve(max_rules: u32) -> u32 {
    max_rules / 64 + 2 * DEEPEST
}

/// With room for more rules than this, `heads` are fine. Coarse ones and the filter, which takes two bytes a rule, fit
/// no cache any more then, and one line of bits saves an unlisted packet most of what it would wait for. For smaller
/// lists that line would only be one more.
const MOST_COARSE: u32 = 1 << 18;

/// What the program is told of a blocklist with room for so many rules: how large the tables are that are never larger.
fn config_for(max_rules: u32) -> Config {
    Config {
        flags: if max_rules > MOST_COARSE { flags::FINE_HEADS } else { 0 },
        // Half of a bucket's keys are in use when all rules are there, and few buckets get more than they can hold.
        buckets: max_rules.div_ceil(8).max(64),
        lines: max_rules.div_ceil(32).max(64),
        layout: LAYOUT,
        ..Config::default()
    }
}

/// Bytes of kernel memory that a blocklist takes at once, whatever it holds. Beside these a rule of IPv6, or of IPv4
/// up to /16, takes some 100 bytes when it is added.
pub fn memory(max_rules: u32) -> u64 {
    let config = config_for(max_rules);
    let slots = u64::from(config.buckets) * u64::from(SLOTS);
    // A hash has a bucket of 16 bytes for each entry, rounded up (`htab_map_alloc()` in `kernel/bpf/hashtab.c`); there
    // are two.
    let entries = u64::from(max_rules) + u64::from(reserve(max_rules));
    let hashes = 2 * 16 * entries.next_power_of_two();
    u64::from(config.buckets) * Bucket::SIZE as u64
        + slots * (RuleValue::HITS + RuleValue::MARK) as u64
        + u64::from(config.lines) * Line::SIZE as u64
        + u64::from(config.head_lines()) * Heads::SIZE as u64
        + hashes
}

impl Blocklist {
    /// The one under the bpffs that is mounted at `bpffs`.
    pub fn under(bpffs: impl AsRef<Path>) -> Self {
        let bpffs = bpffs.as_ref();
        Self::at(bpffs.join("xdpload").join("block"))
    }

    /// Whether there is a blocklist that was made to its end.
    pub fn is_whole(&self) -> Result<bool> {
        if !self.exists()? {
            return Ok(false);
        }
        let value = self.open(&shapes::CONFIG)?.lookup(&0_u32.to_ne_bytes())?;
        let config = value.as_ref().and_then(|value| value.single().map(Config::decode));
        match config {
            Some(config) if config.lines != 0 => self.check_layout(&config).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Makes the directory, which is to be in `bpffs`, and waits until nobody else writes.
    ///
    /// After a failure no directory is left that was made here.
    pub fn prepare(&self, bpffs: &HeldBpffs) -> Result<Lock> {
        let root = bpffs.root();
        let below = self.dir().strip_prefix(root).map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not below {}", self.shown(), quote(&root.to_string_lossy())),
            )
        })?;
        let mut made = Vec::new();
        loop {
            match make_directories(root, below, &mut made).and_then(|()| self.lock()) {
                // Somebody who was refused, or who purges, has removed one of them just now.
                Err(error) if error.kind() == ErrorKind::NotFound && root.is_dir() => {}
                locked => {
                    return locked
                        .inspect_err(|_| made.iter().rev().for_each(|dir| drop(pin::remove_dir(dir))));
                }
            }
        }
    }

    /// Makes the maps, with room for so many rules, and loads the program. Whoever calls has the lock, and has seen
    /// that there is no whole one.
    ///
    /// What a process that was killed has left is removed first. After a failure nothing is left.
    pub fn make(&self, max_rules: u32, lock: &Lock) -> Result<()> {
        self.expect_own(lock)?;
        let _turn = lock.turn()?;
        if max_rules == 0 || max_rules > LARGEST_MAX_RULES {
            let message =
                format!("there cannot be room for {max_rules} rules: from 1 to {LARGEST_MAX_RULES}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.remove_pins()?;
        let made = self.load_new(max_rules).and_then(|()| self.fill(max_rules));
        if made.is_err() {
            // The failure that is told is the first one.
            let _ = self.remove_pins();
        }
        made
    }

    /// Makes the maps, and loads the program for packets in one buffer.
    fn load_new(&self, max_rules: u32) -> Result<()> {
        self.load(Buffers::One, &|map| Ok(entries_of(map, max_rules)))?;
        self.make_map(&shapes::SETS, SETS, 0)?;
        self.make_map(&shapes::HOLDS, max_rules + reserve(max_rules), BPF_F_NO_PREALLOC)
    }

    /// Loads the program for packets in several buffers, with the maps that are there.
    fn load_frags(&self) -> Result<()> {
        self.load(Buffers::Several, &|name| {
            let shape = shapes::ALL.iter().find(|shape| shape.name == name);
            shape.map(|shape| self.open(shape).map(|map| map.max_entries())).transpose()
        })
    }

    /// Loads the program, with the maps that are pinned or new ones of so many entries, and pins it.
    fn load(&self, buffers: Buffers, entries: &dyn Fn(&str) -> Result<Option<u32>>) -> Result<()> {
        let mut object = Object::parse(&OBJECT).context(|| "reading the built-in blocklist.o")?;
        for program in &mut object.programs {
            program.kind.frags = buffers == Buffers::Several;
        }
        let loaded = loop {
            match self.plan(&object, entries)?.execute(|_| {}) {
                Err(refusal) if leave_out_refused(&mut object, &refusal) => {}
                answer => break answer,
            }
        };
        let loaded = loaded.map_err(explain_refusal).context(|| "loading the blocklist's program")?;
        loaded.program(PROGRAM)?.pin(self.path(buffers.pin_name()))
    }

    fn plan(&self, object: &Object, entries: &dyn Fn(&str) -> Result<Option<u32>>) -> Result<Plan> {
        let mut loader = Loader::new(object).bpffs(self.bpffs()).program(PROGRAM);
        for map in &object.maps {
            loader = loader.pin_map(&map.name, self.path(&map.name));
            if let Some(entries) = entries(&map.name)? {
                loader = loader.max_entries(&map.name, entries);
            }
        }
        let loader = loader.ask_kernel()?;
        loader.plan(&loader.running_kernel()?)
    }

    /// A map that no program uses.
    fn make_map(&self, shape: &Shape, max_entries: u32, flags: u32) -> Result<()> {
        let value_size = u32::try_from(shape.value_size).expect("a value of ours is small");
        let mut params = MapParams::new(shape.name, shape.map_type, shape.key_size, value_size, max_entries);
        (params.flags, params.name) = (flags, Some(ObjName::from_symbol(shape.name)));
        let map = Map::create(&params)?;
        map.pin(self.path(shape.name))
    }

    /// Tells the program how large its tables are. From then on the blocklist is whole.
    fn fill(&self, max_rules: u32) -> Result<()> {
        let config = Config { seed: random()?, ..config_for(max_rules) };
        let mut bytes = Vec::with_capacity(Config::SIZE);
        config.encode(&mut bytes);
        self.open(&shapes::CONFIG)?.update(&0_u32.to_ne_bytes(), &bytes, UpdateFlags::ANY)
    }

    /// The path of the program for an interface; the one for several buffers is loaded when it is first asked for.
    pub fn program(&self, buffers: Buffers, lock: &Lock) -> Result<PathBuf> {
        self.expect_own(lock)?;
        let path = self.path(buffers.pin_name());
        match (pin::get(&path)?, buffers) {
            (None, Buffers::One) => return Err(self.lacks(PROGRAM)),
            (None, Buffers::Several) => self.load_frags()?,
            _ => {}
        }
        Ok(path)
    }

    /// The ids of the programs; none where there is no blocklist.
    pub fn program_ids(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for buffers in [Buffers::One, Buffers::Several] {
            if let Some(fd) = pin::get(self.path(buffers.pin_name()))? {
                ids.push(Program::from_fd(fd)?.info()?.id);
            }
        }
        Ok(ids)
    }

    /// Whether program `id` uses the maps that are pinned here, as far as this process may ask: then it is of this
    /// blocklist, even if its own pin is gone.
    pub fn is_used_by(&self, id: u32) -> bool {
        let Ok(info) = Program::from_id(id).and_then(|program| program.info()) else { return false };
        let id_of = |shape: &Shape| {
            let fd = pin::get(self.path(shape.name)).ok()??;
            Map::with_info(fd).ok().map(|(_, map)| map.id)
        };
        shapes::ALL.iter().filter_map(id_of).any(|id| info.map_ids.contains(&id))
    }

    /// Removes all pins and the directory: rules, counters and exceptions are gone once no interface has the program.
    pub fn purge(&self, lock: &Lock) -> Result<()> {
        match self.expect_own(lock) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            owned => owned?,
        }
        let _turn = lock.turn()?;
        self.remove_pins()?;
        or_gone(pin::remove_dir(self.dir()))
    }

    fn remove_pins(&self) -> Result<()> {
        or_gone(pin::unpin_all(self.dir()).map(drop))
    }
}

/// The answer about a directory, which may be gone: who collects what serves nobody removes empty ones, too.
fn or_gone(answer: Result<()>) -> Result<()> {
    answer.or_else(|error| if error.errno() == Some(ENOENT) { Ok(()) } else { Err(error) })
}

/// Makes the directories of the path `below` that are not there, and tells which.
fn make_directories(root: &Path, below: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let mut dir = root.to_path_buf();
    for part in below {
        dir.push(part);
        if pin::create_dir(&dir)? {
            made.push(dir.clone());
        }
    }
    Ok(())
}

/// How the blocklist runs on an interface: the id of its program there, and the mode.
pub fn running_on(link: &InterfaceInfo, ids: &[u32]) -> Option<loader::netlink::XdpProgram> {
    let is_ours = |id: Option<u32>| id.is_some_and(|id| ids.contains(&id));
    link.xdp.programs().iter().copied().find(|program| is_ours(program.id))
}

/// Whether program `id` is the program of a blocklist, here or elsewhere, by its name; no if it may not be asked.
pub fn is_blocklist(id: u32) -> bool {
    let info = Program::from_id(id).and_then(|program| program.info());
    info.is_ok_and(|info| info.name == PROGRAM)
}

/// How many entries a map of the object is to have.
fn entries_of(name: &str, max_rules: u32) -> Option<u32> {
    let config = config_for(max_rules);
    match name {
        "buckets" => Some(config.buckets),
        "hits" | "marks" => Some(config.buckets * SLOTS),
        "filter" => Some(config.lines),
        "heads" => Some(config.head_lines()),
        "allow4" | "allow6" => Some(max_rules),
        "wide" => Some(max_rules + reserve(max_rules)),
        // Before Linux 6.13 a full trie refuses to change what it has. With one more place it is never full.
        "trie6" => Some(max_rules + reserve(max_rules) + 1),
        _ => None,
    }
}

/// Leaves out what the kernel is too old for, if that is why it has refused the object.
fn leave_out_refused(object: &mut Object, refusal: &Error) -> bool {
    let mut mapped = object.maps.iter_mut().filter(|map| map.shape.flags & BPF_F_MMAPABLE != 0).peekable();
    if refusal.errno() == Some(EINVAL) && mapped.peek().is_some() {
        // They are only asked for because their values then begin with a cache line, and because many rules are
        // written and listed faster.
        let is_cause = probe(Feature::MmapableArrays) == Answer::No;
        if is_cause {
            mapped.for_each(|map| map.shape.flags &= !BPF_F_MMAPABLE);
        }
        return is_cause;
    }
    let at = refusal.explanation().filter(|explanation| explanation.kind == RefusalKind::ContextAccess);
    let at = at.and_then(|explanation| explanation.at.as_ref()).map(|insn| insn.index);
    at.is_some_and(|at| leave_out_interface(object, at))
}

/// Has the program count the packets of all interfaces as those of one with index 0, if instruction `at` is the one
/// that asks for the index.
fn leave_out_interface(object: &mut Object, at: usize) -> bool {
    let insns = object.programs.iter_mut().map(|program| &mut program.function.insns);
    let mut asking = insns.filter_map(|insns| insns.get_mut(at)).filter(|insn| is_ingress_ifindex(**insn));
    let Some(insn) = asking.next() else { return false };
    *insn = Insn { code: BPF_MOV64_IMM, dst: insn.dst, src: 0, off: 0, imm: 0 };
    true
}

/// Whether this reads `ctx->ingress_ifindex`, if its source is the context.
fn is_ingress_ifindex(insn: Insn) -> bool {
    insn.code == BPF_LDX_MEM_W && insn.off == INGRESS_IFINDEX
}

/// What the verifier says of an instruction is no help where a privilege is missing: that alone is the cause. Who has
/// them all has met a kernel that the program was not made for, and has no source to repair.
fn explain_refusal(error: Error) -> Error {
    if error.kind() != ErrorKind::VerifierRejected {
        return error;
    }
    let words = error.verifier_log().unwrap_or_default();
    let is_barred = permissions().capabilities.and_then(|held| why_rejected(words, held)).is_some();
    let Some(rule) = error.rule().filter(|_| is_barred) else {
        return error.with_help(
            "the program is a built-in one: please report this, with that log and the kernel's version",
        );
    };
    let told = Error::new(ErrorKind::PermissionDenied, error.headline().to_string()).with_rule(rule);
    let told = error.errno().into_iter().fold(told, Error::with_errno);
    error.help().into_iter().fold(told, Error::with_help)
}

/// A number that nobody outside can know.
fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| Error::io("read(2)", "/dev/urandom", &error))?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{COARSE_HEAD_LINES, HEADS, Set};
    use loader::btf::Member;
    use loader::object::MapSpec;
    use loader::uapi::btf::BtfKind;

    /// What the program and this library call the same is the same.
    #[test]
    fn the_layout_is_that_of_the_object() {
        let object = Object::parse(&OBJECT).unwrap();
        let in_object = |name: &str| object.map(name).map(|map: &MapSpec| map.shape);
        for shape in shapes::ALL.iter().filter(|shape| !["sets", "holds"].contains(&shape.name)) {
            let found = in_object(shape.name).unwrap_or_else(|| panic!("there is no map {}", shape.name));
            let value_size = u32::try_from(shape.value_size).unwrap();
            assert_eq!(
                (found.map_type, found.key_size, found.value_size),
                (shape.map_type, shape.key_size, value_size),
                "{}",
                shape.name
            );
        }
        assert_eq!(in_object("heads").unwrap().max_entries, COARSE_HEAD_LINES);
        assert_eq!(object.maps.len() + 2, shapes::ALL.len());
        assert_eq!(HEADS as usize * 4, Heads::SIZE);
        assert_eq!(Set::SIZE, 56);
    }

    /// The places of fields that `layout` reads and writes are those that the program was compiled with.
    #[test]
    fn the_fields_are_where_the_object_has_them() {
        let object = Object::parse(&OBJECT).unwrap();
        let btf = object.btf.as_ref().expect("the object describes its types");
        for (name, fields) in [
            (
                "block_config",
                "flags@0 lengths4@4 lengths6@8 buckets@12 lines@16 seed@20 zero@24 layout@28 default_end@32 \
                 stale@40",
            ),
            ("block_bucket", "header@0 keys@4"),
            ("block_hits", "packets@0 bytes@8"),
            ("block_mark", "end@0 sets@4"),
            ("block_rule", "hits@0 mark@16"),
            ("block_trie_rule", "rule@0 next@24 padding@28"),
            ("block_wide_key", "family_length@0 address@4"),
            ("block_prefix4", "length@0 address@4"),
            ("block_prefix6", "length@0 address@4"),
            ("block_heads", "words@0"),
            ("block_line", "words@0"),
            ("block_counters", "ifindex@0 padding@4 verdicts@8"),
        ] {
            let id = btf.find(BtfKind::STRUCT, name).unwrap_or_else(|| panic!("there is no struct {name}"));
            let field = |member: &Member| {
                format!("{}@{}", btf.text(member.name).expect("it has a name"), member.bit_offset / 8)
            };
            let found: Vec<_> = btf.members(id).unwrap().iter().map(field).collect();
            assert_eq!(found.join(" "), fields, "{name}");
        }
    }

    /// Of all reads at that offset, it is the one from the context.
    #[test]
    fn the_index_of_the_interface_is_left_out_where_the_verifier_refuses_it() {
        let mut object = Object::parse(&OBJECT).unwrap();
        let insns = |object: &Object| object.programs[0].function.insns.clone();
        let before = insns(&object);
        let at = before.iter().position(|insn| is_ingress_ifindex(*insn)).expect("the program asks for it");
        assert!(before[..at].iter().all(|insn| !insn.is_call()), "it does so before anything else");
        assert!(!leave_out_interface(&mut object, at + 1));
        assert!(!leave_out_interface(&mut object, before.len()));
        assert_eq!(insns(&object), before);

        assert!(leave_out_interface(&mut object, at));
        let zero = Insn { code: BPF_MOV64_IMM, dst: before[at].dst, src: 0, off: 0, imm: 0 };
        let after = [&before[..at], &[zero], &before[at + 1..]].concat();
        assert_eq!(insns(&object), after);
        assert!(!leave_out_interface(&mut object, at), "once");
    }

    #[test]
    fn memory_grows_with_the_rules() {
        // A gateway of 64 MB has room for 100,000.
        assert!(memory(100_000) < 12_000_000, "{}", memory(100_000));
        assert!(memory(1_000_000) > 4 * memory(100_000));
        // A large list has two words of heads for each /19 instead of one for each /16.
        assert_eq!(memory(MOST_COARSE + 8) - memory(MOST_COARSE), (65_536 - 4_096) * 64 + 64 + 16 * 24 + 64);
        // The entries beside the rules have heads as well, and those of a power of two need twice as many.
        assert_eq!(memory(65_536) - memory(64_000), 192 * 64 + 192 * 16 * 24 + 48 * 64 + 2 * 16 * 65_536);
    }
}
