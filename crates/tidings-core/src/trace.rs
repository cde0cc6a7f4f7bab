//! Spans for whoever traces: around work, and gone with it, so that a session which does nothing holds none.

use crate::session::Mailbox;
use tracing::{Span, debug_span};

/// A command under way, of a session or, without one, of a request. What is in the command is not told.
pub(crate) fn command(name: &'static str, session: Option<&Mailbox>) -> Span {
    // None of this is looked at where nobody traces.
    debug_span!(
        "command",
        command = name,
        session = session.map(Mailbox::serial),
        transport = session.map(|session| session.transport().name()),
    )
}
