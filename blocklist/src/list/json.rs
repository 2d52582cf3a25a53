//! Lines of JSON: Spamhaus DROP has one object for each prefix, and one that describes the list.

use super::List;
use super::reason::Reason;
use crate::json::Object;
use crate::prefix;

/// Reads an object with the prefix as `cidr`; one with the `type` metadata lists nothing.
pub(super) fn read(line: &str, list: &mut List) -> Result<(), Reason> {
    let Ok(object) = Object::read(line) else {
        return Err(Reason::new("this is no JSON object on one line"));
    };
    match object.text("cidr") {
        Some(word) => {
            let written = prefix::parse(word)?;
            list.with_host_bits += u64::from(written.had_host_bits);
            list.push(written.prefix, 0);
            Ok(())
        }
        None if object.has("cidr") => Err(Reason::new("expected a text as \"cidr\"")),
        None if object.text("type") == Some("metadata") => Ok(()),
        None if object.has("nftables") => {
            Err(Reason::new("the JSON of `nft -j` is not read; what `nft list` writes without -j is"))
        }
        None => Err(Reason::new("expected a JSON object with \"cidr\"")),
    }
}
