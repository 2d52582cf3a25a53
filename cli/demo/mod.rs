//! What `xdpload demo` is made of: a private network, packets that are counted, objects to load, a table.

mod messages;
pub(crate) mod objects;
pub(crate) mod packets;
pub(crate) mod table;
pub(crate) mod topology;
