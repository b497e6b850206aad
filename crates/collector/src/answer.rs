//! What a client is told.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use crash::CrashId;

/// After so many seconds there may be memory again.
const MEMORY_AGAIN: &str = "5";
/// A store that takes nothing is not mended at once: its disk is full, or broken.
const STORE_AGAIN: &str = "60";

/// Why a report could not be taken; the client is told `Discarded=malformed_<reason>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("no_content_type")]
    NoContentType,
    #[error("wrong_content_type")]
    WrongContentType,
    #[error("no_boundary")]
    NoBoundary,
    #[error("empty_body")]
    EmptyBody,
    #[error("bad_gzip")]
    BadEncoding,
    #[error("invalid_json")]
    InvalidJson,
    #[error("invalid_json_value")]
    InvalidJsonValue,
    #[error("invalid_payload_structure")]
    InvalidStructure,
    #[error("no_annotations")]
    NoAnnotations,
    #[error("too_large")]
    TooLarge,
    #[error("unsupported_encoding")]
    UnsupportedEncoding,
}

/// The end of a request, and its answer in the shape that Mozilla's clients read.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The crash is durable.
    Stored(CrashId),
    /// The report cannot be understood.
    Discarded(Malformed),
    /// The client took longer than it may.
    TooSlow,
    /// Too much is in memory already: the client should come again.
    NoMemory,
    /// The crash could not be made durable anywhere: the client should keep it.
    NotStored,
}

impl Answer {
    /// The label in metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Stored(_) => "accept",
            Self::Discarded(_) => "malformed",
            Self::TooSlow => "too_slow",
            Self::NoMemory => "no_memory",
            Self::NotStored => "not_stored",
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let come_again = match self {
            Self::NoMemory => Some(MEMORY_AGAIN),
            Self::NotStored => Some(STORE_AGAIN),
            Self::Stored(_) | Self::Discarded(_) | Self::TooSlow => None,
        };
        let (status, text) = match self {
            Self::Stored(id) => (StatusCode::OK, format!("CrashID=bp-{id}\n")),
            Self::Discarded(reason) => {
                let status = match reason {
                    Malformed::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    Malformed::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    _ => StatusCode::BAD_REQUEST,
                };
                (status, format!("Discarded=malformed_{reason}"))
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, String::new()),
            Self::NoMemory | Self::NotStored => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        };
        let mut response = (status, [(header::CONTENT_TYPE, "text/plain")], text).into_response();
        if let Some(seconds) = come_again {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(seconds));
        }
        if status != StatusCode::OK {
            // A body may be unread: the connection cannot carry another request.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response
    }
}
