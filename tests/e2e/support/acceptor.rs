//! Reads what strace saw along a plan's document: it must be one of the ways through the plan, call for call.
//!
//! Each traced call must be the one that comes next, with every argument that the plan knows; what the plan gives a
//! name in angle brackets must be the same wherever the name stands. The result says how the plan goes on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::peers::text;
use crate::strace::Call;
use crate::traced::{Answer, answer, arguments, attached_id, command, mask, sequence, split};

/// The system calls that plans are made of, and their relatives that no plan has: for strace's `-e trace=`.
pub(crate) const TRACED: &str = "bpf,mount,umount2,fsopen,fsmount,move_mount,mkdir,mkdirat,rmdir,unlink,unlinkat,\
    rename,renameat,renameat2,statfs,fstatfs,socket,setsockopt,getsockopt,bind,sendto,sendmsg,\
    recvfrom,recvmsg,openat,flock,setns,unshare,prlimit64,mmap";

/// How a plan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a refusal, or when all of it is done.
    AsTheKernelSays,
    /// With a load that the verifier refuses in words, which strace does not show.
    ByTheVerifier,
    /// After the first call of this command, which succeeds, but what it tells stands in the way.
    After(&'static str),
}

/// Asserts that `calls` are a way through `plan`, the document of `xdpload plan --json`.
#[track_caller]
pub(crate) fn accept(plan: &Value, calls: &[Call], ending: Ending) {
    let calls: Vec<_> = calls.iter().filter(|call| !is_of_the_start(plan, call)).collect();
    // What is in the way of a plan that has ended is looked at in another conversation.
    let mut sockets = 0;
    let is_of_the_plan = |call: &&&Call| {
        sockets += u32::from(call.name == "socket");
        sockets < 2
    };
    let calls: Vec<_> = calls.iter().take_while(is_of_the_plan).copied().collect();
    let done = Walk::new(&calls, ending).plan(plan);
    if let Err(difference) = done {
        let seen: Vec<_> = calls.iter().map(|call| show(call)).collect();
        panic!("{difference}\nstrace saw:\n{}\nthe plan is:\n{plan:#}", seen.join("\n"));
    }
}

fn show(call: &Call) -> String {
    let words: String = call.arguments.chars().take(300).collect();
    format!("{}({words}) = {}", call.name, call.result)
}

/// Whether `call` is none of the plan's kind: made by every program at its start, or to read a file that is not the
/// plan's.
fn is_of_the_start(plan: &Value, call: &Call) -> bool {
    match call.name.as_str() {
        // Rust's runtime asks how large the stack of the main thread may become.
        "prlimit64" => ["0, RLIMIT_STACK, NULL, ", "0, RLIMIT_MEMLOCK, NULL, "]
            .iter()
            .any(|look| call.arguments.starts_with(look)),
        // What is looked at when a privilege seems to be missing; the refused command once more without content shows
        // whether a filter refuses it.
        "statfs" => call.arguments.starts_with("\"/sys\", "),
        "bpf" => call.arguments.ends_with(", NULL, 0"),
        // Memory of the program's own, and its libraries.
        "mmap" => !call.arguments.contains("MAP_SHARED"),
        // The kernel's types are read before the plan is made, if they are where the kernel has put them.
        "fstatfs" => call.arguments.contains("f_type=SYSFS_MAGIC"),
        // A directory is opened for its lock; to be listed it is opened with other flags.
        "openat" if call.arguments.contains("O_DIRECTORY") => call.arguments.contains("O_NONBLOCK"),
        "openat" => {
            let path = split(&call.arguments)[1];
            let calls = list(&plan["steps"]).iter().flat_map(|step| list(&step["calls"]));
            !calls.filter(|call| call["name"] == "openat").any(|call| call["arguments"]["pathname"] == path)
        }
        _ => false,
    }
}

