//! The table in which the demo ends, and whether it is as it should be.

use std::fmt;
use std::net::Ipv4Addr;

use loader::{Error, ErrorKind, Result};

use super::packets::{Expect, PACKETS};

/// One round of packets.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was attached; empty where it is the same as in the row above.
    pub(crate) state: &'static str,
    /// Where the packets came from.
    pub(crate) source: Ipv4Addr,
    /// What should have become of them.
    pub(crate) expect: Expect,
    /// How many arrived.
    pub(crate) arrived: usize,
}

/// All rounds, in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Table(pub(crate) Vec<Row>);

impl Row {
    fn is_wrong(&self) -> bool {
        self.arrived != self.expect.packets()
    }

    fn complaint(&self) -> String {
        let Self { source, arrived, .. } = self;
        format!("{arrived} of {PACKETS} packets from {source} arrived instead of {}", self.expect.packets())
    }
}

impl Table {
    /// An error that says which rows are not as expected, if any is not.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong: Vec<_> = self.0.iter().filter(|row| row.is_wrong()).map(Row::complaint).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Os, format!("not as expected: {}", wrong.join("; "))))
    }
}

/// What became of the packets: `from 192.0.2.77   5 of 5`.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}   {} of {PACKETS}", self.source, self.arrived)?;
        if self.is_wrong() {
            write!(f, "   expected {}", self.expect.packets())?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.state.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}   packets that arrived", "")?;
        self.0.iter().try_for_each(|row| writeln!(f, "{:width$}   {row}", row.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &'static str, expect: Expect, arrived: usize) -> Row {
        Row { state, source: Ipv4Addr::new(192, 0, 2, 77), expect, arrived }
    }

    #[test]
    fn a_table_as_it_should_be_is_aligned_and_no_error() {
        let table = Table(vec![row("before", Expect::All, 5), row("drop", Expect::None, 0)]);
        assert_eq!(
            table.to_string(),
            "         packets that arrived\n\
             before   from 192.0.2.77   5 of 5\n\
             drop     from 192.0.2.77   0 of 5\n"
        );
        table.check().unwrap();
    }

    #[test]
    fn a_wrong_row_is_marked_and_an_error() {
        let table = Table(vec![row("before", Expect::All, 4), row("drop", Expect::None, 0)]);
        assert!(table.to_string().contains("4 of 5   expected 5\n"));
        assert_eq!(
            table.check().unwrap_err().to_string(),
            "not as expected: 4 of 5 packets from 192.0.2.77 arrived instead of 5"
        );
    }
}
