use super::*;
use http::header::AUTHORIZATION;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: [u8; 64] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn gate() -> JwtGate {
    JwtGate::new(Algorithm::HS256, DecodingKey::from_secret(&SECRET).unwrap()).unwrap()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

/// A token of the gate's own key.
fn token(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(&SECRET).unwrap(), claims)
}

fn good() -> Value {
    json!({"sub": "alice", "exp": now() + 60})
}

/// The same with a claim more, or another one in its place.
fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = good();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn refuses(gate: &JwtGate, token: &str) -> bool {
    matches!(gate.identify(token), Err(Denied::Unauthorized(_)))
}

#[test]
fn a_good_token_says_who_it_is_and_until_when() {
    let claims = with("role", "moderator");
    let who = gate().identify(&token(&claims)).unwrap();
    assert_eq!(who.name(), Some("alice"));
    let exp = claims["exp"].as_u64().unwrap();
    assert_eq!(who.expiry(), Some(UNIX_EPOCH + Duration::from_secs(exp)));
    let claims = who.claims::<Claims>().unwrap();
    assert_eq!(claims.get("role"), Some(&json!("moderator")));
    assert!(!format!("{claims:?} {who:?}").contains("moderator"));
}

#[test]
fn a_token_without_what_it_must_say_is_refused() {
    let gate = gate();
    for claims in [
        without("sub"),
        without("exp"),
        with("sub", ""),
        with("sub", 7),
        with("sub", json!(["alice"])),
        with("sub", Value::Null),
        with("exp", Value::Null),
        with("exp", "4102444800"),
        with("exp", json!([4_102_444_800_u64])),
        json!([]),
        json!("alice"),
    ] {
        assert!(refuses(&gate, &token(&claims)), "{claims}");
    }
}

#[test]
fn a_token_that_is_too_old_or_too_new_is_refused() {
    let gate = gate();
    for claims in [
        with("exp", 0),
        with("exp", 1),
        with("exp", -1),
        with("exp", now() - 2),
        with("exp", (now() - 2) as f64 + 0.5),
        with("nbf", now() + 60),
        with("nbf", "yesterday"),
    ] {
        assert!(refuses(&gate, &token(&claims)), "{claims}");
    }
    assert_eq!(
        gate.identify(&token(&with("exp", now() - 2))).unwrap_err(),
        Denied::unauthorized("the token has expired")
    );
    assert!(gate.identify(&token(&with("nbf", now()))).is_ok());
}

#[test]
fn times_that_are_far_away_are_taken_or_refused_and_nothing_else() {
    let gate = gate();
    for exp in [json!(now() + 300 * 365 * 86_400), json!(1_i64 << 53), json!(now() as f64 + 60.25)] {
        assert!(gate.identify(&token(&with("exp", exp.clone()))).is_ok(), "{exp}");
    }
    for exp in [json!(u64::MAX), json!(1e308), json!(1e19)] {
        assert!(refuses(&gate, &token(&with("exp", exp.clone()))), "{exp}");
    }
    // Whatever becomes of it.
    let _ = gate.identify(&token(&with("exp", i64::MAX)));
}

#[test]
fn only_the_key_and_its_algorithm_count_whatever_a_token_says_of_itself() {
    let gate = gate();
    let secret = EncodingKey::from_secret(&SECRET).unwrap();
    for other in [Algorithm::HS384, Algorithm::HS512] {
        assert!(refuses(&gate, &signed(other, &secret, &good())), "{other:?}");
    }
    let wrong = EncodingKey::from_secret(&[1; 64]).unwrap();
    assert!(refuses(&gate, &signed(Algorithm::HS256, &wrong, &good())));
    // {"alg":"none"}, with and without a signature.
    let token = token(&good());
    let (head, rest) = token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for unsigned in [
        format!("{none}.{claims}."),
        format!("{none}.{claims}"),
        format!("{none}.{claims}.{signature}"),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{head}..{signature}"),
        format!("{head}.{claims}.{signature}A"),
        format!("{head}.{}.{signature}", &claims[1..]),
    ] {
        assert!(refuses(&gate, &unsigned), "{unsigned}");
    }
    for garbage in ["", ".", "..", "...", "a.b.c", "é.é.é", &"A".repeat(100_000), &".".repeat(1_000)] {
        assert!(refuses(&gate, garbage), "{garbage:.20}");
    }
}

/// A public key is no secret, and must not be taken for one.
#[test]
fn a_public_key_verifies_what_the_private_one_has_signed_and_is_no_secret() {
    let public = DecodingKey::from_ed_pem(PUBLIC.as_bytes()).unwrap();
    let gate = JwtGate::new(Algorithm::EdDSA, public.clone()).unwrap();
    let private = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
    assert!(gate.identify(&signed(Algorithm::EdDSA, &private, &good())).is_ok());
    let forged = EncodingKey::from_secret(PUBLIC.as_bytes()).unwrap();
    assert!(refuses(&gate, &signed(Algorithm::HS256, &forged, &good())));
    assert_eq!(JwtGate::new(Algorithm::HS256, public).unwrap_err(), KeyError::Family(Algorithm::HS256));
    assert!(!format!("{gate:?}").contains("key"));
}

#[test]
fn a_secret_that_can_be_guessed_is_no_key() {
    for (algorithm, least) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        let key = |len| DecodingKey::from_secret(&SECRET[..len]).unwrap();
        assert!(JwtGate::new(algorithm, key(least)).is_ok());
        let short = KeyError::Short { algorithm, least, len: least - 1 };
        assert_eq!(JwtGate::new(algorithm, key(least - 1)).unwrap_err(), short);
    }
}