/// Whether `call` changes nothing but what the program itself holds open.
fn is_look(call: &Call) -> bool {
    match call.name.as_str() {
        "socket" | "setsockopt" | "recvfrom" | "setns" | "statfs" | "fstatfs" => true,
        "openat" => call.arguments.contains("O_RDONLY"),
        "sendto" => command(call).as_deref() != Some("RTM_SETLINK"),
        "bpf" => command(call).is_some_and(|name| name.contains("_GET")),
        _ => false,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What fits no way through the plan.
type Difference = String;

/// Alternatives that look for the reason or put things back, and after which the plan fails all the same.
const REFUSAL_STANDS: [&str; 3] =
    ["if refused with EINVAL and no reason", "if no answer comes", "without CAP_SYS_ADMIN"];

/// Alternatives that matter only where the kernel has taken the object's BTF.
const OF_TYPES: [&str; 2] =
    ["if func_info or line_info is refused", "if the types of the entries are refused"];

/// How some steps of the plan went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Went {
    Well,
    /// The plan fails here.
    Wrong,
}

/// The place in the trace, and what it has told so far.
struct Walk<'c> {
    calls: &'c [&'c Call],
    ending: Ending,
    /// What the names in angle brackets stand for.
    names: BTreeMap<String, String>,
    /// The number of the last request over netlink.
    sequence: Option<u32>,
    is_occupied: bool,
    /// Whether a call was refused, or what it told stood in the way.
    was_refused: bool,
    /// Whether the kernel has taken the object's BTF.
    has_btf: bool,
    /// Whether the kernel has the features that were probed.
    features: BTreeMap<String, bool>,
    undo: Vec<&'c Value>,
}

