//! The program `xdpload`: words in, library calls, text out.

fn main() {}
