//! `crypto`: hashing, passwords, signatures and compression in native code.

use std::sync::Arc;

use airhost_core::codes;
use airhost_crypto::{
    compression as native_compression, hash as native_hash, password::Passwords,
    signature as native_signature,
};
use airhost_telemetry::trace::Kind;

use super::Answer;
use crate::{
    bindings::imports::pyairtable::crypto::{compression, hash, password, signature},
    state::State,
    trace::spanned,
};

fn hash_algorithm(algorithm: hash::Algorithm) -> native_hash::Algorithm {
    match algorithm {
        hash::Algorithm::Sha1 => native_hash::Algorithm::Sha1,
        hash::Algorithm::Sha256 => native_hash::Algorithm::Sha256,
        hash::Algorithm::Sha512 => native_hash::Algorithm::Sha512,
    }
}

impl hash::Host for State {
    fn digest(&mut self, algorithm: hash::Algorithm, data: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        Ok(native_hash::digest(hash_algorithm(algorithm), &data))
    }

    fn hmac(
        &mut self,
        algorithm: hash::Algorithm,
        key: Vec<u8>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Vec<u8>> {
        Ok(native_hash::hmac(hash_algorithm(algorithm), &key, &data))
    }

    fn equal(&mut self, a: Vec<u8>, b: Vec<u8>) -> wasmtime::Result<bool> {
        Ok(native_hash::equal(&a, &b))
    }
}

impl State {
    fn passwords(&self) -> airhost_core::Result<Arc<Passwords>> {
        self.service
            .environment
            .passwords
            .clone()
            .ok_or_else(|| codes::IMPORT_UNSUPPORTED.error("this node hashes no passwords"))
    }
}

impl password::Host for State {
    async fn hash(&mut self, password: String) -> Answer<String> {
        let passwords = self.passwords()?;
        let span = self.span(Kind::Internal, "password hash");
        Ok(spanned(span, passwords.hash(&password)).await?)
    }

    async fn verify(&mut self, password: String, hash: String) -> Answer<password::Verdict> {
        let passwords = self.passwords()?;
        let span = self.span(Kind::Internal, "password verify");
        let verdict = spanned(span, passwords.verify(&password, &hash)).await?;
        Ok(password::Verdict { matches: verdict.matches, outdated: verdict.outdated })
    }

    async fn verify_nothing(&mut self, password: String) -> Answer<()> {
        let passwords = self.passwords()?;
        // Named as the real one: who reads traces does not learn which accounts there are.
        let span = self.span(Kind::Internal, "password verify");
        Ok(spanned(span, passwords.verify_nothing(&password)).await?)
    }
}

impl signature::Host for State {
    fn verify(
        &mut self,
        algorithm: signature::Algorithm,
        public_key: String,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Answer<bool> {
        let algorithm = match algorithm {
            signature::Algorithm::Ed25519 => native_signature::Algorithm::Ed25519,
            signature::Algorithm::Es256 => native_signature::Algorithm::Es256,
            signature::Algorithm::Rs256 => native_signature::Algorithm::Rs256,
        };
        Ok(native_signature::verify(algorithm, &public_key, &message, &signature)?)
    }
}

fn format(format: compression::Format) -> native_compression::Format {
    match format {
        compression::Format::Gzip => native_compression::Format::Gzip,
        compression::Format::Deflate => native_compression::Format::Deflate,
        compression::Format::Zstd => native_compression::Format::Zstd,
        compression::Format::Brotli => native_compression::Format::Brotli,
    }
}

impl compression::Host for State {
    async fn compress(&mut self, with: compression::Format, data: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(native_compression::compress(format(with), data).await?)
    }

    async fn decompress(
        &mut self,
        with: compression::Format,
        data: Vec<u8>,
        max: u64,
    ) -> Answer<Vec<u8>> {
        Ok(native_compression::decompress(format(with), data, max).await?)
    }
}
