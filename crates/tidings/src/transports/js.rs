//! The client for browsers, served beside the endpoints it talks to.

use tidings_core::Hub;
use tidings_http::{Answering, Asset, Endpoint, Request};

/// `GET …/tidings.js`.
struct Script(Asset);

impl Endpoint for Script {
    fn path(&self) -> &'static str {
        "tidings.js"
    }

    fn answer(&self, _: Hub, request: Request) -> Answering {
        let response = self.0.answer(&request.head.headers);
        Box::pin(std::future::ready(response))
    }
}

pub(crate) fn add(service: crate::Service) -> crate::Service {
    service.endpoint(Script(Asset::new(tidings_js::MEDIA_TYPE, tidings_js::SCRIPT)))
}
