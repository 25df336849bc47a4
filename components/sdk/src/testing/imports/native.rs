//! Cryptography and the vault.

/// Digests.
pub(crate) mod hash {
    use ring::{digest as ring_digest, hmac as ring_hmac};

    use crate::bindings::pyairtable::crypto::hash::Algorithm;

    pub(crate) fn digest(algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
        let algorithm = match algorithm {
            Algorithm::Sha1 => &ring_digest::SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => &ring_digest::SHA256,
            Algorithm::Sha512 => &ring_digest::SHA512,
        };
        ring_digest::digest(algorithm, data).as_ref().to_vec()
    }

    pub(crate) fn hmac(algorithm: Algorithm, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match algorithm {
            Algorithm::Sha1 => ring_hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => ring_hmac::HMAC_SHA256,
            Algorithm::Sha512 => ring_hmac::HMAC_SHA512,
        };
        ring_hmac::sign(&ring_hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
        a == b
    }
}

/// Passwords: a quick stand-in that keeps the contract, since Argon2id takes tens of milliseconds
/// on purpose.
pub(crate) mod password {
    use crate::{
        bindings::pyairtable::{
            crypto::{hash::Algorithm, password::Verdict},
            types::errors::{Error, ErrorClass},
        },
        testing::state::{error, with},
    };

    const PREFIX: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

    fn digest(salt: &str, password: &str) -> String {
        crate::crypto::hex(&super::hash::hmac(
            Algorithm::Sha256,
            salt.as_bytes(),
            password.as_bytes(),
        ))
    }

    pub(crate) fn hash(password: &str) -> Result<String, Error> {
        if !(1..=1024).contains(&password.len()) {
            return Err(error(ErrorClass::Invalid, "password.length", "1 to 1 024 bytes"));
        }
        let salt = with(|state| state.next_uuid());
        Ok(format!("{PREFIX}{salt}${}", digest(&salt, password)))
    }

