//! Methods of the application that clients may call.

use crate::{Identity, command::told, sync::Mutex};
use serde_json::value::RawValue;
use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CallError {
    /// For programs.
    pub code: &'static str,
    /// For people; goes to the client.
    pub message: String,
}

impl CallError {
    /// An error of the application's own; code and message go to the client.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Box<RawValue>, CallError>> + Send>>;
type Handler = Arc<dyn Fn(Identity, Box<RawValue>) -> Answer + Send + Sync>;

/// The handlers, by method.
#[derive(Default)]
pub(crate) struct Calls(Mutex<HashMap<String, Handler>>);

impl Calls {
    pub(super) fn set<A, T, F>(
        &self,
        method: &str,
        handler: impl Fn(Identity, A) -> F + Send + Sync + 'static,
    ) where
        A: serde::de::DeserializeOwned + Send,
        T: serde::Serialize,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |who, data| {
            let answer = serde_json::from_str(data.get())
                .map(|arguments| handler(who, arguments))
                .map_err(|error| CallError::new("bad_data", format!("wrong arguments: {}", told(&error))));
            Box::pin(async move {
                let value = answer?.await?;
                let raw = serde_json::value::to_raw_value(&value)
                    .map_err(|_| CallError::new("internal", "the answer cannot be written as JSON"))?;
                Ok(raw)
            })
        });
        self.0.lock().insert(method.to_owned(), handler);
    }

    pub(crate) async fn call(
        &self,
        who: Identity,
        method: &str,
        data: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let handler = self.0.lock().get(method).cloned();
        match handler {
            Some(handler) => handler(who, data).await,
            None => Err(CallError::new("unknown_method", "there is no such method")),
        }
    }
}