impl<'c> Walk<'c> {
    fn new(calls: &'c [&'c Call], ending: Ending) -> Self {
        let (names, features) = (BTreeMap::new(), BTreeMap::new());
        Self {
            calls,
            ending,
            names,
            sequence: None,
            is_occupied: false,
            was_refused: false,
            has_btf: false,
            features,
            undo: Vec::new(),
        }
    }

    fn plan(&mut self, plan: &'c Value) -> Result<(), Difference> {
        if self.steps(list(&plan["steps"]))? == Went::Wrong {
            while let Some(undo) = self.undo.pop() {
                self.call(undo)?;
            }
        }
        match self.calls {
            [] => Ok(()),
            // What has refused is looked for afterwards.
            looks if self.was_refused && looks.iter().all(|call| is_look(call)) => Ok(()),
            [next, ..] => Err(format!("the plan is at its end before {}", show(next))),
        }
    }

    fn steps(&mut self, steps: &'c [Value]) -> Result<Went, Difference> {
        for step in steps {
            if self.step(step)? == Went::Wrong {
                return Ok(Went::Wrong);
            }
        }
        Ok(Went::Well)
    }

    fn step(&mut self, step: &'c Value) -> Result<Went, Difference> {
        if !self.applies(step) {
            return Ok(Went::Well);
        }
        let calls = list(&step["calls"]);
        let is_repeated = step["repeated"].is_string();
        let mut refusal = if is_repeated { self.repeated(calls)? } else { self.calls(calls)? };
        while refusal.as_ref().is_some_and(|refusal| self.comes_again(step, refusal)) {
            refusal = self.calls(calls)?;
        }
        let ends = refusal.is_none() && self.ends_after(calls);
        self.was_refused |= refusal.is_some() || ends;
        match refusal {
            None if ends => Ok(Went::Wrong),
            None => {
                // The last is undone first, but each by its calls in their order.
                self.undo.extend(step.get("undo").into_iter().flat_map(list).rev());
                self.steps(list(&step["then"]))
            }
            Some(refusal) => match self.other_way(step, &refusal)? {
                Some(other) => {
                    let went = self.steps(list(&other["steps"]))?;
                    let refusal_stands = REFUSAL_STANDS.contains(&text(&other["on"]).as_str());
                    Ok(if refusal_stands { Went::Wrong } else { went })
                }
                None => Ok(Went::Wrong),
            },
        }
    }

    /// Whether the step is taken.
    fn applies(&self, step: &Value) -> bool {
        match step["only_if"].as_str() {
            None => true,
            Some("occupied") => self.is_occupied,
            Some("vacant") => !self.is_occupied,
            // What maps are like, the trace does not show, and only one interface is kept in mind.
            Some("first_vacant" | "new" | "copied" | "outgrown") => self.comes_next(step),
            Some("made") => self.names.contains_key(&format!("<map {}>", text(&step["map"]))),
            Some(other) => panic!("no plan has the condition {other}"),
        }
    }

    /// Whether the first call of the step is the one that comes next.
    fn comes_next(&self, step: &Value) -> bool {
        self.calls.first().is_some_and(|next| self.compare(&step["calls"][0], next).is_ok())
    }

    /// Takes the calls of a step that is made for each of many things, as often as they come. What their names stand
    /// for is another thing each time. ENOENT means that there are no more, or that one is gone.
    fn repeated(&mut self, calls: &[Value]) -> Result<Option<Refusal<'c>>, Difference> {
        let names = self.names.clone();
        let mut results = BTreeMap::new();
        let mut allowed = vec![0];
        let mut refusal = None;
        while refusal.is_none() {
            let Some(next) = self.calls.first() else { break };
            let fits = |at: &usize| calls.get(*at).is_some_and(|call| self.compare(call, next).is_ok());
            let Some(at) = allowed.iter().copied().find(fits) else { break };
            refusal = self.call(&calls[at])?.filter(|refusal| !is_refusal_with(&refusal.answer, &["ENOENT"]));
            let result = calls[at]["result"].as_str().and_then(|name| self.names.get_key_value(name));
            results.extend(result.map(|(name, value)| (name.clone(), value.clone())));
            self.names = names.clone().into_iter().chain(results.clone()).collect();
            allowed = vec![0, at, at + 1];
        }
        self.names = names;
        Ok(refusal)
    }

    /// Whether the plan ends after these calls, for the one time that it does.
    fn ends_after(&mut self, calls: &[Value]) -> bool {
        let Ending::After(command) = self.ending else { return false };
        let ends = calls.iter().any(|call| call["command"] == command);
        if ends {
            self.ending = Ending::AsTheKernelSays;
        }
        ends
    }

    /// Whether the same call follows, as the plan has it after some refusals.
    fn comes_again(&self, step: &Value, refusal: &Refusal<'_>) -> bool {
        let Answer::Refused(errno) = &refusal.answer else { return false };
        let is_meant = list(&step["again_on"]).iter().any(|again| again == errno);
        let same = |next: &&Call| self.compare(&step["calls"][0], next).is_ok();
        is_meant && self.calls.first().is_some_and(same)
    }

    /// The first alternative that fits the refusal.
    fn other_way(&mut self, step: &'c Value, refusal: &Refusal<'_>) -> Result<Option<&'c Value>, Difference> {
        if refusal.is_verdict {
            return Ok(None);
        }
        for other in list(&step["otherwise"]) {
            let on = text(&other["on"]);
            if OF_TYPES.contains(&&*on) && !self.has_btf {
                continue;
            }
            if fits(&on, &refusal.answer, refusal.call) && self.is_lacking(other)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether the kernel lacks what the alternative is for; probed where the plan does not know yet.
    fn is_lacking(&mut self, other: &'c Value) -> Result<bool, Difference> {
        let Some(feature) = other["lacking"].as_str() else { return Ok(true) };
        if let Some(has) = self.features.get(feature) {
            return Ok(!has);
        }
        let has = match self.calls(list(&other["probe"]))?.map(|refusal| refusal.answer) {
            None => Some(true),
            Some(Answer::Refused(errno)) if errno == "EINVAL" => Some(false),
            Some(Answer::Refused(errno)) if errno == "E2BIG" && !one_errno_means_no(feature) => Some(false),
            Some(_) => None,
        };
        self.features.extend(has.map(|has| (feature.to_owned(), has)));
        Ok(has == Some(false))
    }

    /// Makes the calls of a step until one is refused.
    fn calls(&mut self, calls: &[Value]) -> Result<Option<Refusal<'c>>, Difference> {
        if let [first, _, second, _] = calls {
            if [first, second].iter().all(|call| call["command"] == "RTM_GETLINK") {
                return self.either_link(calls);
            }
        }
        for call in calls {
            if let Some(refusal) = self.call(call)? {
                return Ok(Some(refusal));
            }
            // What a plan does with each pin of a directory, whose pins it cannot know.
            let next = |walk: &Self| walk.calls.first().is_some_and(|next| walk.compare(call, next).is_ok());
            while call.to_string().contains("<each pin>") && next(self) {
                if let Some(refusal) = self.call(call)? {
                    return Ok(Some(refusal));
                }
            }
        }
        Ok(None)
    }

    /// Asks for an interface by a name, and by an index. It is enough that there is one of them.
    fn either_link(&mut self, calls: &[Value]) -> Result<Option<Refusal<'c>>, Difference> {
        let (by_name, by_index) = (self.calls(&calls[..2])?, self.calls(&calls[2..])?);
        let is_missing =
            |refusal: &Refusal<'_>| matches!(&refusal.answer, Answer::Refused(errno) if errno == "ENODEV");
        Ok(match (by_name, by_index) {
            (None, None) => None,
            (None, Some(refusal)) | (Some(refusal), None) if is_missing(&refusal) => None,
            (Some(refusal), _) | (None, Some(refusal)) => Some(refusal),
        })
    }

    /// Takes the next traced call, which must be the `planned` one.
    fn call(&mut self, planned: &Value) -> Result<Option<Refusal<'c>>, Difference> {
        let Some((next, rest)) = self.calls.split_first() else {
            return Err(format!("the trace is at its end before {planned}"));
        };
        let names = self
            .compare(planned, next)
            .map_err(|what| format!("{what} differs:\n  planned {planned}\n  made    {}", show(next)))?;
        self.calls = rest;
        self.names.extend(names);
        if is_reply_to_an_older_request(next, self.sequence) {
            return self.call(planned);
        }
        self.sequence = sequence(next).filter(|_| next.name == "sendto").or(self.sequence);
        let answer = answer(next);
        let Answer::Done(result) = answer else {
            let is_verdict = self.ending == Ending::ByTheVerifier && planned["arguments"]["log_level"] == "1";
            return Ok(Some(Refusal { call: next, answer, is_verdict }));
        };
        if let Some(name) = planned["result"].as_str() {
            self.has_btf |= name == "<BTF>";
            self.names.insert(name.to_owned(), result);
        }
        if let Some(id) = attached_id(next) {
            self.is_occupied = true;
            self.names.insert("<id of the attached program>".to_owned(), id.to_string());
        }
        Ok(None)
    }

    /// Compares a call with the planned one. Gives what new names stand for, or else what differs.
    fn compare(&self, planned: &Value, made: &Call) -> Result<BTreeMap<String, String>, Difference> {
        if planned["name"] != *made.name {
            return Err("the system call".to_owned());
        }
        if planned["command"].as_str() != command(made).as_deref() {
            return Err("the command".to_owned());
        }
        let mut names = BTreeMap::new();
        if !is_spelled_out(made) {
            return Ok(names);
        }
        let mut found = arguments(made);
        for (name, value) in planned["arguments"].as_object().into_iter().flatten() {
            if !self.has_btf && speaks_of_types(name) {
                continue;
            }
            let found = found.remove(name).ok_or_else(|| format!("`{name}`, which is not there,"))?;
            if !self.is_same(&mut names, name, &text(value), &found) {
                return Err(format!("`{name}`"));
            }
        }
        if made.name == "bpf" {
            let unplanned = found.iter().find(|(name, value)| !is_left_open(name) && !is_nothing(value));
            unplanned.map_or(Ok(()), |(name, _)| Err(format!("`{name}`, which is not in the plan,")))?;
        }
        if command(made).as_deref() == Some("BPF_BTF_LOAD") {
            let types = arguments(made).remove("btf").unwrap_or_default();
            if bytes(&text(&planned["data"])) != unescape(&types) {
                return Err("the types".to_owned());
            }
        }
        if made.name == "sendto" && mask(&bytes(&text(&planned["data"]))) != mask(&made.message) {
            return Err("the message".to_owned());
        }
        Ok(names)
    }

    fn is_same(&self, names: &mut BTreeMap<String, String>, name: &str, planned: &str, found: &str) -> bool {
        if let Some(least) = planned.strip_suffix(" or more") {
            return number(found) >= number(least);
        }
        if planned.contains('|') {
            return are_same_flags(planned, found);
        }
        if planned.starts_with('"') && planned.contains('<') {
            return is_filled_in(planned, found);
        }
        if planned.starts_with('<') {
            // strace knows only the interfaces of its own namespace by name.
            if found.starts_with("if_nametoindex(") || is_memory(name, found) {
                return true;
            }
            let known = self.names.get(planned).or(names.get(planned)).cloned();
            names.insert(planned.to_owned(), found.to_owned());
            return known.is_none_or(|known| known == found);
        }
        // An older strace prints the number of what it has no name for.
        let of_newer = [
            ("0x25 /*", "BPF_XDP"),
            ("0x20 /*", "BPF_F_XDP_HAS_FRAGS"),
            ("0x20 /*", "BPF_MAP_TYPE_CGRP_STORAGE"),
            ("0x21 /*", "BPF_MAP_TYPE_ARENA"),
            ("0x40 /*", "BPF_F_XDP_DEV_BOUND_ONLY"),
            ("0x2", "XDP_FLAGS_SKB_MODE"),
            ("0x4", "XDP_FLAGS_DRV_MODE"),
            ("0x8", "XDP_FLAGS_HW_MODE"),
        ];
        let is_newer = of_newer.iter().any(|(start, name)| found.starts_with(start) && *name == planned);
        // An address is easier to read in hexadecimal.
        let is_same_number = name == "map_extra" && number(planned) == number(found);
        planned == found || is_newer || is_same_number || is_memory(name, found)
    }
}

