use std::{fmt, sync::OnceLock};

use airhost_core::{Error, Result, codes};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::LessSafeKey,
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use zeroize::Zeroizing;

use super::Algorithm;
use crate::{
    jwk,
    master_key::{open, seal, sealing_key},
};

/// First byte of what `seal` makes.
const SEALED_VERSION: u8 = 1;
/// The shortest value that a sealing key is derived from.
const MIN_SEALING: usize = 16;

/// How a secret came to be, which says what it may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Kind {
    /// It was put.
    Value = 0,
    Ed25519 = 1,
    Es256 = 2,
    HmacSha256 = 3,
    HmacSha512 = 4,
}

impl Kind {
    pub(super) fn from_number(number: i64) -> Option<Self> {
        [Self::Value, Self::Ed25519, Self::Es256, Self::HmacSha256, Self::HmacSha512]
            .into_iter()
            .find(|kind| *kind as i64 == number)
    }
}

/// A new secret of an algorithm: PKCS#8 for key pairs, as many bytes as the hash has for MACs.
pub(super) fn generate(
    algorithm: Algorithm,
    random: &SystemRandom,
) -> Result<(Kind, Zeroizing<Vec<u8>>)> {
    let failed = |_| codes::SECRETS_UNAVAILABLE.error("no random numbers");
    let bytes = |length| {
        let mut bytes = Zeroizing::new(vec![0; length]);
        random.fill(&mut bytes).map_err(failed).map(|()| bytes)
    };
    Ok(match algorithm {
        Algorithm::Ed25519 => {
            let key = Ed25519KeyPair::generate_pkcs8(random).map_err(failed)?;
            (Kind::Ed25519, Zeroizing::new(key.as_ref().to_vec()))
        }
        Algorithm::Es256 => {
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random)
                .map_err(failed)?;
            (Kind::Es256, Zeroizing::new(key.as_ref().to_vec()))
        }
        Algorithm::Rs256 => {
            return Err(codes::SECRETS_ALGORITHM
                .error("RSA keys are not generated here: put one as PKCS#8, or use es256"));
        }
        Algorithm::HmacSha256 => (Kind::HmacSha256, bytes(32)?),
        Algorithm::HmacSha512 => (Kind::HmacSha512, bytes(64)?),
    })
}

/// A decrypted secret. Wiped when it is dropped.
pub(crate) struct Material {
    kind: Kind,
    value: Zeroizing<Vec<u8>>,
    /// Read from the value when it is first signed with: that takes longer than signing.
    pair: OnceLock<Pair>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Material {
    pub(super) fn new(kind: Kind, value: Zeroizing<Vec<u8>>) -> Self {
        Self { kind, value, pair: OnceLock::new() }
    }

    /// The bytes, if they were put.
    pub(crate) fn value(&self) -> Result<&[u8]> {
        match self.kind {
            Kind::Value => Ok(&self.value),
            _ => Err(other_kind("the secret was generated for signatures or MACs")),
        }
    }

    pub(super) fn public_key(&self) -> Result<String> {
        let wanted = match self.kind {
            Kind::Ed25519 => &[Algorithm::Ed25519][..],
            Kind::Es256 => &[Algorithm::Es256],
            Kind::Value => &[Algorithm::Ed25519, Algorithm::Es256, Algorithm::Rs256],
            Kind::HmacSha256 | Kind::HmacSha512 => &[],
        };
        let pair = wanted.iter().find_map(|algorithm| self.pair(*algorithm).ok());
        Ok(match pair.ok_or_else(|| other_kind("the secret is not a private key"))? {
            Pair::Ed25519(pair) => jwk::ed25519(pair.public_key().as_ref()),
            Pair::Es256(pair) => jwk::p256(pair.public_key().as_ref()),
            Pair::Rs256(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                jwk::rsa(&public.n, &public.e)
            }
        })
    }

    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        random: &SystemRandom,
    ) -> Result<Vec<u8>> {
        let failed = |_| codes::INTERNAL.error("signing failed");
        match self.pair(algorithm)? {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Es256(pair) => Ok(pair.sign(random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool> {
        if let Algorithm::HmacSha256 | Algorithm::HmacSha512 = algorithm {
            return Ok(hmac::verify(&self.hmac_key(algorithm)?, message, signature).is_ok());
        }
        let verified = match self.pair(algorithm)? {
            Pair::Ed25519(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key()).verify(message, signature)
            }
            Pair::Es256(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key())
                    .verify(message, signature)
            }
            Pair::Rs256(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public())
                .verify(message, signature),
        };
        Ok(verified.is_ok())
    }

    pub(super) fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        Ok(hmac::sign(&self.hmac_key(algorithm)?, message).as_ref().to_vec())
    }

    pub(super) fn seal(
        &self,
        plaintext: &[u8],
        aad: &[u8],
        random: &SystemRandom,
    ) -> Result<Vec<u8>> {
        let sealed = seal(&self.sealing_key()?, random, aad, plaintext)
            .map_err(|_| codes::INTERNAL.error("sealing failed"))?;
        Ok([&[SEALED_VERSION], sealed.as_slice()].concat())
    }

    pub(super) fn open(&self, sealed: &[u8], aad: &[u8]) -> Result<Vec<u8>> {
        let key = self.sealing_key()?;
        let refuse = || {
            codes::SECRETS_SEALED
                .error("the data was changed, or sealed by another secret or with another aad")
        };
        let body = sealed.strip_prefix(&[SEALED_VERSION]).ok_or_else(refuse)?;
        // The guest gets the plaintext, so that there is nothing to wipe.
        open(&key, aad, body).map(|plaintext| plaintext.to_vec()).map_err(|_| refuse())
    }

    fn hmac_key(&self, algorithm: Algorithm) -> Result<hmac::Key> {
        let hash = match (algorithm, self.kind) {
            (Algorithm::HmacSha256, Kind::HmacSha256 | Kind::Value) => hmac::HMAC_SHA256,
            (Algorithm::HmacSha512, Kind::HmacSha512 | Kind::Value) => hmac::HMAC_SHA512,
            _ => return Err(other_kind("the secret is not for MACs of this algorithm")),
        };
        Ok(hmac::Key::new(hash, &self.value))
    }

    fn sealing_key(&self) -> Result<LessSafeKey> {
        match self.kind {
            Kind::Value if self.value.len() < MIN_SEALING => {
                return Err(codes::SECRETS_VALUE
                    .error("a value to seal with has at least 16 bytes; better generate one"));
            }
            Kind::Value | Kind::HmacSha256 | Kind::HmacSha512 => {}
            Kind::Ed25519 | Kind::Es256 => {
                return Err(other_kind("a key for signatures cannot seal"));
            }
        }
        let failed = |_| codes::INTERNAL.error("deriving a key failed");
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"airhost vault")
            .extract(&self.value)
            .expand(&[b"seal 1"], hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(key.as_mut()))
            .map_err(failed)?;
        Ok(sealing_key(&key))
    }

