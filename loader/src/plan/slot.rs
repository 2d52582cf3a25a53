//! The names of a plan for what has an fd only while the plan is carried out.

/// A map of the plan: its index in [`Plan::maps`](super::Plan::maps). While a plan is carried out it has an fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapSlot(pub usize);

/// A program of the plan: its index in [`Plan::programs`](super::Plan::programs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramSlot(pub usize);

/// A kernel module of the plan: its index in [`Plan::modules`](super::Plan::modules). While a plan is carried out its
/// BTF has an fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleSlot(pub usize);
