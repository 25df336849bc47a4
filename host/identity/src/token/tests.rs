use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use airhost_core::{Body, Call, Caller, Response, Target};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://pyairtable.local";
const AUDIENCE: &str = "pyairtable";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A signer of tokens, as auth-service is one.
enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn ec() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed(key) => {
                let x = base64(key.public_key());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig" })
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256" })
            }
        }
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": self.alg(), "typ": "at+jwt", "kid": kid });
        self.token_with(&header, claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = match self {
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Ec(key) => {
                key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
        };
        format!("{message}.{}", base64(signature))
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "tid": "t1", "sid": "s1",
        "exp": now() + 600, "roles": ["admin"], "scope": "read",
    })
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn config() -> Config {
    Config { issuers: vec![ISSUER.to_owned()], audiences: vec![AUDIENCE.to_owned()] }
}

fn fixed(keys: &[Value]) -> Verifier {
    Verifier::with_keys(&config(), KeySet::parse(&set(keys)).unwrap())
}

/// The part of auth-service that serves the keys.
struct AuthService {
    answer: Mutex<Option<Vec<u8>>>,
    calls: AtomicUsize,
    takes: Duration,
}

impl AuthService {
    fn new(keys: &[Value], takes: Duration) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Some(set(keys))), calls: AtomicUsize::new(0), takes })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Dispatch for AuthService {
    async fn dispatch(&self, call: Call) -> Result<Response> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(call.target, Target::Service("auth-service".parse().unwrap()));
        assert_eq!(call.request.uri().path(), "/.well-known/jwks.json");
        assert_eq!(call.context.caller, Caller::Host);
        assert!(call.context.deadline.remaining() <= Duration::from_secs(5));
        tokio::time::sleep(self.takes).await;
        match self.answer.lock().clone() {
            Some(body) => Ok(Response::new(Body::from(body))),
            None => Err(codes::CALL_UNREACHABLE.error("away")),
        }
    }
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_verified() {
    for signer in [Signer::ed(), Signer::ec()] {
        let verifier = fixed(&[signer.jwk("k1")]);
        let principal = verifier.verify(&signer.token("k1", &claims())).await.unwrap();
        assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("u1", "t1"));
        assert_eq!(
            (&principal.roles[..], &principal.scopes[..]),
            (&["admin".into()][..], &["read".into()][..])
        );
        assert_eq!(principal.issuer, ISSUER);
        let without_kid = signer.token_with(&json!({ "alg": signer.alg() }), &claims());
        verifier.verify(&without_kid).await.unwrap();
    }
}