    fn pair(&self, algorithm: Algorithm) -> Result<&Pair> {
        let fits = matches!(
            (algorithm, self.kind),
            (Algorithm::Ed25519, Kind::Ed25519)
                | (Algorithm::Es256, Kind::Es256)
                | (Algorithm::Ed25519 | Algorithm::Es256 | Algorithm::Rs256, Kind::Value)
        );
        if !fits {
            return Err(other_kind("the secret is not a private key of this algorithm"));
        }
        let pair = match self.pair.get() {
            Some(pair) => pair,
            None => {
                let pair = self.read_pair(algorithm)?;
                self.pair.get_or_init(|| pair)
            }
        };
        let same = matches!(
            (pair, algorithm),
            (Pair::Ed25519(_), Algorithm::Ed25519)
                | (Pair::Es256(_), Algorithm::Es256)
                | (Pair::Rs256(_), Algorithm::Rs256)
        );
        if same {
            Ok(pair)
        } else {
            Err(other_kind("the secret is a private key of another algorithm"))
        }
    }

    fn read_pair(&self, algorithm: Algorithm) -> Result<Pair> {
        let der = self.pkcs8()?;
        let pair = match algorithm {
            // Version 1 of PKCS#8, as OpenSSL writes it, has no public key to check against.
            Algorithm::Ed25519 => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Pair::Ed25519)
            }
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &der,
                &SystemRandom::new(),
            )
            .map(Pair::Es256),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(&der).map(Pair::Rs256),
            Algorithm::HmacSha256 | Algorithm::HmacSha512 => {
                return Err(other_kind("MACs are made by `mac`"));
            }
        };
        pair.map_err(|_| other_kind("the secret is not a PKCS#8 private key of this algorithm"))
    }

    /// The value as DER; PEM is decoded (RFC 7468).
    fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let Some(body) = self.value.trim_ascii().strip_prefix(b"-----BEGIN PRIVATE KEY-----")
        else {
            return Ok(self.value.clone());
        };
        let body = body
            .strip_suffix(b"-----END PRIVATE KEY-----")
            .ok_or_else(|| other_kind("the secret is not a PEM private key"))?;
        let base64: Zeroizing<Vec<u8>> = Zeroizing::new(
            body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect(),
        );
        STANDARD
            .decode(base64.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| other_kind("the secret is not a PEM private key"))
    }
}

fn other_kind(message: &str) -> Error {
    codes::SECRETS_ALGORITHM.error(message)
}