    pub(crate) fn verify(password: &str, hash: &str) -> Result<Verdict, Error> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            let matches =
                with(|state| state.passwords.get(hash).is_some_and(|known| known == password));
            return Ok(Verdict { matches, outdated: true });
        }
        let parts = hash.strip_prefix(PREFIX).and_then(|rest| rest.split_once('$'));
        let Some((salt, expected)) = parts else {
            return Err(error(ErrorClass::Invalid, "password.format", "not a password hash"));
        };
        Ok(Verdict { matches: digest(salt, password) == expected, outdated: false })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as in the contract")]
    pub(crate) fn verify_nothing(_password: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// Signatures by public keys.
pub(crate) mod signature {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use ring::signature as ring_signature;

    use crate::{
        bindings::pyairtable::{
            crypto::signature::Algorithm,
            types::errors::{Error, ErrorClass},
        },
        testing::state::error,
    };

    pub(crate) fn verify(
        algorithm: Algorithm,
        public_key: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Error> {
        let wrong = || error(ErrorClass::Invalid, "signature.key", "not a JWK of the algorithm");
        let jwk: serde_json::Value = serde_json::from_str(public_key).map_err(|_| wrong())?;
        let member = |name: &str| {
            jwk.get(name)
                .and_then(|value| value.as_str())
                .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
                .ok_or_else(wrong)
        };
        Ok(match algorithm {
            Algorithm::Ed25519 => {
                let key = member("x")?;
                ring_signature::UnparsedPublicKey::new(&ring_signature::ED25519, key)
                    .verify(message, signature)
                    .is_ok()
            }
            Algorithm::Es256 => {
                let key = [vec![4], member("x")?, member("y")?].concat();
                ring_signature::UnparsedPublicKey::new(
                    &ring_signature::ECDSA_P256_SHA256_FIXED,
                    key,
                )
                .verify(message, signature)
                .is_ok()
            }
            Algorithm::Rs256 => {
                ring_signature::RsaPublicKeyComponents { n: member("n")?, e: member("e")? }
                    .verify(&ring_signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
        })
    }
}

/// Compression: gzip and deflate.
pub(crate) mod compression {
    use std::io::Read as _;

    use flate2::{Compression, read};

    use crate::{
        bindings::pyairtable::{
            crypto::compression::Format,
            types::errors::{Error, ErrorClass},
        },
        testing::state::error,
    };

    fn unsupported() -> Error {
        error(ErrorClass::Unsupported, "import.unsupported", "tests know gzip and deflate")
    }

    fn invalid() -> Error {
        error(ErrorClass::Invalid, "compression.invalid", "not of this format")
    }

    pub(crate) fn compress(format: Format, data: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let done = match format {
            Format::Gzip => {
                read::GzEncoder::new(data, Compression::default()).read_to_end(&mut out)
            }
            Format::Deflate => {
                read::ZlibEncoder::new(data, Compression::default()).read_to_end(&mut out)
            }
            Format::Zstd | Format::Brotli => return Err(unsupported()),
        };
        done.map_err(|_| invalid())?;
        Ok(out)
    }

    pub(crate) fn decompress(format: Format, data: &[u8], max: u64) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let done = match format {
            Format::Gzip => read::MultiGzDecoder::new(data).take(max + 1).read_to_end(&mut out),
            Format::Deflate => read::ZlibDecoder::new(data).take(max + 1).read_to_end(&mut out),
            Format::Zstd | Format::Brotli => return Err(unsupported()),
        };
        done.map_err(|_| invalid())?;
        if out.len() as u64 > max {
            return Err(error(ErrorClass::Invalid, "compression.too-large", "too large"));
        }
        Ok(out)
    }
}

/// The vault.
pub(crate) mod secrets {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use ring::{
        aead, rand,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };

    use super::{hash, signature};
    use crate::{
        bindings::pyairtable::{
            context::secrets::Algorithm,
            crypto::{
                hash::Algorithm as HashAlgorithm, signature::Algorithm as SignatureAlgorithm,
            },
            types::errors::{Error, ErrorClass},
        },
        testing::state::{Secret, State, error, with},
    };

    fn scoped(state: &State, name: &str) -> Result<String, Error> {
        if !(1..=256).contains(&name.len()) {
            return Err(error(ErrorClass::Invalid, "secrets.name", "1 to 256 bytes"));
        }
        state.granted(|grants| grants.secret(name))?;
        if name.starts_with("shared/") {
            return Ok(name.to_owned());
        }
        Ok(format!("{}\u{1}{name}", state.tenant().unwrap_or_default()))
    }

    fn missing() -> Error {
        error(ErrorClass::NotFound, "secrets.not-found", "the vault has no secret of this name")
    }

    fn mismatch() -> Error {
        error(ErrorClass::Invalid, "secrets.algorithm", "the secret is of another kind")
    }

    fn bytes_of(name: &str) -> Result<Vec<u8>, Error> {
        with(|state| {
            let key = scoped(state, name)?;
            match state.secrets.get(&key) {
                Some(Secret::Value(bytes)) => Ok(bytes.clone()),
                Some(Secret::Pair(..)) => Err(mismatch()),
                None => Err(missing()),
            }
        })
    }

    fn pair_of(name: &str) -> Result<(Algorithm, Vec<u8>), Error> {
        with(|state| {
            let key = scoped(state, name)?;
            match state.secrets.get(&key) {
                Some(Secret::Pair(algorithm, pkcs8)) => Ok((*algorithm, pkcs8.clone())),
                Some(Secret::Value(_)) => Err(mismatch()),
                None => Err(missing()),
            }
        })
    }

    pub(crate) fn put(name: &str, value: &[u8]) -> Result<(), Error> {
        with(|state| {
            state.check("context/secrets")?;
            let key = scoped(state, name)?;
            state.secrets.insert(key, Secret::Value(value.to_vec()));
            Ok(())
        })
    }

    pub(crate) fn generate(name: &str, algorithm: Algorithm) -> Result<String, Error> {
        let random = rand::SystemRandom::new();
        let failed = |_| error(ErrorClass::Internal, "internal.error", "no key was made");
        let secret = match algorithm {
            Algorithm::Ed25519 => Secret::Pair(
                algorithm,
                Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?.as_ref().to_vec(),
            ),
            Algorithm::Es256 => Secret::Pair(
                algorithm,
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                    .map_err(failed)?
                    .as_ref()
                    .to_vec(),
            ),
            Algorithm::HmacSha256 | Algorithm::HmacSha512 => {
                Secret::Value(crate::random::bytes::<32>().to_vec())
            }
            Algorithm::Rs256 => {
                return Err(error(
                    ErrorClass::Unsupported,
                    "import.unsupported",
                    "tests make no RSA keys; use es256 or ed25519",
                ));
            }
        };
        let pair = matches!(secret, Secret::Pair(..));
        with(|state| {
            let key = scoped(state, name)?;
            state.secrets.insert(key, secret);
            Ok(())
        })?;
        if pair { public_key(name) } else { Ok(String::new()) }
    }

    pub(crate) fn exists(name: &str) -> Result<bool, Error> {
        with(|state| Ok(state.secrets.contains_key(&scoped(state, name)?)))
    }

    pub(crate) fn delete(name: &str) -> Result<bool, Error> {
        with(|state| {
            let key = scoped(state, name)?;
            Ok(state.secrets.remove(&key).is_some())
        })
    }

    pub(crate) fn names(prefix: &str) -> Result<Vec<String>, Error> {
        with(|state| {
            let tenant = format!("{}\u{1}", state.tenant().unwrap_or_default());
            Ok(state
                .secrets
                .keys()
                .filter_map(|key| {
                    let name = key
                        .strip_prefix(&tenant)
                        .or_else(|| key.starts_with("shared/").then_some(key.as_str()))?;
                    name.starts_with(prefix).then(|| name.to_owned())
                })
                .collect())
        })
    }

    fn ecdsa(pkcs8: &[u8]) -> Result<EcdsaKeyPair, Error> {
        EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pkcs8,
            &rand::SystemRandom::new(),
        )
        .map_err(|_| mismatch())
    }

    pub(crate) fn public_key(name: &str) -> Result<String, Error> {
        let (algorithm, pkcs8) = pair_of(name)?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        if algorithm == Algorithm::Ed25519 {
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| mismatch())?;
            let x = encode(pair.public_key().as_ref());
            return Ok(serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}).to_string());
        }
        let pair = ecdsa(&pkcs8)?;
        let point = pair.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        Ok(serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}).to_string())
    }

    pub(crate) fn sign(name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        if matches!(algorithm, Algorithm::HmacSha256 | Algorithm::HmacSha512) {
            return mac(name, algorithm, message);
        }
        let (made_for, pkcs8) = pair_of(name)?;
        if made_for != algorithm {
            return Err(mismatch());
        }
        if algorithm == Algorithm::Ed25519 {
            let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| mismatch())?;
            return Ok(pair.sign(message).as_ref().to_vec());
        }
        let signature = ecdsa(&pkcs8)?.sign(&rand::SystemRandom::new(), message);
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| mismatch())
    }

    pub(crate) fn verify(
        name: &str,
        algorithm: Algorithm,
        message: &[u8],
        given: &[u8],
    ) -> Result<bool, Error> {
        let public = match algorithm {
            Algorithm::HmacSha256 | Algorithm::HmacSha512 => {
                return Ok(mac(name, algorithm, message)? == given);
            }
            Algorithm::Ed25519 => SignatureAlgorithm::Ed25519,
            Algorithm::Es256 => SignatureAlgorithm::Es256,
            Algorithm::Rs256 => SignatureAlgorithm::Rs256,
        };
        signature::verify(public, &public_key(name)?, message, given)
    }

    pub(crate) fn mac(name: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Error> {
        let algorithm = match algorithm {
            Algorithm::HmacSha256 => HashAlgorithm::Sha256,
            Algorithm::HmacSha512 => HashAlgorithm::Sha512,
            _ => return Err(mismatch()),
        };
        Ok(hash::hmac(algorithm, &bytes_of(name)?, message))
    }

    fn cipher(name: &str) -> Result<aead::LessSafeKey, Error> {
        let secret = bytes_of(name)?;
        let key = hash::digest(HashAlgorithm::Sha256, &secret);
        aead::UnboundKey::new(&aead::AES_256_GCM, &key)
            .map(aead::LessSafeKey::new)
            .map_err(|_| mismatch())
    }

    pub(crate) fn seal(name: &str, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = crate::random::bytes::<12>();
        let mut sealed = plaintext.to_vec();
        cipher(name)?
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad),
                &mut sealed,
            )
            .map_err(|_| mismatch())?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(name: &str, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>, Error> {
        let changed = || error(ErrorClass::Invalid, "secrets.sealed", "the data was changed");
        let (nonce, sealed) = sealed.split_at_checked(12).ok_or_else(changed)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let mut sealed = sealed.to_vec();
        let plain = cipher(name)?
            .open_in_place(nonce, aead::Aad::from(aad), &mut sealed)
            .map_err(|_| changed())?;
        Ok(plain.to_vec())
    }

    pub(crate) fn totp_verify(name: &str, code: &str) -> Result<Option<u64>, Error> {
        let seed = bytes_of(name)?;
        let now = crate::Timestamp::now().as_seconds().max(0).unsigned_abs() / 30;
        for step in [now, now.saturating_sub(1), now + 1] {
            if totp(&seed, step) == code {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// The code of a step (RFC 4226, section 5.3).
    pub(crate) fn totp(seed: &[u8], step: u64) -> String {
        let mac = hash::hmac(HashAlgorithm::Sha1, seed, &step.to_be_bytes());
        let at = usize::from(mac[19] & 15);
        let number = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
        format!("{:06}", number % 1_000_000)
    }
}
