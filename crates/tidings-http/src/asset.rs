//! A file that is served from memory.

use crate::Body;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A file that is served from memory: the page of a small application, a script.
#[derive(Debug, Clone)]
pub struct Asset {
    media_type: HeaderValue,
    etag: HeaderValue,
    bytes: Bytes,
}

impl Asset {
    /// A file of a media type, such as `text/html; charset=utf-8`.
    pub fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let etag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        Self {
            media_type: HeaderValue::from_static(media_type),
            etag: etag.unwrap_or_else(|_| unreachable!("hexadecimal digits are a header value")),
            bytes,
        }
    }

    /// Answers, or says that the client's copy is still good.
    pub fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let known = request.get_all(IF_NONE_MATCH).iter().any(|known| {
            known
                .to_str()
                .is_ok_and(|list| list.split(',').any(|tag| tag.trim().as_bytes() == self.etag.as_bytes()))
        });
        let mut response = Response::new(if known { Body::empty() } else { self.bytes.clone().into() });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.media_type.clone());
        headers.insert(ETAG, self.etag.clone());
        // Kept, but asked about each time, so that a deployment is seen at once.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}
