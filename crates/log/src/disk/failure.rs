//! Conversion of errors of files into errors of the log.

use std::io;

use headwater_journal::{OpenError, ReadError, TableError};

use super::sorted::SortedError;
use crate::error::{Error, Kind, Remedy};

/// Converts an I/O error: one that wrong content explains is damage.
pub(crate) fn io_failure(error: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    if matches!(
        error.kind(),
        InvalidData | InvalidInput | NotFound | UnexpectedEof
    ) {
        return Kind::Damaged {
            place: "a file".into(),
            remedy: None,
            cause: Some(error.into()),
        }
        .into();
    }
    if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Kind::Full {
            cause: Some(error),
            unknown: false,
        }
        .into();
    }
    Kind::Storage(error.into()).into()
}

fn damage(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Kind::Damaged {
        place: error.to_string(),
        remedy: None,
        cause: None,
    }
    .into()
}

/// Returns an error that names a file which should be there.
pub(crate) fn missing(name: &str) -> Error {
    Error::damaged(format!("the file `log/{name}` is missing or too short"))
}

pub(crate) fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof)
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        let error = match error {
            TableError::Disk { number, source } if is_missing(&source) => {
                missing(&headwater_journal::table_name(number))
            }
            TableError::Disk { source, .. } => io_failure(source),
            error => damage(error),
        };
        error.with_remedy(Remedy::RebuildIndex)
    }
}

impl From<SortedError> for Error {
    fn from(error: SortedError) -> Self {
        match error {
            SortedError::Io(error) => io_failure(error),
            error => damage(error),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Disk(error) => io_failure(error),
            error => damage(error),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Disk(error) => io_failure(error),
            OpenError::Missing { first, last } => Error::damaged(format!(
                "commits {first} to {last} were acknowledged and are missing from the end"
            ))
            .with_remedy(Remedy::AcceptMissingEnd),
            error @ OpenError::Damaged { .. } => damage(error),
        }
    }
}
