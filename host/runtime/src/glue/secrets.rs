//! `context/secrets`: a vault that is used by handle and never read.

use airhost_core::codes;
use airhost_secrets::{self as secrets, Owner, Vault};

use super::Answer;
use crate::{
    bindings::imports::pyairtable::context::secrets::{self as wit, Algorithm},
    service::VaultGrant,
    state::State,
};

impl State {
    fn grant(&self) -> airhost_core::Result<&VaultGrant> {
        self.service
            .environment
            .vault
            .as_ref()
            .ok_or_else(|| codes::IMPORT_DENIED.error("the manifest has no [secrets]"))
    }

    fn vault(&self, name: &str) -> airhost_core::Result<Vault> {
        let grant = self.grant()?;
        secrets::check_grant(&grant.names, name)?;
        Ok(grant.vault.clone())
    }

    fn owner(&self) -> Owner<'_> {
        Owner { service: &self.service.name, tenant: self.call.context.tenant.as_ref() }
    }
}

fn algorithm(algorithm: Algorithm) -> secrets::Algorithm {
    match algorithm {
        Algorithm::Ed25519 => secrets::Algorithm::Ed25519,
        Algorithm::Es256 => secrets::Algorithm::Es256,
        Algorithm::Rs256 => secrets::Algorithm::Rs256,
        Algorithm::HmacSha256 => secrets::Algorithm::HmacSha256,
        Algorithm::HmacSha512 => secrets::Algorithm::HmacSha512,
    }
}

impl wit::Host for State {
    async fn put(&mut self, name: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.vault(&name)?.put(self.owner(), &name, &value).await?)
    }

    async fn generate(&mut self, name: String, with: Algorithm) -> Answer<String> {
        Ok(self.vault(&name)?.generate(self.owner(), &name, algorithm(with)).await?)
    }

    async fn exists(&mut self, name: String) -> Answer<bool> {
        Ok(self.vault(&name)?.exists(self.owner(), &name).await?)
    }

    async fn delete(&mut self, name: String) -> Answer<bool> {
        Ok(self.vault(&name)?.delete(self.owner(), &name).await?)
    }

    async fn names(&mut self, prefix: String) -> Answer<Vec<String>> {
        let grant = self.grant()?;
        let names = grant.vault.names(self.owner(), &prefix).await?;
        Ok(names.into_iter().filter(|name| grant.names.allows(name)).collect())
    }

    async fn public_key(&mut self, name: String) -> Answer<String> {
        Ok(self.vault(&name)?.public_key(self.owner(), &name).await?)
    }

    async fn sign(&mut self, name: String, with: Algorithm, message: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(self.vault(&name)?.sign(self.owner(), &name, algorithm(with), &message).await?)
    }

    async fn verify(
        &mut self,
        name: String,
        with: Algorithm,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Answer<bool> {
        Ok(self
            .vault(&name)?
            .verify(self.owner(), &name, algorithm(with), &message, &signature)
            .await?)
    }

    async fn mac(&mut self, name: String, with: Algorithm, message: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(self.vault(&name)?.mac(self.owner(), &name, algorithm(with), &message).await?)
    }

    async fn seal(&mut self, name: String, plaintext: Vec<u8>, aad: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(self.vault(&name)?.seal(self.owner(), &name, &plaintext, &aad).await?)
    }

    async fn open(&mut self, name: String, sealed: Vec<u8>, aad: Vec<u8>) -> Answer<Vec<u8>> {
        Ok(self.vault(&name)?.open_sealed(self.owner(), &name, &sealed, &aad).await?)
    }

    async fn totp_verify(&mut self, name: String, code: String) -> Answer<Option<u64>> {
        Ok(self.vault(&name)?.totp_verify(self.owner(), &name, &code).await?)
    }
}
