//! The engine's errors as problems.

use std::fmt::Display;

use super::Problem;
use crate::{
    engine::{AppendError, CreateError, DeleteError, ForkError, PastError, ReadError, Unavailable},
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
            Unavailable::Loading => {
                let detail = "the server has not read its subscriptions yet; try again";
                Self::new(&problems::SUBSCRIPTIONS_LOADING, detail)
            }
            Unavailable::Stopping => Self::new(&problems::STOPPING, "the server is stopping; try again"),
            Unavailable::Raced => Self::new(&problems::RACED, "other servers kept changing the stream; try again"),
            Unavailable::Away(cause) => {
                let detail = "the server cannot reach its store; try again";
                Self::new(&problems::STORE_AWAY, detail).caused_by(cause)
            }
            Unavailable::Unknown(cause) => {
                let detail = "the server lost its store during the write, which may have been made or not; read the \
                              stream before you repeat it, or send producer headers, which make a repetition harmless";
                Self::new(&problems::OUTCOME_UNKNOWN, detail).caused_by(cause)
            }
            Unavailable::ReadOnly(cause) => {
                let detail = "the server's data directory is read-only; streams can still be read";
                Self::new(&problems::READ_ONLY, detail).caused_by(cause.to_string())
            }
            Unavailable::Damaged(cause) => {
                let detail = "the server has lost part of this stream and refuses appends to it; its operator can copy \
                              the rest with `storage repair` or delete it";
                Self::new(&problems::DAMAGED, detail).caused_by(cause)
            }
            Unavailable::Failed(cause) => {
                let detail = "the server's store failed; its log has the cause under this request_id";
                Self::new(&problems::STORE_FAILED, detail).caused_by(cause.to_string())
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
            ReadError::OtherLife { tail } => because(
                &problems::OTHER_LIFE,
                &format!("{error}; read on from offset=-1 or offset=now"),
            )
            .with(headers::STREAM_NEXT_OFFSET, offset(tail)),
            ReadError::InvalidOffset => Problem::bad("offset", &error.to_string()),
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
            CreateError::Fork(error) => error.into(),
            CreateError::Past(error) => error.into(),
            CreateError::TooLarge(_) => because(&problems::TOO_LARGE, &error),
            CreateError::TooManyStreams(_) => because(&problems::TOO_MANY_STREAMS, &error),
            CreateError::Bad(bad) => bad.into(),
            CreateError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<ForkError> for Problem {
    fn from(error: ForkError) -> Self {
        match error {
            ForkError::SourceNotFound => because(&problems::NOT_FOUND, &error),
            ForkError::SourceDeleted => because(&problems::SOURCE_DELETED, &error),
            ForkError::ContentType(_) => because(&problems::CONTENT_TYPE_CONFLICT, &error),
            ForkError::ForeignOffset | ForkError::PastEnd | ForkError::Trimmed | ForkError::NoBoundary(_) => {
                Self::bad("Stream-Fork-Offset", &error.to_string())
            }
            ForkError::SubOffset => Self::bad("Stream-Fork-Sub-Offset", &error.to_string()),
            ForkError::TooDeep => Self::bad("Stream-Forked-From", &error.to_string()),
            ForkError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<PastError> for Problem {
    fn from(error: PastError) -> Self {
        let header = match error {
            PastError::Fork | PastError::TooMany | PastError::Order | PastError::Future => "Stream-Lives",
            PastError::Earliest => "Stream-Earliest-Offset",
        };
        Self::bad(header, &error.to_string())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => because(&problems::NOT_FOUND, &error),
            AppendError::Gone => because(&problems::STREAM_GONE, &error),
            AppendError::Closed { tail } => because(&problems::CLOSED, &error).closed_at(tail),
            AppendError::EmptyBody => Self::bad(
                "body",
                "is empty; only a request with `Stream-Closed: true` may have no body",
            ),
            AppendError::NoContentType => Self::bad("Content-Type", "is missing"),
            AppendError::ContentType(_) => because(&problems::CONTENT_TYPE_CONFLICT, &error),
            AppendError::SeqRegression { ref last, tail } => {
                let detail = format!("Sequence conflict: Stream-Seq is not greater than the last one, {last:?}");
                because(&problems::SEQUENCE, &detail).with(headers::STREAM_NEXT_OFFSET, offset(tail))
            }
            AppendError::UnexpectedTail { tail } => {
                because(&problems::UNEXPECTED_TAIL, &error).with(headers::STREAM_NEXT_OFFSET, offset(tail))
            }
            AppendError::StaleEpoch { current, closed_at } => {
                let problem = because(&problems::STALE_EPOCH, &error).with(headers::PRODUCER_EPOCH, number(current));
                match closed_at {
                    Some(tail) => problem.closed_at(tail),
                    None => problem,
                }
            }
            AppendError::EpochStart => because(&problems::EPOCH_START, &format!("Producer-Seq: {error}")),
            AppendError::SeqGap { expected, received } => {
                because(&problems::PRODUCER_GAP, &format!("Producer-Seq: {error}"))
                    .with(headers::PRODUCER_EXPECTED_SEQ, number(expected))
                    .with(headers::PRODUCER_RECEIVED_SEQ, number(received))
            }
            AppendError::TooLarge(_) => because(&problems::TOO_LARGE, &error),
            AppendError::Bad(bad) => bad.into(),
            AppendError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
