//! How a request is refused: the one place where codes of the protocol become HTTP statuses.

use crate::{Body, body::BodyError};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tidings_core::{CommandError, Crowded, CursorError, Denied, JoinError, NameError, Notice};

/// A refusal: a status, and a JSON error that says what was wrong.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Box<HeaderMap>,
    /// The hub has counted it.
    counted: bool,
}

/// The code of a refusal that nobody has counted yet, as an extension of the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncounted(pub(crate) &'static str);

impl Refusal {
    /// A refusal with a status of its own. The message goes to the client.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Box::default(), counted: false }
    }

    /// A refusal whose status follows from the code.
    pub fn of(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(status(code), code, message)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds header fields.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer.
    pub fn into_response(mut self) -> Response<Body> {
        let message = std::mem::take(&mut self.message);
        let error = Notice::Error { reference: None, code: self.code, message };
        let mut response = json(self.status, error.to_json());
        response.headers_mut().extend(std::mem::take(&mut *self.headers));
        self.told_as(response)
    }

    /// The same in another form of the answer, for a client that could make nothing of this one.
    pub fn told_as(self, mut response: Response<Body>) -> Response<Body> {
        if !self.counted {
            response.extensions_mut().insert(Uncounted(self.code));
        }
        response
    }

    fn counted(self) -> Self {
        Self { counted: true, ..self }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::of(denied.code(), denied.to_string()).counted()
    }
}

impl From<Crowded> for Refusal {
    fn from(crowded: Crowded) -> Self {
        let refusal = Self::of(crowded.code(), crowded.to_string()).counted();
        match crowded {
            // Another node may be there already.
            Crowded::Draining => refusal,
            // Others must go first, which takes longer than a second or two.
            _ => refusal.header(RETRY_AFTER, HeaderValue::from_static("10")),
        }
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        Self::of(error.code(), error.to_string()).counted()
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::of("bad_room", error.to_string())
    }
}

impl From<CursorError> for Refusal {
    fn from(error: CursorError) -> Self {
        Self::of("bad_cursor", error.to_string())
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        Self::of(error.code, error.message)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::of("too_large", "the body is larger than this server takes"),
            BodyError::Broken => Self::of("bad_body", "the body could not be read to its end"),
        }
    }
}

/// The HTTP status of a code of the protocol.
pub(crate) fn status(code: &str) -> StatusCode {
    match code {
        "unauthorized" => StatusCode::UNAUTHORIZED,
        "forbidden" | "origin" => StatusCode::FORBIDDEN,
        "not_found" | "unknown_method" => StatusCode::NOT_FOUND,
        "method" => StatusCode::METHOD_NOT_ALLOWED,
        "timeout" => StatusCode::REQUEST_TIMEOUT,
        "rate" | "too_many_sessions" => StatusCode::TOO_MANY_REQUESTS,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "encoding" => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unavailable" | "unknown_outcome" | "busy" => StatusCode::SERVICE_UNAVAILABLE,
        // Everything else is something wrong with what was asked.
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The answer that is final: whoever gets it has everything, and nothing will come. A browser's event stream ends
/// for good with it (WHATWG HTML §9.2.3).
pub fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of JSON that no cache keeps, and that says what is to be shown, or when to come again, if that may help.
pub(crate) fn json(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (name, value) = match status {
        // RFC 9110 §11.6.1 wants a challenge; this one is RFC 6750's, at which no browser asks its user for a password.
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Bearer"),
        // A bucket has place for one more after a second at most.
        StatusCode::TOO_MANY_REQUESTS => (RETRY_AFTER, "1"),
        StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, "2"),
        _ => return response,
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
