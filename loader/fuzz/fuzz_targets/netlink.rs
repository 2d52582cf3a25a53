//! Fuzzes the reader of the kernel's netlink replies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::netlink::read_replies;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = read_replies(data) {
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
});
