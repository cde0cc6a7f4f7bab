//! The transport's endpoint.

pub(crate) fn add(service: crate::Service) -> crate::Service {
    service.endpoint(tidings_sse::EventStream::new())
}
