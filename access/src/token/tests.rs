//! What a token says is what was granted; and every known way of forging one fails.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::roles::Role;

struct Fixture {
    folder: tempfile::TempDir,
    keys: Arc<KeySet>,
    issuer: TokenIssuer,
    verifier: TokenVerifier,
}

fn noon() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn scope() -> TokenScope {
    TokenScope { issuer: "https://veza.test".to_owned(), audience: "veza".to_owned() }
}

fn grant() -> TokenGrant {
    TokenGrant {
        user_id: Uuid::from_u128(7),
        session: SessionId(Uuid::from_u128(8)),
        roles: Roles::from_iter([Role::Listener, Role::Artist]),
        email_verified: true,
    }
}

fn verifier(ring: &Arc<KeyRing>) -> TokenVerifier {
    TokenVerifier::new(Arc::clone(ring), &scope(), Arc::new(noon))
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let ring = Arc::new(KeyRing::load_or_create(folder.path(), noon()).unwrap());
    let issuer = TokenIssuer::new(Arc::clone(&ring), scope());
    let verifier = verifier(&ring);
    Fixture { folder, keys: ring.keys(noon()), issuer, verifier }
}

fn good_token(fixture: &Fixture) -> String {
    fixture.issuer.issue(&grant(), Uuid::from_u128(9), noon()).text
}

fn good_header(fixture: &Fixture) -> Value {
    json!({"typ": "at+jwt", "alg": "EdDSA", "kid": fixture.keys.kid()})
}

fn good_claims() -> Value {
    let now = noon().timestamp();
    json!({
        "iss": "https://veza.test", "aud": "veza", "sub": Uuid::from_u128(7),
        "sid": Uuid::from_u128(8), "roles": ["artist"], "email_verified": true,
        "iat": now, "nbf": now, "exp": now + 600, "jti": Uuid::from_u128(9),
    })
}

