//! Where the crate is built without what axum's server needs.

use http::Extensions;

/// Of the connections of other servers nothing is known but what these have said.
pub(crate) fn introduce(_: &mut Extensions) {}
