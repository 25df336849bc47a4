use std::{fmt, path::Path, time::Duration};

use airhost_core::{Result, ServiceName, Tenant, codes};
use parking_lot::Mutex;
use ring::{
    aead::LessSafeKey,
    rand::{SecureRandom, SystemRandom},
};
use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::{MAX_NAME, OpenError, Owner, SHARED, material::Kind};
use crate::{
    MasterKey,
    master_key::{open, private_file, seal, sealing_key},
};

/// Version of the file's format.
const FORMAT: i64 = 1;
/// What a vault's first record says, sealed by the master key: that it is the right one.
const PROOF: &[u8] = b"airhost vault";

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    service: ServiceName,
    tenant: Option<Tenant>,
    name: Box<str>,
}

impl Place {
    /// The place a name has for its owner.
    pub(super) fn of(owner: Owner<'_>, name: &str) -> Result<Self> {
        let valid = (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        if !valid {
            return Err(codes::SECRETS_NAME
                .error("a secret's name is 1 to 256 bytes without control characters"));
        }
        let tenant = match owner.tenant {
            _ if name.starts_with(SHARED) => None,
            Some(tenant) => Some(tenant.clone()),
            None => {
                return Err(codes::TENANT_MISSING.error(format!(
                    "the secret `{name}` is a tenant's and the call has no tenant"
                )));
            }
        };
        Ok(Self { service: owner.service.clone(), tenant, name: name.into() })
    }

    fn scope(&self) -> String {
        scope(self.tenant.as_ref())
    }

    /// What a record is bound to. Lengths are in it, so that no two places are the same.
    fn aad(&self, part: &str) -> Vec<u8> {
        let scope = self.scope();
        let mut aad = Vec::new();
        for text in [part, self.service.as_str(), &scope, &self.name] {
            aad.extend_from_slice(&(text.len() as u64).to_le_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        aad
    }
}

/// The column: empty for what is shared.
fn scope(tenant: Option<&Tenant>) -> String {
    tenant.map_or_else(String::new, |tenant| format!("tenant:{tenant}"))
}

/// Why the file could not be used. It names no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the vault's file failed")]
    Sql(#[from] rusqlite::Error),
    #[error("the record of `{0}` was changed by other hands")]
    Tampered(String),
    #[error("no random numbers, or no encryption")]
    Crypto,
}

/// The file.
pub(super) struct Store {
    connection: Mutex<Connection>,
    master: LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    pub(super) fn open(file: &Path, master: &MasterKey) -> Result<Self, OpenError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            OpenError::Store(file.display().to_string(), error)
        };
        match private_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(error.into()));
            }
            // SQLite gives its journals the mode of the file.
            Ok(_) | Err(_) => {}
        }
        let mut connection = Connection::open(file).map_err(|error| failed(error.into()))?;
        let random = SystemRandom::new();
        let format = prepare(&mut connection).map_err(|error| failed(error.into()))?;
        if format > FORMAT {
            return Err(OpenError::Format(format));
        }
        let proof: Option<Vec<u8>> = connection
            .query_row("SELECT proof FROM vault", [], |row| row.get(0))
            .optional()
            .map_err(|error| failed(error.into()))?;
        match proof {
            Some(proof) => {
                open(master.key(), PROOF, &proof).map_err(|_| OpenError::OtherMasterKey)?;
            }
            None => {
                let proof = seal(master.key(), &random, PROOF, PROOF)
                    .map_err(|_| failed(Box::new(StoreError::Crypto)))?;
                connection
                    .execute("INSERT INTO vault (proof) VALUES (?1)", [proof])
                    .map_err(|error| failed(error.into()))?;
            }
        }
        Ok(Self { connection: Mutex::new(connection), master: master.key().clone(), random })
    }

    /// Writes a record and calls `written` before anyone can read the old one into a cache again.
    pub(super) fn put(
        &self,
        place: &Place,
        kind: Kind,
        value: &[u8],
        written: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let mut data_key = Zeroizing::new([0; 32]);
        self.random.fill(data_key.as_mut()).map_err(|_| StoreError::Crypto)?;
        let wrapped = seal(&self.master, &self.random, &place.aad("key"), data_key.as_ref())
            .map_err(|_| StoreError::Crypto)?;
        let part = format!("value {}", kind as i64);
        let sealed = seal(&sealing_key(&data_key), &self.random, &place.aad(&part), value)
            .map_err(|_| StoreError::Crypto)?;
        let connection = self.connection.lock();
        connection
            .prepare_cached(
                "INSERT INTO secrets (service, scope, name, kind, wrapped_key, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (service, scope, name) DO UPDATE SET
                 kind = excluded.kind, wrapped_key = excluded.wrapped_key, sealed = excluded.sealed",
            )?
            .execute(params![
                place.service.as_str(),
                place.scope(),
                &*place.name,
                kind as i64,
                wrapped,
                sealed
            ])?;
        written();
        Ok(())
    }

    /// Reads a record and gives it to `found` while nobody can write it.
    pub(super) fn get<T>(
        &self,
        place: &Place,
        found: impl FnOnce(Kind, Zeroizing<Vec<u8>>) -> T,
    ) -> Result<Option<T>, StoreError> {
        let connection = self.connection.lock();
        let row: Option<(i64, Vec<u8>, Vec<u8>)> = connection
            .prepare_cached(
                "SELECT kind, wrapped_key, sealed FROM secrets
                 WHERE service = ?1 AND scope = ?2 AND name = ?3",
            )?
            .query_row(params![place.service.as_str(), place.scope(), &*place.name], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((kind, wrapped, sealed)) = row else { return Ok(None) };
        let tampered = || StoreError::Tampered(place.name.to_string());
        let data_key = open(&self.master, &place.aad("key"), &wrapped).map_err(|_| tampered())?;
        let data_key: &[u8; 32] = data_key.as_slice().try_into().map_err(|_| tampered())?;
        let value = open(&sealing_key(data_key), &place.aad(&format!("value {kind}")), &sealed)
            .map_err(|_| tampered())?;
        let kind = Kind::from_number(kind).ok_or_else(tampered)?;
        Ok(Some(found(kind, value)))
    }

    pub(super) fn contains(&self, place: &Place) -> Result<bool, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM secrets WHERE service = ?1 AND scope = ?2 AND name = ?3",
        )?;
        Ok(statement.exists(params![place.service.as_str(), place.scope(), &*place.name])?)
    }

    pub(super) fn delete(&self, place: &Place, deleted: impl FnOnce()) -> Result<bool, StoreError> {
        let connection = self.connection.lock();
        let count = connection
            .prepare_cached("DELETE FROM secrets WHERE service = ?1 AND scope = ?2 AND name = ?3")?
            .execute(params![place.service.as_str(), place.scope(), &*place.name])?;
        deleted();
        Ok(count > 0)
    }

    pub(super) fn delete_tenant(
        &self,
        service: &ServiceName,
        tenant: &Tenant,
        deleted: impl FnOnce(),
    ) -> Result<u64, StoreError> {
        let connection = self.connection.lock();
        let count = connection.execute(
            "DELETE FROM secrets WHERE service = ?1 AND scope = ?2",
            params![service.as_str(), scope(Some(tenant))],
        )?;
        deleted();
        Ok(count as u64)
    }

    pub(super) fn names(
        &self,
        service: &ServiceName,
        tenant: Option<&Tenant>,
        prefix: &str,
    ) -> Result<Vec<String>, StoreError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT name FROM secrets WHERE service = ?1 AND (scope = '' OR scope = ?2)
             AND substr(name, 1, length(?3)) = ?3 ORDER BY name",
        )?;
        let rows = statement
            .query_map(params![service.as_str(), scope(tenant), prefix], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Sets the connection up, makes the tables of a new file, and answers the file's format.
fn prepare(connection: &mut Connection) -> Result<i64, rusqlite::Error> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted is overwritten: a secret's ciphertext should not outlive it.
    connection.pragma_update(None, "secure_delete", true)?;
    let transaction = connection.transaction()?;
    let format: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format == 0 {
        transaction.execute_batch(&format!(
            "CREATE TABLE vault (proof BLOB NOT NULL) STRICT;
             CREATE TABLE secrets (
                 service TEXT NOT NULL,
                 scope TEXT NOT NULL,
                 name TEXT NOT NULL,
                 kind INTEGER NOT NULL,
                 wrapped_key BLOB NOT NULL,
                 sealed BLOB NOT NULL,
                 PRIMARY KEY (service, scope, name)
             ) STRICT, WITHOUT ROWID;
             PRAGMA user_version = {FORMAT};"
        ))?;
    }
    transaction.commit()?;
    Ok(format)
}
