//! A traced call in the words of a plan: its arguments by name, and how the kernel answered.

use std::collections::BTreeMap;

use crate::strace::Call;

/// How the kernel answered a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It did what it was asked for, and gave this number.
    Done(String),
    /// It refused with the errno of this name.
    Refused(String),
    /// statfs(2) told of another filesystem than bpffs.
    NotBpffs,
    /// No answer to a netlink message came through.
    Lost,
}

/// For bpf(2) the command, for netlink the type of the message.
pub(crate) fn command(call: &Call) -> Option<String> {
    match call.name.as_str() {
        "bpf" => split(&call.arguments).first().map(|command| (*command).to_owned()),
        "sendto" => match call.message.get(4..6)? {
            // RTM_GETLINK and RTM_SETLINK of include/uapi/linux/rtnetlink.h.
            [18, 0] => Some("RTM_GETLINK".to_owned()),
            [19, 0] => Some("RTM_SETLINK".to_owned()),
            other => Some(format!("message {other:?}")),
        },
        _ => None,
    }
}

/// The arguments by the names that plans give them.
pub(crate) fn arguments(call: &Call) -> BTreeMap<String, String> {
    let values = split(&call.arguments);
    let names: &[&str] = match call.name.as_str() {
        "bpf" => return values.get(1).map(|attr| fields(attr)).unwrap_or_default(),
        "sendto" => return message(call),
        "statfs" => &["path"],
        "mount" => &["source", "target", "filesystemtype", "mountflags", "data"],
        "umount2" => &["target", "flags"],
        "mkdir" => &["pathname", "mode"],
        "rmdir" | "unlink" => &["pathname"],
        "rename" => &["oldpath", "newpath"],
        "socket" => &["domain", "type", "protocol"],
        "getsockopt" | "setsockopt" => &["sockfd", "level", "optname", "optval", "optlen"],
        "mmap" => &["addr", "length", "prot", "flags", "fd", "offset"],
        "recvfrom" | "recvmsg" => &["sockfd"],
        "sendmsg" => &["sockfd", "msg"],
        "openat" => &["dirfd", "pathname", "flags"],
        "flock" => &["fd", "operation"],
        "setns" => &["fd", "nstype"],
        "prlimit64" => &["pid", "resource", "new_limit", "old_limit"],
        _ => &[],
    };
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect()
}

/// How the kernel answered `call`.
pub(crate) fn answer(call: &Call) -> Answer {
    let is_netlink = ["sendto", "recvfrom"].contains(&call.name.as_str());
    match call.result.strip_prefix("-1 ").map(first_word) {
        Some(_) if is_netlink => return Answer::Lost,
        Some(errno) => return Answer::Refused(errno.to_owned()),
        None => {}
    }
    // In a reply the kernel puts a minus before the errno.
    let refusal = call.arguments.split_once("NLMSG_ERROR").and_then(|(_, rest)| rest.split_once("{error=-"));
    match refusal {
        Some((_, errno)) if call.name == "recvfrom" => Answer::Refused(first_word(errno).to_owned()),
        _ if call.name == "statfs" && !call.arguments.contains("f_type=BPF_FS_MAGIC") => Answer::NotBpffs,
        _ => Answer::Done(first_word(&call.result).to_owned()),
    }
}

/// The number of a netlink request, or of the one that a reply is to.
pub(crate) fn sequence(call: &Call) -> Option<u32> {
    call.message.get(8..12).map(|bytes| word(bytes, 0))
}

/// The id of the program that a reply tells of, if it tells of one.
pub(crate) fn attached_id(reply: &Call) -> Option<u32> {
    // RTM_NEWLINK of include/uapi/linux/rtnetlink.h; IFLA_XDP and IFLA_XDP_PROG_ID of if_link.h beside it.
    if reply.name != "recvfrom" || reply.message.get(4..6) != Some(&[16, 0]) {
        return None;
    }
    let xdp = attribute(reply.message.get(HEADERS..)?, 43)?;
    attribute(xdp, 4).map(|id| word(id, 0))
}

