//! What a client may say to the core: commands, positions, cursors, names.
//!
//! Input: a byte that chooses which of them, and its text.

use crate::input::Input;
use tidings_core::{Command, Cursor, EventName, From, Position, RoomName};

/// Reads the text as one of them.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let text = input.rest();
    match choice % 4 {
        0 => command(text),
        1 => str::from_utf8(text).map_or((), position),
        2 => str::from_utf8(text).map_or((), |text| cursor(text, usize::from(choice / 4 % 4))),
        _ => str::from_utf8(text).map_or((), names),
    }
}

fn command(text: &[u8]) {
    let one = Command::parse(text);
    match &one {
        Ok(command) => check(command, text),
        Err(error) => {
            let known = ["bad_json", "bad_command", "bad_room", "bad_event", "bad_cursor", "bad_key"];
            assert!(known.contains(&error.code));
            // It goes back to the peer, which must not make much of little.
            assert!(error.message.chars().count() < 300, "{}", error.message);
        }
    }
    match Command::parse_many(text, MANY) {
        Ok(many) => {
            assert!(many.len() <= MANY.max(1));
            many.iter().flatten().for_each(|command| check(command, text));
            if text.trim_ascii_start().first() != Some(&b'[') {
                assert!(many.len() == 1 && many[0].is_ok() == one.is_ok());
            }
        }
        Err(error) => assert!(matches!(error.code, "bad_json" | "too_many") && one.is_err()),
    }
}

/// What a command holds, its parts allow.
fn check(command: &Command, text: &[u8]) {
    let payload = match command {
        Command::Join { room, from, .. } => {
            names(room);
            if let From::After(after) = from {
                position(&after.to_string());
            }
            return;
        }
        Command::Leave { room, .. } => return names(room),
        Command::Publish { room, event, key, .. } => {
            names(room);
            names(event.name());
            assert!(key.as_ref().is_none_or(|key| (1..=100).contains(&key.len())));
            &event.data()[..]
        }
        Command::Call { data, .. } => data.get().as_bytes(),
        Command::Auth { token, .. } => {
            assert!((1..=16 << 10).contains(&token.as_str().len()));
            return;
        }
        Command::Ping { .. } => return,
        other => panic!("{other:?}"),
    };
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok(), "a payload is JSON");
    let kept = text.windows(payload.len()).any(|window| window == payload);
    assert!(kept || payload == b"null", "a payload keeps its bytes");
}

fn position(text: &str) {
    if let Ok(position) = text.parse::<Position>() {
        assert!(text.len() <= Position::MAX_TEXT);
        assert_eq!(position.to_string(), text, "a position has one text");
    }
}

fn cursor(text: &str, rooms: usize) {
    let rooms: Vec<_> =
        ["a", "b", "c"][..rooms].iter().map(|name| RoomName::new(name).expect("a name")).collect();
    let Ok(cursor) = Cursor::parse(text, &rooms) else { return };
    assert_eq!(cursor.positions().len(), rooms.len());
    let again = cursor.display(&rooms).to_string();
    if !rooms.is_empty() {
        assert_eq!(Cursor::parse(&again, &rooms), Ok(cursor), "{again}");
    }
}

fn names(text: &str) {
    let controls = text.contains(char::is_control);
    if let Ok(name) = RoomName::new(text) {
        assert!(name.as_str() == text && (1..=RoomName::MAX).contains(&text.len()));
        let is_user_room = name.user().is_some_and(|user| !user.is_empty());
        assert!(!controls && (!text.starts_with('~') || is_user_room));
    }
    if let Ok(name) = EventName::new(text) {
        assert!(name.as_str() == text && (1..=EventName::MAX).contains(&text.len()));
        assert!(!controls && !text.starts_with("tidings."));
    }
}

/// Commands in one text, at most.
const MANY: usize = 4;
