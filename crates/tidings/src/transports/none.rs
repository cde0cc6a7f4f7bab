//! What is not compiled in.

pub(crate) fn add(service: crate::Service) -> crate::Service {
    service
}
