//! One address of the service.

use crate::{Body, Refusal, RequestBody};
use http::{Method, Response, request::Parts};
use std::{future::Future, pin::Pin};
use tidings_core::Hub;

/// A boxed answer.
pub type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// One address of the service. Before it is asked, the path, the method and the origin were checked.
pub trait Endpoint: Send + Sync + 'static {
    /// Its path below the service's own, such as `sse`.
    fn path(&self) -> &'static str;

    /// The method it answers, and that is named to whoever comes with another.
    fn method(&self) -> Method {
        Method::GET
    }

    /// Whether it answers a request of this kind; by its method, unless it says otherwise.
    fn takes(&self, head: &Parts) -> bool {
        head.method == self.method()
    }

    /// Refuses a request before it is asked, because its client asks too often.
    fn refuse(&self, head: &Parts, refusal: Refusal) -> Response<Body> {
        let _ = head;
        refusal.into_response()
    }

    /// Answers a request. The future is dropped when the client goes away.
    fn answer(&self, hub: Hub, request: Request) -> Answering;
}

/// A request, from whatever server.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// Its head.
    pub head: Parts,
    /// Its body.
    pub body: RequestBody,
}

impl Request {
    pub(crate) fn new(head: Parts, body: RequestBody) -> Self {
        Self { head, body }
    }
}