/// Whether `found` is the text `planned` with some word in the place of each name in angle brackets.
fn is_filled_in(planned: &str, found: &str) -> bool {
    let mut parts = planned.split('<');
    let start = parts.next().unwrap_or_default();
    let Some(mut found) = found.strip_prefix(start) else { return false };
    for part in parts {
        let (_, after) = part.split_once('>').expect("a name in angle brackets has both");
        // The next place of what follows the name; a quote at the end is at the end.
        let Some(at) = found.find(after).filter(|&at| at > 0 && !found[..at].contains('/')) else {
            return false;
        };
        found = &found[at + after.len()..];
    }
    found.is_empty()
}

/// Whether the reply is to a request before the last one, whose answer was lost: it is passed over.
fn is_reply_to_an_older_request(call: &Call, last: Option<u32>) -> bool {
    call.name == "recvfrom" && sequence(call).is_some_and(|sequence| Some(sequence) < last)
}

/// A call that did not succeed.
struct Refusal<'c> {
    call: &'c Call,
    answer: Answer,
    /// The verifier has said why, so that no other way leads around it.
    is_verdict: bool,
}

/// Whether an alternative for `on` is meant by `answer`, which came with `reply`.
fn fits(on: &str, answer: &Answer, reply: &Call) -> bool {
    match (on, answer) {
        ("if it is not bpffs", answer) => *answer == Answer::NotBpffs,
        ("if no answer comes", answer) => *answer == Answer::Lost,
        (_, Answer::Lost) => false,
        ("if refused", Answer::Refused(_)) => true,
        ("without CAP_SYS_ADMIN", answer) => is_refusal_with(answer, &["EPERM"]),
        ("if refused with EINVAL and no reason", answer) => {
            is_refusal_with(answer, &["EINVAL"]) && !reply.arguments.contains("NLMSGERR_ATTR_MSG")
        }
        ("if the driver refuses", Answer::Refused(_)) => {
            let not_the_driver =
                ["EPERM", "EACCES", "ENODEV", "ENOENT", "EBADF", "EBUSY", "EEXIST", "EINTR", "EAGAIN"];
            !is_refusal_with(answer, &not_the_driver)
        }
        ("if func_info or line_info is refused", answer) => is_refusal_with(answer, &["EINVAL", "E2BIG"]),
        ("if the types of the entries are refused", answer) => {
            is_refusal_with(answer, &["EINVAL", "EOPNOTSUPP", "ENOTSUPP"])
        }
        (on, answer) => {
            let list =
                on.strip_prefix("if refused with ").unwrap_or_else(|| panic!("unknown condition {on:?}"));
            is_refusal_with(answer, &list.split(" or ").collect::<Vec<_>>())
        }
    }
}