#[test]
fn one_key_takes_the_place_of_another() {
    let public = DecodingKey::from_ed_pem(PUBLIC.as_bytes()).unwrap();
    let gate = gate().key(Algorithm::EdDSA, public).unwrap();
    let private = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
    assert!(gate.identify(&token(&good())).is_ok());
    assert!(gate.identify(&signed(Algorithm::EdDSA, &private, &good())).is_ok());
    let expired = signed(Algorithm::EdDSA, &private, &with("exp", 1));
    assert_eq!(gate.identify(&expired).unwrap_err(), Denied::unauthorized("the token has expired"));
}

#[test]
fn a_token_is_for_whom_it_says_and_of_whom_it_says() {
    let gate = gate().audience("chat").audience("feed").issuer("https://id.example");
    let claims =
        |aud: Value, iss: Value| token(&json!({"sub": "alice", "exp": now() + 60, "aud": aud, "iss": iss}));
    for aud in [json!("chat"), json!("feed"), json!(["other", "chat"])] {
        assert!(gate.identify(&claims(aud.clone(), json!("https://id.example"))).is_ok(), "{aud}");
    }
    for (aud, iss) in [
        (json!("other"), json!("https://id.example")),
        (json!([]), json!("https://id.example")),
        (Value::Null, json!("https://id.example")),
        (json!(7), json!("https://id.example")),
        (json!("chat"), json!("https://id.example.evil.test")),
        (json!("chat"), Value::Null),
    ] {
        assert!(refuses(&gate, &claims(aud.clone(), iss.clone())), "{aud} {iss}");
    }
    assert!(refuses(&gate, &token(&good())));
    // One that is for somebody else is not for a gate that has no name.
    assert!(refuses(&self::gate(), &token(&with("aud", "chat"))));
}

#[test]
fn leeway_is_for_both_ends_and_for_the_session_and_is_bounded() {
    let gate = gate().leeway(Duration::from_secs(10));
    let claims = with("exp", now() - 5);
    let who = gate.identify(&token(&claims)).unwrap();
    let exp = claims["exp"].as_u64().unwrap();
    assert_eq!(who.expiry(), Some(UNIX_EPOCH + Duration::from_secs(exp + 10)));
    assert!(gate.identify(&token(&with("nbf", now() + 5))).is_ok());
    assert!(refuses(&gate, &token(&with("exp", now() - 15))));
    let gate = gate.leeway(Duration::MAX);
    assert!(refuses(&gate, &token(&with("exp", now() - 310))));
}

#[tokio::test]
async fn a_cookie_is_looked_at_where_that_is_said_and_nothing_else_is_shown() {
    let head = |lines: &[(http::HeaderName, String)]| {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.headers.extend(lines.iter().map(|(name, line)| (name.clone(), line.parse().unwrap())));
        head
    };
    let (alice, bob) = (token(&good()), token(&with("sub", "bob")));
    let cookies =
        head(&[(COOKIE, "a=b".to_owned()), (COOKIE, format!("c; session2=x;session={alice} ; d=e"))]);
    assert!(gate().connect(&cookies).await.is_err());
    let gate = gate().cookie("session");
    assert_eq!(gate.connect(&cookies).await.unwrap().name(), Some("alice"));
    assert!(gate.connect(&head(&[])).await.is_err());
    let both = head(&[(AUTHORIZATION, format!("Bearer {bob}")), (COOKIE, format!("session={alice}"))]);
    assert_eq!(gate.connect(&both).await.unwrap().name(), Some("bob"));
}

#[tokio::test]
async fn the_rooms_are_those_that_a_token_names_where_that_is_said() {
    let room = |name: &str| RoomName::new(name).unwrap();
    let event = Event::json("e", &1).unwrap();
    let claims =
        json!({"sub": "alice", "exp": now() + 60, "rooms": ["news", "chat:*", 7], "publish": ["chat:a"]});
    let open = gate();
    let who = open.identify(&token(&claims)).unwrap();
    assert!(open.join(&who, &room("other")).await.is_ok());
    assert!(open.publish(&who, &room("other"), &event).await.is_ok());
    let gate = gate().rooms_claimed();
    for (name, join, publish) in [
        ("news", true, false),
        ("newsletter", false, false),
        ("chat:a", true, true),
        ("chat:ab", true, false),
        ("chat", false, false),
        ("7", false, false),
    ] {
        assert_eq!(gate.join(&who, &room(name)).await.is_ok(), join, "{name}");
        assert_eq!(gate.publish(&who, &room(name), &event).await.is_ok(), publish, "{name}");
    }
    for claims in [good(), with("rooms", "*"), with("rooms", json!({"*": true})), with("rooms", Value::Null)]
    {
        let who = gate.identify(&token(&claims)).unwrap();
        let denied = gate.join(&who, &room("a")).await;
        assert!(matches!(denied, Err(Denied::Forbidden(_))), "{claims}");
    }
    let who = gate.identify(&token(&with("rooms", json!(["*"])))).unwrap();
    assert!(gate.join(&who, &room("a")).await.is_ok());
    // Another gate's identity has no such claims.
    assert!(gate.join(&Identity::user("alice"), &room("news")).await.is_err());
}

/// Made for these tests.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILX3WLEetHGoiWEckIzUoItwFXyVxydm42zrP8RHs+p6
-----END PRIVATE KEY-----";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAlEN8+KCV3citYsfALmNjz/tm2li48ocD44G7RW2Z41o=
-----END PUBLIC KEY-----";
