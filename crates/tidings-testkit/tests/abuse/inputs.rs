//! What an attacker sends: something right, and then what is done to it.

use tidings_testkit::{
    Random,
    raw::{fragments, handshake, masked},
};

/// Requests that are right, and answered at once.
const TARGETS: &[(&str, &str)] = &[
    ("GET", "/realtime/poll?room=a"),
    ("GET", "/realtime/poll?room=a&cursor=p1.2.3&wait=0"),
    ("GET", "/realtime/poll?room=a&room=b&from=now&from=start&hello=1"),
    ("GET", "/realtime/poll?room=a&room=b&cursor=v_x3Hq0AAAAB&wait=0"),
    ("GET", "/poll?room=%F0%9F%A6%80"),
    ("GET", "/realtime/ws?room=a"),
    ("OPTIONS", "/realtime/send"),
    ("POST", "/realtime/send"),
    ("POST", "/realtime/send"),
    ("GET", "/realtime/poll?room=a&ticket=AAAAAAAAAAAAAAAAAAAAAA"),
    ("GET", "/realtime/ws?auth=1"),
    ("POST", "/realtime/ticket"),
    ("GET", "/"),
];

/// Those, and more of the kind that has no end.
const STREAMS: &[(&str, &str)] = &[
    ("GET", "/realtime/sse?room=a"),
    ("GET", "/realtime/sse?room=a&from=start&format=json&hello=1"),
    ("GET", "/realtime/sse?room=a&room=b&from=v_x3Hq0AAAAB"),
    ("GET", "/realtime/poll?room=a&wait=60"),
    ("POST", "/realtime/send"),
    ("BREW", "/realtime/send"),
];

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "BREW"];

/// Header fields that are fields, whatever is in them.
const FIELDS: &[&str] = &[
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-For: 6.6.6.6, 192.0.2.8:99, unknown",
    "X-Forwarded-For: \"[::1]:x, ,,;=\"",
    "X-Forwarded-For: 2001:db8::1, [2001:db8:0:1::2]:443",
    "Forwarded: for=\"[2001:db8::1]:80\\\";proto=x, for=_hid",
    "Last-Event-ID: p1.2.3",
    "Last-Event-ID: \u{fffd}",
    "Last-Event-ID: vAAAA",
    "Last-Event-ID: p4294967296.1.1",
    "Origin: https://evil.example",
    "Origin: null",
    "Origin: ://",
    "Sec-Fetch-Site: same-origin",
    "Accept: text/event-stream",
    "Content-Type: text/\u{e9}",
    "Authorization: Bearer ????",
    "Cookie: a=b; ;;=",
    "Upgrade: h2c",
    "Sec-WebSocket-Version: 12",
    "Sec-WebSocket-Key: short",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7",
    "Sec-WebSocket-Protocol: ,, tidings.v1",
    "Sec-WebSocket-Protocol: tidings.v1, tidings.token.YS5iLWM",
    "Sec-WebSocket-Protocol: tidings.token., tidings.token.\u{e9}",
];

/// Lines that are none, or that say something wrong of the request itself.
const WRONG_FIELDS: &[&str] = &[
    "Content-Encoding: gzip",
    "Content-Length: 18446744073709551616",
    "Content-Length: -1",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Connection: upgrade, close",
    "Upgrade: websocket",
    "Host: b",
    "X: \u{0}",
    "no colon",
    ": no name",
    " folded",
];

/// Commands that are right. None has a key, of which a server has to keep ten thousand for five minutes.
const COMMANDS: &[&str] = &[
    r#"{"type":"join","ref":1,"room":"a","from":"start"}"#,
    r#"{"type":"join","ref":2,"room":"ROOM","from":"p1.2.3"}"#,
    r#"{"type":"leave","ref":3,"room":"a"}"#,
    r#"{"type":"publish","ref":4,"room":"a","event":"chat","data":{"text":"hi"}}"#,
    r#"{"type":"publish","room":"ROOM","event":"e","data":[1,2,{"x":null}]}"#,
    r#"{"type":"call","ref":5,"method":"rename","data":"x"}"#,
    r#"{"type":"ping","ref":18446744073709551615}"#,
    r#"{"type":"auth","token":"x"}"#,
];

