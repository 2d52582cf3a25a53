//! The exit codes, which scripts may rely on.

use loader::{Error, ErrorKind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked for.
    Done,
    /// It failed.
    Failed,
    /// The words on the command line do not make sense, or do not fit the object.
    Usage,
    /// The kernel wants a privilege that this process does not have.
    NotPermitted,
    /// The verifier refused the program.
    Refused,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotPermitted => 3,
            Self::Refused => 4,
        }
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput => Self::Usage,
            ErrorKind::PermissionDenied => Self::NotPermitted,
            ErrorKind::VerifierRejected => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code() {
        let code = |kind| Exit::from(&Error::new(kind, "x")).code();
        assert_eq!(code(ErrorKind::Malformed), 1);
        assert_eq!(code(ErrorKind::InvalidInput), 2);
        assert_eq!(code(ErrorKind::PermissionDenied), 3);
        assert_eq!(code(ErrorKind::VerifierRejected), 4);
        assert_eq!(code(ErrorKind::Conflict), 1);
    }
}