fn is_refusal_with(answer: &Answer, list: &[&str]) -> bool {
    matches!(answer, Answer::Refused(errno) if list.contains(&errno.as_str()))
}

/// Whether a key or value is the address of memory that strace does not show.
fn is_memory(name: &str, found: &str) -> bool {
    ["key", "value"].contains(&name) && found.starts_with("0x")
}

/// Whether only EINVAL says that the kernel lacks the feature, since what is asked for has no room that it may lack.
fn one_errno_means_no(feature: &str) -> bool {
    feature.contains("memory") || feature.contains("in BTF")
}

/// Whether an argument is sent only to a kernel that has taken the object's BTF.
fn speaks_of_types(name: &str) -> bool {
    let starts = ["btf_fd", "btf_key_type_id", "btf_value_type_id", "prog_btf_fd", "func_info", "line_info"];
    starts.iter().any(|start| name.starts_with(start))
}

/// Whether strace shows the arguments of the call; of those that it has not learned it shows the address.
fn is_spelled_out(call: &Call) -> bool {
    call.name != "bpf" || split(&call.arguments).get(1).is_none_or(|attr| !attr.starts_with("0x"))
}

/// Addresses of memory and its sizes, which no plan knows.
fn is_left_open(name: &str) -> bool {
    let of_one = ["insns", "info", "info_len", "log_buf", "btf", "btf_log_buf", "func_info", "line_info"];
    let of_elements =
        ["next_id", "key", "value", "next_key", "in_batch", "out_batch", "keys", "values", "count"];
    of_one.contains(&name) || of_elements.contains(&name)
}

