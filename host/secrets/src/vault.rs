mod material;
mod store;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use airhost_core::{Error, Result, ServiceName, Tenant, codes};
use moka::sync::Cache;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::{MasterKey, totp};
use material::{Kind, Material};
use store::{Place, Store, StoreError};

/// Largest value, in bytes: a key file, not a document.
const MAX_VALUE: usize = 64 << 10;
/// Longest name, in bytes.
const MAX_NAME: usize = 256;
/// Names that begin so belong to the service alone, whoever asks.
const SHARED: &str = "shared/";
/// Secrets that are kept decrypted: a request to a host outside should not wait for a disk.
const CACHED: u64 = 4096;
/// How long they are kept without being used.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// What a secret can be used for; mirrors `algorithm` of `wit/context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 signatures.
    Ed25519,
    /// ECDSA on P-256 with SHA-256; signatures are `r || s`, as in JOSE.
    Es256,
    /// RSA PKCS#1 v1.5 with SHA-256. Such keys are put (PKCS#8), not generated.
    Rs256,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
}

/// For whom the vault is used: the service, and the tenant of the call.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// Whose call it is. Without one, only names that begin with `shared/` can be used
    /// (`tenant.missing`).
    pub tenant: Option<&'a Tenant>,
}

/// Why a vault was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The master key file cannot be read or made.
    #[error("the master key {0} cannot be used")]
    MasterKey(String, #[source] std::io::Error),
    /// There are secrets, but not the key they were wrapped with.
    #[error("there is a vault, but its master key {0} is missing; restore it from a backup")]
    MasterKeyMissing(String),
    /// The key is not the one that the secrets were wrapped with.
    #[error("the master key is not the one the vault was made with")]
    OtherMasterKey,
    /// The file is of a later version of the host.
    #[error("the vault has format {0}, which this version of the host does not know")]
    Format(i64),
    /// The file cannot be opened.
    #[error("the vault {0} cannot be opened")]
    Store(String, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Secrets, encrypted at rest, by service, tenant and name.
///
/// Every function may answer `secrets.unavailable` when the file cannot be read or written, or a
/// record in it was changed by other hands. Names are 1 to 256 bytes without control characters
/// (`secrets.name`).
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    store: Store,
    cache: Cache<Place, Arc<Material>>,
    random: SystemRandom,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Opens the vault of a folder: `vault.db`, with the key in `master.key`. Both are made when
    /// neither is there. Reads and writes files: at start-up.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let (file, key) = (folder.join("vault.db"), folder.join("master.key"));
        let named = |error| OpenError::MasterKey(key.display().to_string(), error);
        let master = match MasterKey::read(&key) {
            Ok(master) => master,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(named(error)),
            // An empty file holds nothing that a new key could not open.
            Err(_) if file.metadata().is_ok_and(|file| file.len() > 0) => {
                return Err(OpenError::MasterKeyMissing(key.display().to_string()));
            }
            Err(_) => MasterKey::create(&key).map_err(named)?,
        };
        Self::open_with(&file, &master)
    }

    /// Opens a vault with a key that comes from elsewhere.
    pub fn open_with(file: &Path, master: &MasterKey) -> Result<Self, OpenError> {
        let cache = Cache::builder().max_capacity(CACHED).time_to_idle(CACHED_FOR).build();
        let store = Store::open(file, master)?;
        Ok(Self(Arc::new(Inner { store, cache, random: SystemRandom::new() })))
    }

    /// Stores a value of 1 byte to 64 KiB (`secrets.value`), in place of what was there. A private
    /// key to sign with is PKCS#8, as DER or PEM; a TOTP seed is its raw bytes.
    pub async fn put(&self, owner: Owner<'_>, name: &str, value: &[u8]) -> Result<()> {
        if value.is_empty() || value.len() > MAX_VALUE {
            return Err(codes::SECRETS_VALUE.error("a secret's value is 1 to 65536 bytes"));
        }
        let place = Place::of(owner, name)?;
        self.write(place, Kind::Value, Zeroizing::new(value.to_vec())).await
    }

    /// Makes a random key in place of what was there, and answers its public half as a JWK (empty
    /// for MACs). RSA keys cannot be made here (`secrets.algorithm`): no vetted implementation in
    /// Rust makes them; put one.
    pub async fn generate(
        &self,
        owner: Owner<'_>,
        name: &str,
        algorithm: Algorithm,
    ) -> Result<String> {
        let place = Place::of(owner, name)?;
        let (kind, value) = material::generate(algorithm, &self.0.random)?;
        let public = match algorithm {
            Algorithm::HmacSha256 | Algorithm::HmacSha512 => String::new(),
            _ => Material::new(kind, value.clone()).public_key()?,
        };
        self.write(place, kind, value).await?;
        Ok(public)
    }

    /// Whether there is such a secret.
    pub async fn exists(&self, owner: Owner<'_>, name: &str) -> Result<bool> {
        let place = Place::of(owner, name)?;
        if self.0.cache.contains_key(&place) {
            return Ok(true);
        }
        self.blocking(move |inner| inner.store.contains(&place)).await
    }

    /// Deletes it; false if there was none.
    pub async fn delete(&self, owner: Owner<'_>, name: &str) -> Result<bool> {
        let place = Place::of(owner, name)?;
        self.blocking(move |inner| inner.store.delete(&place, || inner.cache.invalidate(&place)))
            .await
    }

    /// Deletes every secret of a tenant in a service, for offboarding. Answers how many.
    pub async fn delete_tenant(&self, service: &ServiceName, tenant: &Tenant) -> Result<u64> {
        let (service, tenant) = (service.clone(), tenant.clone());
        self.blocking(move |inner| {
            inner.store.delete_tenant(&service, &tenant, || inner.cache.invalidate_all())
        })
        .await
    }

    /// The names that begin with a prefix, sorted: the tenant's, and those that are shared.
    pub async fn names(&self, owner: Owner<'_>, prefix: &str) -> Result<Vec<String>> {
        let (service, tenant) = (owner.service.clone(), owner.tenant.cloned());
        let prefix = prefix.to_owned();
        self.blocking(move |inner| inner.store.names(&service, tenant.as_ref(), &prefix)).await
    }

    /// The public half as a JWK; `secrets.algorithm` if it is not a private key.
    pub async fn public_key(&self, owner: Owner<'_>, name: &str) -> Result<String> {
        self.load(owner, name).await?.public_key()
    }

    /// Signs a message. `secrets.algorithm` if the secret is of another kind; MACs are made by
    /// [`Self::mac`].
    pub async fn sign(
        &self,
        owner: Owner<'_>,
        name: &str,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>> {
        self.load(owner, name).await?.sign(algorithm, message, &self.0.random)
    }

    /// Whether a signature or MAC is this secret's; in constant time.
    pub async fn verify(
        &self,
        owner: Owner<'_>,
        name: &str,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool> {
        self.load(owner, name).await?.verify(algorithm, message, signature)
    }

    /// The MAC of a message: by a generated secret of the algorithm, or by any value that was put.
    pub async fn mac(
        &self,
        owner: Owner<'_>,
        name: &str,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>> {
        self.load(owner, name).await?.mac(algorithm, message)
    }

    /// Encrypts with authentication: version (1), nonce (12 bytes), AES-256-GCM ciphertext and
    /// tag. The key is derived from the secret (HKDF with SHA-256), which is a generated MAC
    /// secret or a value of at least 16 bytes.
    pub async fn seal(
        &self,
        owner: Owner<'_>,
        name: &str,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>> {
        self.load(owner, name).await?.seal(plaintext, aad, &self.0.random)
    }

    /// Decrypts what [`Self::seal`] made with the same secret and the same `aad`;
    /// `secrets.sealed` otherwise.
    pub async fn open_sealed(
        &self,
        owner: Owner<'_>,
        name: &str,
        sealed: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>> {
        self.load(owner, name).await?.open(sealed, aad)
    }

    /// Checks a one-time password (RFC 6238: SHA-1, 30 s, 6 digits, one step either way) and
    /// answers the step it is of, so that the caller can refuse it a second time.
    pub async fn totp_verify(
        &self,
        owner: Owner<'_>,
        name: &str,
        code: &str,
    ) -> Result<Option<u64>> {
        let seed = self.load(owner, name).await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(totp::verify(seed.value()?, code, since.as_secs()))
    }

    /// The secret itself, for what this crate does with it.
    pub(crate) async fn load(&self, owner: Owner<'_>, name: &str) -> Result<Arc<Material>> {
        let place = Place::of(owner, name)?;
        if let Some(found) = self.0.cache.get(&place) {
            return Ok(found);
        }
        let found = self
            .blocking(move |inner| {
                inner.store.get(&place, |kind, value| {
                    let material = Arc::new(Material::new(kind, value));
                    inner.cache.insert(place.clone(), Arc::clone(&material));
                    material
                })
            })
            .await?;
        found.ok_or_else(|| codes::SECRETS_NOT_FOUND.error(format!("there is no secret `{name}`")))
    }

    async fn write(&self, place: Place, kind: Kind, value: Zeroizing<Vec<u8>>) -> Result<()> {
        self.blocking(move |inner| {
            inner.store.put(&place, kind, &value, || inner.cache.invalidate(&place))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the vault failed");
                Err(unavailable())
            }
            Err(_) => Err(unavailable()),
        }
    }
}

fn unavailable() -> Error {
    codes::SECRETS_UNAVAILABLE.error("the vault cannot be read or written now")
}

#[cfg(test)]
mod tests;
