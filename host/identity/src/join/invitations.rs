use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Clock, Error, Result, TrustDomain, codes, make_private_folder};
use parking_lot::Mutex;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{JoinRequest, JoinToken, NodeName};
use crate::{
    at_rest::{FileError, Kind},
    bundle::Fingerprint,
    svid::seconds,
};

/// The file's name in its folder.
const NAME: &str = "invitations";
const KIND: Kind = Kind {
    magic: "airhost-invitations 1",
    otherwise: "if it is removed, open invitations are void",
};
/// Invitations at one time, used ones included until they expire.
const MAX_INVITATIONS: usize = 1000;
/// How long one can be good.
const LIFE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);

/// An invitation, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// The id of the token.
    pub token: String,
    /// The node that may join.
    pub node: NodeName,
    /// Its last second, since the epoch.
    pub expires_at: i64,
    /// Whether the node has joined with it.
    pub used: bool,
}

/// What is kept of an invitation: nothing that lets anybody join.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    node: NodeName,
    /// The public key whose seed is the token's secret, in hexadecimal.
    key: String,
    roots: Vec<String>,
    expires_at: i64,
    used: bool,
}

/// The invitations of this node, in a file. Cheap to clone.
#[derive(Clone)]
pub struct Invitations(Arc<Inner>);

struct Inner {
    path: PathBuf,
    clock: Clock,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Invitations {
    /// Opens the invitations of a folder.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, FileError> {
        make_private_folder(folder)
            .map_err(|source| FileError::Io { path: folder.to_owned(), source })?;
        let path = folder.join(NAME);
        let entries = match KIND.read(&path, None)? {
            Some(opened) => serde_json::from_slice(&opened.content)
                .map_err(|_| KIND.damaged(&path, "its content is not a list of invitations"))?,
            None => BTreeMap::new(),
        };
        Ok(Self(Arc::new(Inner { path, clock, entries: Mutex::new(entries) })))
    }

    /// Invites a node for 1 minute to 7 days.
    ///
    /// # Errors
    /// `identity.join-token` if the address is not `host:port` or the time is out of bounds;
    /// `identity.authority` if there are 1 000 invitations, or the file cannot be written.
    pub fn invite(
        &self,
        node: &NodeName,
        address: &str,
        trust_domain: &TrustDomain,
        roots: Vec<Fingerprint>,
        life: Duration,
    ) -> Result<JoinToken> {
        if !LIFE.contains(&life) {
            return Err(codes::IDENTITY_TOKEN.error("an invitation is good for 1 minute to 7 days"));
        }
        let token = JoinToken::new(node.clone(), trust_domain.clone(), roots, address)?;
        let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let entry = Entry {
            node: node.clone(),
            key: hex::encode(token.public_key()?),
            roots: token.roots().iter().map(ToString::to_string).collect(),
            expires_at: seconds(&self.0.clock).saturating_add(life),
            used: false,
        };
        self.change(|entries| {
            if entries.len() >= MAX_INVITATIONS {
                return Err(codes::IDENTITY_AUTHORITY.error(
                    "there are 1000 invitations; withdraw some, or wait until they expire",
                ));
            }
            entries.insert(token.id(), entry);
            Ok(())
        })?;
        Ok(token)
    }

    /// Takes an invitation back. Answers whether there was one.
    ///
    /// # Errors
    /// `identity.authority` if the file cannot be written.
    pub fn withdraw(&self, token: &str) -> Result<bool> {
        self.change(|entries| Ok(entries.remove(token).is_some()))
    }

    /// The invitations that have not expired.
    #[must_use]
    pub fn list(&self) -> Vec<Invitation> {
        let now = seconds(&self.0.clock);
        let entries = self.0.entries.lock();
        let open = entries.iter().filter(|(_, entry)| now <= entry.expires_at);
        open.map(|(token, entry)| Invitation {
            token: token.clone(),
            node: entry.node.clone(),
            expires_at: entry.expires_at,
            used: entry.used,
        })
        .collect()
    }

    /// Whether a request may be granted. Whoever does not know the secret learns nothing more than
    /// that it is refused.
    ///
    /// # Errors
    /// `identity.join-refused`, `identity.join-expired`.
    pub(super) fn check(&self, request: &JoinRequest) -> Result<()> {
        let entry = self.0.entries.lock().get(&request.token).cloned();
        let entry = entry.ok_or_else(unknown)?;
        let roots = entry.roots.iter().map(|root| root.parse()).collect::<Result<Vec<_>, _>>();
        let (Ok(key), Ok(roots)) = (hex::decode(&entry.key), roots) else { return Err(unknown()) };
        // A signature over what is public: there is no secret here whose comparison takes time.
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&request.signed(&roots), &request.proof.0)
            .map_err(|_| unknown())?;
        if entry.node != request.node {
            return Err(codes::IDENTITY_JOIN_REFUSED.error("the invitation is for another node"));
        }
        if entry.used {
            return Err(used());
        }
        if seconds(&self.0.clock) > entry.expires_at {
            return Err(codes::IDENTITY_JOIN_EXPIRED.error("the invitation has expired"));
        }
        Ok(())
    }

    /// Uses an invitation up, for good: it is on the disk when this returns.
    ///
    /// # Errors
    /// `identity.join-refused` if another was quicker; `identity.authority` if the file cannot be
    /// written, and then it is not used.
    pub(super) fn use_up(&self, token: &str) -> Result<()> {
        self.change(|entries| match entries.get_mut(token) {
            Some(entry) if !entry.used => {
                entry.used = true;
                Ok(())
            }
            Some(_) => Err(used()),
            None => Err(unknown()),
        })
    }

    /// Changes a copy, without what has expired, and takes it when it is on the disk.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Entry>) -> Result<T>,
    ) -> Result<T> {
        let now = seconds(&self.0.clock);
        let mut current = self.0.entries.lock();
        let mut next = current.clone();
        next.retain(|_, entry| now <= entry.expires_at);
        let answer = change(&mut next)?;
        let content = serde_json::to_vec_pretty(&next).unwrap_or_default();
        KIND.write(&self.0.path, None, &content).map_err(|error| {
            tracing::error!(%error, "invitations cannot be written");
            codes::IDENTITY_AUTHORITY.error("invitations cannot be written")
        })?;
        *current = next;
        Ok(answer)
    }
}

fn unknown() -> Error {
    codes::IDENTITY_JOIN_REFUSED.error("there is no such invitation")
}

fn used() -> Error {
    codes::IDENTITY_JOIN_REFUSED.error("the invitation was used already")
}

impl fmt::Debug for Invitations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Invitations").field(&self.0.path).finish()
    }
}
