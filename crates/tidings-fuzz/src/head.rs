//! Heads of requests.

use http::{Request, Version, request::Parts};

/// A head as hyper hands it on, where the bytes are one.
pub(crate) fn parse(head: &[u8]) -> Option<Parts> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut request = Request::builder()
        .method(parsed.method?)
        .uri(parsed.path?)
        .version(if parsed.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 });
    for field in parsed.headers {
        request = request.header(field.name, field.value);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some(parts)
}