/// The value of the first attribute of this kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[len0, len1, kind0, kind1]) = attributes.first_chunk() {
        let len = usize::from(u16::from_ne_bytes([len0, len1]));
        // The two highest bits are flags.
        if u16::from_ne_bytes([kind0, kind1]) & 0x3fff == wanted {
            return attributes.get(4..len);
        }
        attributes = attributes.get(len.next_multiple_of(4).max(4)..)?;
    }
    None
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// What stands between the commas of `text` that are in no brackets and no quotes.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut is_quoted, mut is_escaped) = (Vec::new(), 0, 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// The fields of a struct such as `{info={bpf_fd=4, info_len=88}}`; those of an inner one count as its own.
fn fields(text: &str) -> BTreeMap<String, String> {
    // What the kernel has written into the struct stands behind an arrow.
    let text = text.find("} => {").map_or(text, |end| &text[..=end]);
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let pairs = split(inside).into_iter().filter_map(|field| field.split_once('='));
    pairs
        .flat_map(|(name, value)| match name {
            "info" | "raw_tracepoint" | "link_create" | "link_update" | "batch" if value.starts_with('{') => {
                fields(value)
            }
            // The kernel has two names for this field, of which an XDP link goes by the other.
            "target_fd" => BTreeMap::from([("target_ifindex".to_owned(), value.to_owned())]),
            _ => BTreeMap::from([(name.to_owned(), value.to_owned())]),
        })
        .collect()
}

/// Bytes before the attributes of a netlink message on an interface: `struct nlmsghdr`, `struct ifinfomsg`.
const HEADERS: usize = 32;

/// The fields of a message that a plan leaves open or names: the interface, and what is in IFLA_XDP.
fn message(call: &Call) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([("ifi_index".to_owned(), word(&call.message, 20).to_string())]);
    let attributes = call.message.get(HEADERS..).unwrap_or_default();
    for (attribute_name, kind) in [("IFLA_IFNAME", 3), ("IFLA_ALT_IFNAME", 53)] {
        // Either ends in a NUL byte.
        if let Some([name @ .., 0]) = attribute(attributes, kind) {
            found.insert(attribute_name.to_owned(), format!("\"{}\"", String::from_utf8_lossy(name)));
        }
    }
    let xdp = attribute(attributes, 43).unwrap_or_default();
    let numbers = [("IFLA_XDP_FD", 1), ("IFLA_XDP_EXPECTED_FD", 8)];
    let number = |(name, kind): (&str, u16)| {
        Some((name.to_owned(), i32::from_ne_bytes(word(attribute(xdp, kind)?, 0).to_ne_bytes()).to_string()))
    };
    found.extend(numbers.into_iter().filter_map(number));
    found.extend(attribute(xdp, 3).map(|bits| ("IFLA_XDP_FLAGS".to_owned(), flags(word(bits, 0)))));
    found
}

/// A message without what a plan leaves open or names: its number, the interface, the values in IFLA_XDP.
pub(crate) fn mask(message: &[u8]) -> Vec<u8> {
    let mut masked = message.to_vec();
    let is_set = message.get(4) == Some(&19);
    // The nest is of attributes of 8 bytes, and the second half of each is its value.
    let values = (HEADERS + 8..message.len()).step_by(8).filter(|_| is_set);
    for at in [8, 20].into_iter().chain(values) {
        if let Some(bytes) = masked.get_mut(at..at + 4) {
            bytes.fill(0);
        }
    }
    masked
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The names of `XDP_FLAGS_*`, as in include/uapi/linux/if_link.h.
fn flags(bits: u32) -> String {
    let names = ["UPDATE_IF_NOEXIST", "SKB_MODE", "DRV_MODE", "HW_MODE", "REPLACE"];
    let set = names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    set.map(|(_, name)| format!("XDP_FLAGS_{name}")).collect::<Vec<_>>().join("|")
}

#[test]
fn commas_in_brackets_and_quotes_part_nothing() {
    assert_eq!(split(r#"A, {b="x, \"y", c=[1, 2]}, 3"#), ["A", r#"{b="x, \"y", c=[1, 2]}"#, "3"]);
    let found = fields("{info={bpf_fd=4, info_len=88, info=0x7ff}}");
    assert_eq!(found["bpf_fd"], "4");
}
