//! The engine's errors as problems.

use std::fmt::Display;

use super::Problem;
use crate::{
    engine::{AppendError, CreateError, DeleteError, ReadError, Unavailable},
    http::respond::{number, offset},
    problems::{self, ProblemKind},
    protocol::headers,
};

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Full(cause) => {
                let detail = "storage is full; retry once streams have been deleted or have expired";
                Self::new(&problems::FULL, detail).caused_by(cause)
            }
            Unavailable::Overloaded => Self::new(&problems::OVERLOADED, "too many writes are queued; try again"),
            Unavailable::Stopping => Self::new(&problems::STOPPING, "the server is stopping; try again"),
            Unavailable::Raced => Self::new(&problems::RACED, "another writer was faster; try again"),
            Unavailable::ReadOnly(cause) => {
                let detail = "the server's data directory is read-only; streams can still be read";
                Self::new(&problems::READ_ONLY, detail).caused_by(cause)
            }
            Unavailable::Damaged(cause) => {
                let detail = "the server has lost part of this stream and refuses appends to it; its operator can copy \
                              the rest with `storage repair` or delete it";
                Self::new(&problems::DAMAGED, detail).caused_by(cause)
            }
            Unavailable::Failed(cause) => {
                let detail = "the server's store failed; its log has the cause under this request_id";
                Self::new(&problems::STORE_FAILED, detail).caused_by(cause)
            }
        }
    }
}

fn because(kind: &'static ProblemKind, error: &impl Display) -> Problem {
    Problem::new(kind, error.to_string())
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => because(&problems::NOT_FOUND, &error),
            ReadError::Gone => because(&problems::STREAM_GONE, &error),
            ReadError::Trimmed { earliest } => {
                because(&problems::GIVEN_UP, &error).with(headers::STREAM_EARLIEST_OFFSET, offset(earliest))
            }
            ReadError::OtherLife { tail } => {
                let detail = format!("{error}; read on from offset=-1 or offset=now");
                Problem::new(&problems::OTHER_LIFE, detail).with(headers::STREAM_NEXT_OFFSET, offset(tail))
            }
            ReadError::InvalidOffset => Self::bad("offset", &error.to_string()),
            ReadError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => because(&problems::NOT_FOUND, &error),
            DeleteError::Gone => because(&problems::STREAM_GONE, &error),
            DeleteError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists(_) | CreateError::SoftDeleted => because(&problems::EXISTS, &error),
            CreateError::SourceNotFound => because(&problems::NOT_FOUND, &error),
            CreateError::SourceSoftDeleted => because(&problems::SOURCE_DELETED, &error),
            CreateError::SourceContentType(_) => because(&problems::CONTENT_TYPE_CONFLICT, &error),
            CreateError::TooLarge(_) => because(&problems::TOO_LARGE, &error),
            CreateError::TooManyStreams(_) => because(&problems::TOO_MANY_STREAMS, &error),
            CreateError::Bad(bad) => bad.into(),
            CreateError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => because(&problems::NOT_FOUND, &error),
            AppendError::Gone => because(&problems::STREAM_GONE, &error),
            AppendError::Closed { tail } => because(&problems::CLOSED, &error).closed_at(tail),
            AppendError::ContentType(_) => because(&problems::CONTENT_TYPE_CONFLICT, &error),
            AppendError::SeqRegression { tail, .. } => {
                because(&problems::SEQUENCE, &error).with(headers::STREAM_NEXT_OFFSET, offset(tail))
            }
            AppendError::StaleEpoch { current, closed_at } => {
                let problem = because(&problems::STALE_EPOCH, &error).with(headers::PRODUCER_EPOCH, number(current));
                match closed_at {
                    Some(tail) => problem.closed_at(tail),
                    None => problem,
                }
            }
            AppendError::EpochStart => because(&problems::EPOCH_START, &error),
            AppendError::SeqGap { expected, received } => because(&problems::PRODUCER_GAP, &error)
                .with(headers::PRODUCER_EXPECTED_SEQ, number(expected))
                .with(headers::PRODUCER_RECEIVED_SEQ, number(received)),
            AppendError::TooLarge(_) => because(&problems::TOO_LARGE, &error),
            AppendError::Bad(bad) => bad.into(),
            AppendError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