/// Whether a field of `union bpf_attr` is as if it were not there.
fn is_nothing(value: &str) -> bool {
    let zeros = ["0", "NULL", "BPF_ANY", "\"\"", "KERNEL_VERSION(0, 0, 0)", "BPF_CGROUP_INET_INGRESS"];
    zeros.contains(&value) || value.replace("\\x00", "") == "\"\""
}

/// Compares flags in any order, and without that of the mode where the plan leaves it open.
fn are_same_flags(planned: &str, found: &str) -> bool {
    let leaves_mode_open = planned.contains("<flag of its mode>");
    let set = |flags: &str| {
        let is_known = |flag: &&str| !leaves_mode_open || !(flag.ends_with("_MODE") || flag.starts_with('<'));
        flags.split('|').filter(is_known).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    set(planned) == set(found)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The bytes of a hexadecimal text.
fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2).filter_map(|at| hex.get(at..at + 2));
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("data is hexadecimal")).collect()
}

/// The bytes of a string as strace prints it, with C's escapes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.trim_matches('"').bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().expect("an escape has a letter") {
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                bytes.push(u8::try_from(value).expect("an octal escape is a byte"));
            }
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'v' => bytes.push(0x0b),
            b'f' => bytes.push(0x0c),
            other => bytes.push(other),
        }
    }
    bytes
}

/// A plan that makes a directory and a map, and the calls of carrying it out.
fn sample() -> (Value, Vec<Call>) {
    let plan = serde_json::json!({
        "maps": [], "programs": [],
        "steps": [
            { "calls": [{ "name": "mkdir", "arguments": { "pathname": "\"/d\"", "mode": "0700" } }],
              "otherwise": [{ "on": "if refused with EEXIST", "steps": [] }],
              "undo": [{ "name": "rmdir", "arguments": { "pathname": "\"/d\"" } }] },
            { "calls": [{ "name": "bpf", "command": "BPF_MAP_CREATE", "arguments": { "key_size": "4" } }] },
        ],
    });
    let call = |name: &str, arguments: &str, result: &str| {
        let [name, arguments, result] = [name, arguments, result].map(str::to_owned);
        Call { process: 1, name, arguments, result, message: Vec::new() }
    };
    let calls = vec![
        call("mkdir", "\"/d\", 0700", "0"),
        call("bpf", "BPF_MAP_CREATE, {key_size=4, map_flags=0}, 72", "-1 EPERM (Operation not permitted)"),
        call("rmdir", "\"/d\"", "0"),
    ];
    (plan, calls)
}

#[test]
fn a_trace_that_follows_the_plan_is_accepted() {
    let (plan, mut calls) = sample();
    accept(&plan, &calls, Ending::AsTheKernelSays);
    // What was not made is not undone.
    calls[0].result = "-1 EEXIST (File exists)".to_owned();
    accept(&plan, &calls[..2], Ending::AsTheKernelSays);
    calls[1].result = "3".to_owned();
    accept(&plan, &calls[..2], Ending::AsTheKernelSays);
}

#[test]
fn every_difference_is_found() {
    let differs = |at: usize, arguments: &str, result: &str| {
        let (plan, mut calls) = sample();
        arguments.clone_into(&mut calls[at].arguments);
        result.clone_into(&mut calls[at].result);
        let calls: Vec<_> = calls.iter().collect();
        Walk::new(&calls, Ending::AsTheKernelSays).plan(&plan).unwrap_err()
    };
    let refused = "-1 EPERM (Operation not permitted)";
    assert!(differs(0, "\"/d\", 0777", "0").starts_with("`mode` differs"));
    assert!(differs(1, "BPF_MAP_CREATE, {key_size=8}, 72", refused).starts_with("`key_size` differs"));
    let unplanned = differs(1, "BPF_MAP_CREATE, {key_size=4, map_flags=BPF_F_RDONLY}, 72", refused);
    assert!(unplanned.starts_with("`map_flags`, which is not in the plan, differs"));
    assert!(differs(1, "BPF_OBJ_PIN, {key_size=4}, 72", refused).starts_with("the command differs"));
    // Had the map been made, nothing would have been undone.
    let done = differs(1, "BPF_MAP_CREATE, {key_size=4}, 72", "3");
    assert!(done.starts_with("the plan is at its end before rmdir"));

    let (plan, calls) = sample();
    let calls: Vec<_> = calls.iter().collect();
    let cut = Walk::new(&calls[..2], Ending::AsTheKernelSays).plan(&plan).unwrap_err();
    assert!(cut.starts_with("the trace is at its end before"));
}
