//! End to end: the program against the real kernel, on real interfaces, with real packets.
//!
//! Each test runs on its own thread, as `cargo test` has it. A [`sandbox::Sandbox`] moves that thread into network and
//! mount namespaces of its own, so the tests run side by side and leave nothing behind; see each module for its part.
//! A test that lacks a tool or a privilege is skipped, or fails if `XDPLOAD_REQUIRE=1` (see [`requirement`]).

#![deny(unsafe_code)]

#[macro_use]
mod support;

mod adopting;
mod bad_input;
mod block_bad_input;
mod block_commands;
mod block_library;
mod block_lockout;
mod block_writers;
mod blocklist_packets;
mod blocklist_tables;
mod bpf_links;
mod btf_text;
mod cli_text;
mod coexistence;
mod core;
mod demo;
mod dialects;
mod doctor;
mod examples;
mod extensions;
mod externs;
mod faults;
mod gobpf;
mod json;
mod loading;
mod map_commands;
mod map_kinds;
mod map_load;
mod matrix;
mod modes;
mod no_hole;
mod outage;
mod packet_program;
mod pinned_upgrades;
mod pins;
mod privileges;
mod races;
mod refusals;
mod same_load;
mod several;
mod shapes;
mod smoke;
mod strace_plan;
mod tail_calls;
mod trials;
mod typed_maps;
mod upgrades;
mod variables;
mod walkthrough;
mod witnesses;

// The helpers by their short names.
use support::{
    acceptor, bench, command, edit, http, leftovers, libbpf, objects, packets, peers, requirement, sandbox,
    strace, tally, traced, veth, xdpload,
};