#[tokio::test]
async fn claims_that_are_not_right_are_refused() {
    let signer = Signer::ed();
    let verifier = fixed(&[signer.jwk("k")]);
    let (invalid, expired) = (&codes::PRINCIPAL_INVALID_TOKEN, &codes::PRINCIPAL_EXPIRED);
    for (name, value, code) in [
        ("exp", json!(now() - 31), Some(expired)),
        ("exp", json!(now() - 25), None),
        ("exp", Value::Null, Some(invalid)),
        ("exp", json!("soon"), Some(invalid)),
        ("nbf", json!(now() + 60), Some(invalid)),
        ("nbf", json!(now() + 20), None),
        ("iss", json!("https://evil.org"), Some(invalid)),
        ("iss", Value::Null, Some(invalid)),
        ("aud", json!("other"), Some(invalid)),
        ("aud", json!(["other", AUDIENCE]), None),
        ("aud", Value::Null, Some(invalid)),
        ("sub", Value::Null, Some(invalid)),
        ("tid", Value::Null, Some(invalid)),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let result = verifier.verify(&signer.token("k", &claims)).await;
        match code {
            None => assert!(result.is_ok(), "{name} {value}"),
            Some(code) => assert!(code.is(&result.unwrap_err()), "{name} {value}"),
        }
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (signer, other, ec) = (Signer::ed(), Signer::ed(), Signer::ec());
    let verifier = fixed(&[signer.jwk("k"), ec.jwk("ec")]);
    let good = signer.token("k", &claims());
    verifier.verify(&good).await.unwrap();
    let (message, _) = good.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let none = base64(r#"{"alg":"none"}"#);
    // The public key as the secret of a MAC.
    let hs = format!("{}.{payload}", base64(r#"{"alg":"HS256","kid":"k"}"#));
    let public = URL_SAFE_NO_PAD.decode(signer.jwk("k")["x"].as_str().unwrap()).unwrap();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), hs.as_bytes());
    let header = |members: Value| {
        let mut header = json!({ "alg": "EdDSA", "kid": "k" });
        for (name, value) in members.as_object().unwrap() {
            header[name] = value.clone();
        }
        signer.token_with(&header, &claims())
    };
    let mut other_claims = claims();
    other_claims["sub"] = json!("admin");
    let swapped = {
        let theirs = signer.token("k", &other_claims);
        let (_, signature) = good.rsplit_once('.').unwrap();
        format!("{}.{signature}", theirs.rsplit_once('.').unwrap().0)
    };
    for (what, bad) in [
        ("nothing", String::new()),
        ("no token", "abc".to_owned()),
        ("dots", "..".to_owned()),
        ("none", format!("{none}.{payload}.")),
        ("none, upper case", format!("{}.{payload}.", base64(r#"{"alg":"NONE"}"#))),
        ("a MAC by the public key", format!("{hs}.{}", base64(mac))),
        ("no signature", format!("{message}.")),
        ("another's key", other.token("k", &claims())),
        ("another key's name", signer.token("ec", &claims())),
        ("another key and algorithm", ec.token("k", &claims())),
        ("an unknown key", signer.token("x", &claims())),
        ("no key's name, of two", signer.token_with(&json!({ "alg": "EdDSA" }), &claims())),
        ("other claims", swapped),
        ("crit", header(json!({ "crit": ["exp"] }))),
        ("an ID token", header(json!({ "typ": "id+jwt" }))),
        ("a key of its own", header(json!({ "kid": "own", "jwk": other.jwk("own") }))),
        ("another family", header(json!({ "alg": "RS256" }))),
        ("a family's other member", header(json!({ "alg": "ES384" }))),
        ("too long", format!("{good}{}", "a".repeat(MAX_TOKEN))),
    ] {
        let error = verifier.verify(&bad).await.unwrap_err();
        assert!(codes::PRINCIPAL_INVALID_TOKEN.is(&error), "{what}: {error}");
        assert!(!error.message.contains(payload), "{what}");
    }
}

#[tokio::test]
async fn a_remembered_token_still_expires_and_is_still_revoked() {
    let signer = Signer::ed();
    let time = Arc::new(AtomicU64::new(now()));
    let clock = {
        let time = Arc::clone(&time);
        Box::new(move || time.load(Ordering::SeqCst))
    };
    let keys = Keys::fixed(KeySet::parse(&set(&[signer.jwk("k")])).unwrap());
    let verifier = Verifier::build(&config(), keys, clock);
    let token = signer.token("k", &claims());
    let first = verifier.verify(&token).await.unwrap();
    let again = verifier.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second time from memory");

    verifier.revoke("other", now() + 600);
    verifier.verify(&token).await.unwrap();
    verifier.revoke("s1", now() + 600);
    assert!(codes::PRINCIPAL_REVOKED.is(&verifier.verify(&token).await.unwrap_err()));
    assert_eq!(verifier.revoked(), 2);
    let mut fresh = claims();
    fresh["jti"] = json!("2");
    let error = verifier.verify(&signer.token("k", &fresh)).await.unwrap_err();
    assert!(codes::PRINCIPAL_REVOKED.is(&error), "a new token of the session too");

    time.fetch_add(600 + LEEWAY + 5, Ordering::SeqCst);
    assert!(codes::PRINCIPAL_EXPIRED.is(&verifier.verify(&token).await.unwrap_err()));
    assert_eq!(verifier.revoked(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_for_all_who_wait() {
    let signer = Signer::ed();
    let auth = AuthService::new(&[signer.jwk("k")], Duration::from_millis(100));
    let verifier = Verifier::new(&config(), Arc::clone(&auth) as Arc<dyn Dispatch>);
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let mut claims = claims();
            claims["jti"] = json!(n);
            let (verifier, token) = (verifier.clone(), signer.token("k", &claims));
            tokio::spawn(async move { verifier.verify(&token).await })
        })
        .collect();
    // One who leaves does not take the keys from the others.
    waiting[0].abort();
    for (n, task) in waiting.into_iter().enumerate() {
        match task.await {
            Ok(result) => drop(result.unwrap()),
            Err(error) => assert!(n == 0 && error.is_cancelled()),
        }
    }
    assert_eq!(auth.calls(), 1);
    verifier.prefetch().await.unwrap();
    assert_eq!(auth.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_and_made_up_ones_do_not_cost_a_fetch_each() {
    let (old, new) = (Signer::ed(), Signer::ec());
    let auth = AuthService::new(&[old.jwk("old")], Duration::ZERO);
    let verifier = Verifier::new(&config(), Arc::clone(&auth) as Arc<dyn Dispatch>);
    let old_token = old.token("old", &claims());
    verifier.verify(&old_token).await.unwrap();
    *auth.answer.lock() = Some(set(&[old.jwk("old"), new.jwk("new")]));
    let token = new.token("new", &claims());
    assert!(verifier.verify(&token).await.is_err(), "too soon after the first fetch");
    tokio::time::advance(LOOK).await;
    verifier.verify(&token).await.unwrap();
    assert_eq!(auth.calls(), 2);
    for n in 0..20 {
        assert!(verifier.verify(&new.token(&format!("x{n}"), &claims())).await.is_err());
    }
    assert_eq!(auth.calls(), 2);
    // The old key is withdrawn: what it signed is forgotten.
    *auth.answer.lock() = Some(set(&[new.jwk("new")]));
    verifier.verify(&old_token).await.unwrap();
    tokio::time::advance(LOOK).await;
    assert!(verifier.verify(&new.token("x", &claims())).await.is_err());
    assert!(verifier.verify(&old_token).await.is_err());
}

const LOOK: Duration = Duration::from_secs(11);

#[tokio::test(start_paused = true)]
async fn old_keys_are_renewed_behind_and_outlive_auth_service() {
    let signer = Signer::ed();
    let auth = AuthService::new(&[signer.jwk("k")], Duration::from_millis(10));
    let verifier = Verifier::new(&config(), Arc::clone(&auth) as Arc<dyn Dispatch>);
    let token = |n: u64| {
        let mut claims = claims();
        claims["jti"] = json!(n);
        signer.token("k", &claims)
    };
    verifier.verify(&token(0)).await.unwrap();
    tokio::time::advance(Duration::from_secs(301)).await;
    let before = tokio::time::Instant::now();
    verifier.verify(&token(1)).await.unwrap();
    verifier.verify(&token(2)).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(auth.calls(), 2);

    *auth.answer.lock() = None;
    tokio::time::advance(Duration::from_secs(3600)).await;
    verifier.verify(&token(3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(auth.calls(), 3);
    verifier.verify(&token(4)).await.unwrap();
    assert_eq!(auth.calls(), 3, "not again at once");
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    let error = verifier.verify(&token(5)).await.unwrap_err();
    assert!(codes::PRINCIPAL_KEYS.is(&error), "a day is enough");
    *auth.answer.lock() = Some(set(&[signer.jwk("k")]));
    tokio::time::advance(Duration::from_secs(2)).await;
    verifier.verify(&token(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_keys_nobody_waits_longer_than_the_fetch() {
    let signer = Signer::ed();
    let auth = AuthService::new(&[signer.jwk("k")], Duration::from_secs(60));
    let verifier = Verifier::new(&config(), Arc::clone(&auth) as Arc<dyn Dispatch>);
    let token = signer.token("k", &claims());
    let before = tokio::time::Instant::now();
    let error = verifier.verify(&token).await.unwrap_err();
    assert!(codes::PRINCIPAL_KEYS.is(&error) && error.retry_after.is_some());
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    let before = tokio::time::Instant::now();
    assert!(verifier.verify(&token).await.is_err());
    assert_eq!(before.elapsed(), Duration::ZERO, "the next one is told at once");

    for bad in [&b"not json"[..], br#"{"keys":[]}"#, &vec![b' '; 300 << 10]] {
        let auth = AuthService::new(&[], Duration::ZERO);
        *auth.answer.lock() = Some(bad.to_vec());
        let verifier = Verifier::new(&config(), auth);
        assert!(codes::PRINCIPAL_KEYS.is(&verifier.verify(&token).await.unwrap_err()));
    }
}