/// `base` with `change`'s members set, or taken out where they are null.
fn changed(mut base: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

/// A token with exactly this header and these claims, whatever they say.
fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn by_ring(fixture: &Fixture, header: &Value, claims: &Value) -> String {
    signed(header, claims, fixture.keys.signing(), Algorithm::EdDSA)
}

#[test]
fn a_token_says_what_was_granted() {
    let fixture = fixture();
    let token = fixture.issuer.issue(&grant(), Uuid::from_u128(9), noon());
    assert_eq!(token.expires_at, noon() + TimeDelta::minutes(10));
    let principal = fixture.verifier.verify_now(token.as_str()).unwrap();
    let expected = Principal {
        user_id: grant().user_id,
        session: grant().session,
        roles: grant().roles,
        email_verified: true,
        expires_at: token.expires_at,
    };
    assert_eq!(principal, expected);
    assert!(!format!("{token:?}").contains(token.as_str()));
}

#[test]
fn a_token_has_the_claims_and_header_it_must() {
    let fixture = fixture();
    let token = good_token(&fixture);
    let parts: Vec<_> = token.split('.').collect();
    let part = |text: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(part(parts[0]), good_header(&fixture));
    assert_eq!(part(parts[1]), changed(good_claims(), json!({"roles": ["listener", "artist"]})));
}

/// Each row changes the claims of a token that is otherwise good, and signs it with our own key.
#[test]
fn wrong_claims_are_refused() {
    let fixture = fixture();
    let now = noon().timestamp();
    let cases = [
        (json!({}), Ok(())),
        (json!({"aud": "other"}), Err(TokenError::Audience)),
        (json!({"aud": ["veza", "other"]}), Err(TokenError::Malformed)),
        (json!({"aud": null}), Err(TokenError::Malformed)),
        (json!({"iss": "https://veza.test/"}), Err(TokenError::Issuer)),
        (json!({"iss": null}), Err(TokenError::Malformed)),
        (json!({"sub": "not a uuid"}), Err(TokenError::Malformed)),
        (json!({"sub": null}), Err(TokenError::Malformed)),
        (json!({"sid": null}), Err(TokenError::Malformed)),
        (json!({"roles": null}), Err(TokenError::Malformed)),
        (json!({"email_verified": null}), Err(TokenError::Malformed)),
        (json!({"jti": null}), Err(TokenError::Malformed)),
        (json!({"exp": null}), Err(TokenError::Malformed)),
        (json!({"exp": "4000000000"}), Err(TokenError::Malformed)),
        (json!({"nbf": null}), Err(TokenError::Malformed)),
        (json!({"exp": now - 29}), Ok(())),
        (json!({"exp": now - 30}), Err(TokenError::Expired)),
        (json!({"exp": 0}), Err(TokenError::Expired)),
        (json!({"exp": i64::MIN}), Err(TokenError::Malformed)),
        (json!({"nbf": now + 30}), Ok(())),
        (json!({"nbf": now + 31}), Err(TokenError::NotYetValid)),
        (json!({"nbf": i64::MAX}), Err(TokenError::NotYetValid)),
        (json!({"iat": now + 31}), Err(TokenError::NotYetValid)),
        (json!({"roles": ["emperor"]}), Ok(())),
        (json!({"more": "a".repeat(1000)}), Ok(())),
        (json!({"more": "a".repeat(TOKEN_BYTES_MAX)}), Err(TokenError::Malformed)),
    ];
    for (change, expected) in cases {
        let claims = changed(good_claims(), change.clone());
        let token = by_ring(&fixture, &good_header(&fixture), &claims);
        let outcome = fixture.verifier.verify(&token, noon()).map(|_| ());
        assert_eq!(outcome, expected, "{change}");
    }
}

/// Each row changes the header of a token that is otherwise good, and signs it with our own key.
#[test]
fn wrong_headers_are_refused() {
    let fixture = fixture();
    let cases = [
        (json!({}), Ok(())),
        (json!({"typ": "application/at+jwt"}), Ok(())),
        (json!({"typ": "AT+JWT"}), Ok(())),
        (json!({"typ": "JWT"}), Err(TokenError::Type)),
        (json!({"typ": null}), Err(TokenError::Type)),
        (json!({"kid": null}), Err(TokenError::UnknownKey)),
        (json!({"kid": "../signing-key.pk8"}), Err(TokenError::UnknownKey)),
        (json!({"alg": "none"}), Err(TokenError::Malformed)),
        (json!({"alg": "HS256"}), Err(TokenError::Algorithm)),
        (json!({"alg": "ES256"}), Err(TokenError::Algorithm)),
        (json!({"alg": null}), Err(TokenError::Malformed)),
        (json!({"crit": ["b64"], "b64": "false"}), Err(TokenError::Algorithm)),
        // Ignored: the ring's key verified it.
        (json!({"jku": "https://evil.test/jwks.json"}), Ok(())),
        (json!({"x5u": "https://evil.test/chain.pem"}), Ok(())),
    ];
    for (change, expected) in cases {
        let header = changed(good_header(&fixture), change.clone());
        let token = by_ring(&fixture, &header, &good_claims());
        let outcome = fixture.verifier.verify(&token, noon()).map(|_| ());
        assert_eq!(outcome, expected, "{change}");
    }
}

/// Each row is a token that an attacker without our private key can make.
fn forged(ours: &Fixture, theirs: &Fixture) -> Vec<(&'static str, String, TokenError)> {
    let (header, claims) = (good_header(ours), good_claims());
    let unsigned = |header: &Value| {
        let token = by_ring(ours, header, &claims);
        token[..=token.rfind('.').unwrap()].to_owned()
    };
    let public_key = ours.keys.verifying(ours.keys.kid(), noon()).unwrap();
    let secret = EncodingKey::from_secret(public_key.as_bytes());
    let hs256 = changed(header.clone(), json!({"alg": "HS256"}));
    let their_jwk = json!({"jwk": theirs.keys.jwks().keys[0], "jku": "https://evil.test/jwks"});
    let carries_key = changed(header.clone(), their_jwk);
    let good = good_token(ours);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other_claims =
        URL_SAFE_NO_PAD.encode(changed(claims.clone(), json!({"sub": Uuid::nil()})).to_string());
    let swapped = format!("{}.{other_claims}.{signature}", message.split('.').next().unwrap());

    let none = changed(header.clone(), json!({"alg": "none"}));
    vec![
        ("alg none", unsigned(&none), TokenError::Malformed),
        ("alg nOnE", unsigned(&changed(none, json!({"alg": "nOnE"}))), TokenError::Malformed),
        ("no signature", unsigned(&header), TokenError::Signature),
        (
            "the public key as secret",
            signed(&hs256, &claims, &secret, Algorithm::HS256),
            TokenError::Algorithm,
        ),
        ("another ring's key", good_token(theirs), TokenError::UnknownKey),
        ("another key, our kid", by_ring(theirs, &header, &claims), TokenError::Signature),
        ("a key in the header", by_ring(theirs, &carries_key, &claims), TokenError::Signature),
        ("other claims, our signature", swapped, TokenError::Signature),
        ("empty", String::new(), TokenError::Malformed),
        ("two parts", message.to_owned(), TokenError::Malformed),
        ("four parts", format!("{good}.{signature}"), TokenError::Malformed),
        ("too long", "a".repeat(TOKEN_BYTES_MAX + 1), TokenError::Malformed),
    ]
}

#[test]
fn forged_tokens_are_refused() {
    let (ours, theirs) = (fixture(), fixture());
    for (what, token, expected) in forged(&ours, &theirs) {
        assert_eq!(ours.verifier.verify(&token, noon()), Err(expected), "{what}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let fixture = fixture();
    let token = good_token(&fixture);
    for length in 0..token.len() {
        assert!(fixture.verifier.verify(&token[..length], noon()).is_err(), "{length} bytes");
    }
}

/// A remembered token expires like any other.
#[test]
fn times_are_checked_at_every_use() {
    let fixture = fixture();
    let token = good_token(&fixture);
    let end = noon() + ACCESS_TOKEN_LIFE + CLOCK_LEEWAY;
    let verify = |now| fixture.verifier.verify(&token, now).map(|_| ());
    assert_eq!(verify(noon()), Ok(()));
    assert_eq!(verify(noon()), Ok(()));
    assert_eq!(verify(end - TimeDelta::seconds(1)), Ok(()));
    assert_eq!(verify(end), Err(TokenError::Expired));
    assert_eq!(verify(noon() - TimeDelta::seconds(31)), Err(TokenError::NotYetValid));
    assert_eq!(verify(noon() - TimeDelta::seconds(30)), Ok(()));
}

#[test]
fn tokens_of_a_retired_key_verify_until_it_is_gone() {
    let fixture = fixture();
    let old = good_token(&fixture);
    let verify = |token: &str| fixture.verifier.verify(token, noon()).map(|_| ());
    assert_eq!(verify(&old), Ok(()));
    let folder = fixture.folder.path();
    let keys = KeySet::rotate(folder, noon()).unwrap();
    let new = good_token(&fixture);
    assert_eq!(jsonwebtoken::decode_header(&new).unwrap().kid.as_deref(), Some(keys.kid()));
    assert_eq!((verify(&old), verify(&new)), (Ok(()), Ok(())));

    // Remembered or not.
    let retired = format!("{}.retired.json", fixture.keys.kid());
    std::fs::remove_file(folder.join(retired)).unwrap();
    assert_eq!((verify(&old), verify(&new)), (Err(TokenError::UnknownKey), Ok(())));
}

#[test]
fn a_remembered_token_does_not_outlive_its_retired_key() {
    let fixture = fixture();
    let claims = changed(good_claims(), json!({"exp": noon().timestamp() + 1_000_000}));
    let forged = by_ring(&fixture, &good_header(&fixture), &claims);
    KeySet::rotate(fixture.folder.path(), noon()).unwrap();
    let verify = |now| fixture.verifier.verify(&forged, now).map(|_| ());
    let end = noon() + crate::key_set::RETIRED_KEY_LIFE;
    assert_eq!(verify(end - TimeDelta::seconds(1)), Ok(()));
    assert_eq!(verify(end), Err(TokenError::UnknownKey));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No character of a token can be changed for another.
    #[test]
    fn every_changed_character_is_refused(
        at in any::<prop::sample::Index>(),
        to in "[A-Za-z0-9_.-]",
    ) {
        let fixture = fixture();
        let mut token = good_token(&fixture);
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        token.replace_range(at..=at, &to);
        prop_assert!(fixture.verifier.verify(&token, noon()).is_err());
    }

    #[test]
    fn garbage_is_refused_without_panic(token in "\\PC{0,200}") {
        prop_assert!(fixture().verifier.verify(&token, noon()).is_err());
    }
}
