//! Errors of the database, by what they mean for a caller.

use tokio_postgres::{Error, error::SqlState};

use crate::storage::StorageError;

/// A statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection, so nothing was sent.
    #[error("{0}")]
    Away(String),
    /// The database is a standby, so nothing was sent.
    #[error("the database is a standby, which takes no writes: connect to the primary")]
    Standby,
    /// The database refuses this server or promises too little, so nothing was sent.
    #[error("{0}")]
    Unusable(String),
    /// The connection was lost, or its answer did not come in time: the statement may have run.
    #[error("{0}")]
    Lost(String),
    /// The database refused the statement, which has changed nothing.
    #[error("{message} (SQLSTATE {})", code.code())]
    Refused { code: SqlState, message: String },
    /// The number of a commit is in the log already. The statement has changed nothing.
    #[error("the log has a commit of this number")]
    NumberTaken,
    /// An answer is not what it must be.
    #[error("{0}")]
    Malformed(String),
}

impl Failure {
    /// Whether the same statement may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ].contains(code))
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == SqlState::DISK_FULL)
    }

    /// Whether a commit was refused because its lane has ended.
    pub(super) fn is_ended_lane(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.code() == "DS001")
    }

    /// Whether the connection must not be used again. After a refusal, the rest of the answer is still to come, and
    /// a pooler would take the next statement for one that was sent before its end.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Refused { .. } | Self::NumberTaken)
    }

    /// Whether the failure is the connection's, and the statement may succeed on another one. This one may lead to
    /// a standby.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused { code, .. } => [
                SqlState::READ_ONLY_SQL_TRANSACTION,
                // A lookup at a standby.
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                // Meant for an earlier statement on the connection, which was given up.
                SqlState::QUERY_CANCELED,
            ]
            .contains(code),
            Self::Away(_) | Self::Standby | Self::Unusable(_) | Self::NumberTaken | Self::Malformed(_) => false,
        }
    }

    /// The failure of a connection that could not be made, so that nothing was sent.
    pub(super) fn before_use(self) -> Self {
        match self {
            Self::Standby | Self::Unusable(_) => self,
            // A missing right, such as to a function of PostgreSQL itself.
            Self::Refused { ref code, .. } if code.code().starts_with("42") => Self::Unusable(self.to_string()),
            other => Self::Away(other.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Lost(describe(&error));
        };
        // The detail and the hint may show data.
        let message = format!("{}: {}", refusal.severity(), refusal.message());
        let code = refusal.code().clone();
        // A session that is being ended may have committed: it says so while it waits for a standby, for one.
        match refusal.severity() {
            "FATAL" | "PANIC" => Self::Lost(message),
            _ if code.code().starts_with("57P") || code.code().starts_with("08") => Self::Lost(message),
            _ if code == SqlState::UNIQUE_VIOLATION && refusal.constraint() == Some("log_pkey") => Self::NumberTaken,
            _ => Self::Refused { code, message },
        }
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(what) | Failure::Lost(what) => Self::Away(what),
            Failure::Standby => Self::Standby(failure.to_string()),
            Failure::Unusable(what) => Self::Unusable(what),
            Failure::Malformed(what) => Self::Corrupt(what),
            // A database that is being replaced, full or overloaded.
            Failure::Refused { ref code, .. }
                if ["25006", "53", "55000", "55P03", "57"]
                    .iter()
                    .any(|class| code.code().starts_with(class)) =>
            {
                Self::Away(failure.to_string())
            }
            refused @ (Failure::Refused { .. } | Failure::NumberTaken) => Self::Io {
                context: "PostgreSQL".to_owned(),
                source: std::io::Error::other(refused),
            },
        }
    }
}

/// An error with its causes. Those of the client library hold no parameters.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