/// Values that stand at an edge.
const EDGES: &[&str] = &[
    "",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "null",
    "[",
    "{",
    "\"",
    "\\u0000",
    "\\ud800",
    "%00",
    "%ff",
    "%",
    "\r\n",
    "\n",
    "\0",
    "~",
    "*",
    "tidings.",
    "p",
    "p.",
    "p1.2",
    "pzzzzzzzz.1.1",
    "p1.zzzzzzzzzzzzzzz.1",
    "v",
    "v=",
    "now",
    "start",
    "\u{1f980}",
    "../..",
    "&room=",
    "&from=",
    "?",
    "#",
    ";",
    "a=b",
    "HTTP/1.1",
    "HTTP/2.0",
    "PRI * ",
];

/// Does something to bytes, once or a few times; mostly little, so that they stay nearly right.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let end = (at + random.below(8) as usize).min(bytes.len());
        match random.below(9) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, random.below(256) as u8),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 => drop(bytes.splice(at..end, random.pick(EDGES).bytes())),
            5 => {
                let piece = bytes[at..end].to_vec();
                let again = piece.repeat(1 + random.below(40) as usize);
                bytes.splice(at..at, again);
            }
            6 => drop(bytes.splice(at..end, [0xc0, 0x80, 0xff].into_iter().take(random.below(4) as usize))),
            7 => {
                let long = vec![b'a' + random.below(26) as u8; random.below(2_000) as usize];
                bytes.splice(at..at, long);
            }
            _ => {}
        }
    }
}

/// A command, as text.
pub(crate) fn command(random: &mut Random) -> Vec<u8> {
    let room = format!("r{}", random.below(300));
    let mut command = random.pick(COMMANDS).replace("ROOM", &room).into_bytes();
    if random.below(3) > 0 {
        mutate(random, &mut command);
    }
    if random.below(200) == 0 {
        command = deep(random);
    }
    command
}

