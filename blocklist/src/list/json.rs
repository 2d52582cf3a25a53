//! Lines of JSON: Spamhaus DROP has one object for each prefix, and one that describes the list.

use serde_json::Value;

use super::List;
use super::reason::Reason;
use crate::prefix;

/// Reads an object with the prefix as `cidr`; one with the `type` metadata lists nothing.
pub(super) fn read(line: &str, list: &mut List) -> Result<(), Reason> {
    let Ok(Value::Object(object)) = serde_json::from_str(line) else {
        return Err(Reason::new("this is no JSON object on one line"));
    };
    match object.get("cidr") {
        Some(Value::String(word)) => {
            let written = prefix::parse(word)?;
            list.with_host_bits += u64::from(written.had_host_bits);
            list.push(written.prefix, 0);
            Ok(())
        }
        Some(_) => Err(Reason::new("expected a text as \"cidr\"")),
        None if object.get("type").is_some_and(|kind| kind == "metadata") => Ok(()),
        None if object.contains_key("nftables") => {
            Err(Reason::new("the JSON of `nft -j` is not read; what `nft list` writes without -j is"))
        }
        None => Err(Reason::new("expected a JSON object with \"cidr\"")),
    }
}
