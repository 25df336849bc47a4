use std::{borrow::Cow, time::Duration};

use http::StatusCode;

/// What a function of the platform answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; mirrors `error-class` of `wit/types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request is wrong and will stay wrong.
    Invalid,
    /// It does not exist, or not for this tenant.
    NotFound,
    /// The state does not allow it now.
    Conflict,
    /// Not granted, or forbidden by policy.
    Denied,
    /// A limit or quota is used up.
    Exhausted,
    /// What stands behind does not answer now.
    Unavailable,
    /// The deadline ran out.
    Deadline,
    /// The caller left.
    Cancelled,
    /// This node does not implement it.
    Unsupported,
    /// A fault of the host.
    Internal,
}

impl ErrorClass {
    /// The name as in the contracts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of an error of this class, where its code has no status of its own. The
    /// one map of the host.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            // The caller does not read it; the access log does (nginx's convention).
            Self::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A failure that crosses the border to a guest, a client or the command line. It never holds an
/// engine's text, SQL or a secret.
///
/// Made from the catalogue: `codes::SQL_BUSY.error("the database is busy")`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Error {
    /// The closed class.
    pub class: ErrorClass,
    /// The stable code. A guest may answer with one of its own, hence not `&'static`.
    pub code: Cow<'static, str>,
    /// One sentence.
    pub message: String,
    /// When the same call may succeed.
    pub retry_after: Option<Duration>,
    /// Open details.
    pub attrs: Vec<(String, String)>,
}

impl Error {
    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attrs.push((name.to_owned(), value.into()));
        self
    }

    /// Says when the same call may succeed.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        crate::codes::find(&self.code)
            .and_then(|code| code.status)
            .unwrap_or_else(|| self.class.status())
    }
}