/// More levels, or more bytes, than anybody takes.
fn deep(random: &mut Random) -> Vec<u8> {
    let open = random.pick(&["[", "{\"a\":", "[{\"b\":"]);
    match random.below(2) {
        0 => open.repeat(3_000).into_bytes(),
        _ => format!(r#"{{"type":"publish","room":"a","event":"e","data":"{}"}}"#, "x".repeat(20_000))
            .into_bytes(),
    }
}

/// A request that HTTP has nothing against, and that is answered for that, with whatever in it.
pub(crate) fn request(random: &mut Random) -> Vec<u8> {
    let (method, target) = *random.pick(TARGETS);
    let mut target = target.as_bytes().to_vec();
    if random.below(3) > 0 {
        mutate(random, &mut target);
    }
    let method = if random.below(20) == 0 { *random.pick(METHODS) } else { method };
    let fields: Vec<_> = (0..random.below(4)).map(|_| *random.pick(FIELDS)).collect();
    put_request(method, &legal(&target), &fields, &if method == "POST" { body(random) } else { Vec::new() })
}

/// A request that may be anything, and after which nothing is answered any more.
pub(crate) fn last_request(random: &mut Random) -> Vec<u8> {
    let (method, target) = *random.pick(STREAMS);
    let mut target = target.as_bytes().to_vec();
    mutate(random, &mut target);
    let mut fields: Vec<_> = (0..random.below(3)).map(|_| *random.pick(FIELDS)).collect();
    fields.extend((0..random.below(3)).map(|_| *random.pick(WRONG_FIELDS)));
    let many = format!("X-Many: {}", "y".repeat(random.below(1_000) as usize));
    if random.below(50) == 0 {
        fields.extend(std::iter::repeat_n(many.as_str(), 150));
    }
    let mut request = put_request(method, &target, &fields, &body(random));
    if random.below(2) == 0 {
        mutate(random, &mut request);
    }
    request
}

fn put_request(method: &str, target: &[u8], fields: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: a\r\n"].concat();
    for field in fields {
        request.extend_from_slice(field.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() {
        request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    [&request[..], b"\r\n", body].concat()
}

/// What may stand in a request's first line: the rest in percents.
fn legal(target: &[u8]) -> Vec<u8> {
    let mut legal = Vec::new();
    for byte in target {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'/'
            | b'?'
            | b'&'
            | b'='
            | b'%'
            | b'.'
            | b'~'
            | b'+' => legal.push(*byte),
            byte => legal.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    if legal.first() != Some(&b'/') {
        legal.insert(0, b'/');
    }
    legal
}

/// One command or several.
fn body(random: &mut Random) -> Vec<u8> {
    if random.below(2) == 0 {
        return command(random);
    }
    let commands: Vec<_> = (0..random.below(70)).map(|_| command(random)).collect();
    let mut body = [&b"["[..], &commands.join(&b','), b"]"].concat();
    mutate(random, &mut body);
    body
}

/// A WebSocket handshake; mostly one that is agreed to.
pub(crate) fn upgrade(random: &mut Random) -> Vec<u8> {
    let address = format!("X-Forwarded-For: 203.0.113.{}", random.below(16));
    // Other windows than the usual one are no matter of this: a thread keeps what it needs for each that was ever agreed to.
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate";
    if random.below(5) > 0 {
        let headers: &[&str] = if random.below(2) == 0 { &[&address, deflate] } else { &[&address] };
        return handshake("/realtime/ws?room=a", headers).into_bytes();
    }
    let mut upgrade = handshake("/realtime/ws?room=a", &[&address]).into_bytes();
    mutate(random, &mut upgrade);
    upgrade
}

/// A frame that WebSocket has nothing against, with whatever in it.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => masked(*random.pick(&[0x89, 0x8a]), &vec![b'p'; random.below(126) as usize]),
        1 => masked(0x82, &[0, 1, 2]),
        2 => fragments(0x81, &text(random), 1 + random.below(20) as usize),
        _ => masked(0x81, &text(random)),
    }
}

/// A command as a text message may have it.
fn text(random: &mut Random) -> Vec<u8> {
    let command = String::from_utf8_lossy(&command(random)).into_owned();
    // More would be the end of the connection.
    if command.len() < 15_000 { command.into_bytes() } else { b"[[[".to_vec() }
}

/// A frame that mostly is the end of the connection.
pub(crate) fn last_frame(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => masked(*random.pick(&[0x88, 0x89, 0x8a, 0x09]), &vec![b'p'; random.below(140) as usize]),
        // A fragment, with or without a beginning.
        1 => masked(*random.pick(&[0x01, 0x00, 0x80, 0x02]), &command(random)),
        // Not compressed, whatever it says; bits and opcodes that mean nothing.
        2 => masked(*random.pick(&[0xc1, 0x41, 0x91, 0xa1, 0x83, 0x8b]), &command(random)),
        // A length that is more than is taken, or than comes.
        3 => [&[0x81, 0xff][..], &random.below(u64::MAX).to_be_bytes(), &[1, 2, 3, 4]].concat(),
        4 => {
            let mut frame = masked(0x81, &command(random));
            mutate(random, &mut frame);
            frame
        }
        // Not masked.
        5 => [&[0x81, 2][..], b"{}"].concat(),
        6 => masked(0x88, &[&(random.below(6_000) as u16).to_be_bytes()[..], b"bye\xff"].concat()),
        7 => masked(0x81, &[b'x'; 20_000]),
        _ => masked(0x81, b"\xff\xc0"),
    }
}

/// HTTP/2, and then what is none.
pub(crate) fn http2(random: &mut Random) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..random.below(20) {
        let payload: Vec<u8> = (0..random.below(40)).map(|_| random.below(256) as u8).collect();
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[random.below(12) as u8, random.below(256) as u8]);
        bytes.extend_from_slice(&(random.below(8) as u32).to_be_bytes());
        bytes.extend_from_slice(&payload);
    }
    if random.below(4) == 0 {
        mutate(random, &mut bytes);
    }
    bytes
}
