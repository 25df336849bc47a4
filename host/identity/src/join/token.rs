use std::fmt;

use airhost_core::{Error, Result, TrustDomain, codes};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::NodeName;
use crate::bundle::Fingerprint;

/// What every token begins with, so that scanners for secrets find it.
const PREFIX: &str = "airhost-join-";
/// Longest token, in bytes.
const MAX_TOKEN: usize = 4 << 10;
/// Longest address, in bytes.
const MAX_ADDRESS: usize = 300;
/// The account that a joining node asks for (SNI); no node has this name.
pub(super) const JOIN_SERVER: &str = "join";

/// What a new node is given to join with. Whoever has it can join as the node that it names, once.
pub struct JoinToken {
    id: [u8; 8],
    secret: Zeroizing<[u8; 32]>,
    node: NodeName,
    trust_domain: TrustDomain,
    roots: Vec<Fingerprint>,
    address: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    id: String,
    secret: String,
    node: NodeName,
    domain: TrustDomain,
    roots: Vec<String>,
    at: String,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl JoinToken {
    pub(super) fn new(
        node: NodeName,
        trust_domain: TrustDomain,
        roots: Vec<Fingerprint>,
        address: &str,
    ) -> Result<Self> {
        check_address(address).then_some(()).ok_or_else(|| {
            codes::IDENTITY_TOKEN.error("the address to join at is not host:port")
        })?;
        let (mut id, mut secret) = ([0; 8], Zeroizing::new([0; 32]));
        let random = getrandom::fill(&mut id).and_then(|()| getrandom::fill(secret.as_mut()));
        random.map_err(|_| codes::IDENTITY_AUTHORITY.error("there are no random numbers"))?;
        Ok(Self { id, secret, node, trust_domain, roots, address: address.to_owned() })
    }

    /// Reads a token.
    ///
    /// # Errors
    /// `identity.join-token`, which repeats nothing of it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text.trim()).ok_or_else(invalid)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?);
        let content: Content = serde_json::from_slice(&json).ok()?;
        let (mut id, mut secret) = ([0; 8], Zeroizing::new([0; 32]));
        hex::decode_to_slice(&content.id, &mut id).ok()?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(&content.secret).ok()?);
        secret.copy_from_slice(decoded.get(..).filter(|decoded| decoded.len() == 32)?);
        check_address(&content.at).then_some(())?;
        let roots = content.roots.iter().map(|root| root.parse().ok());
        let roots = roots.collect::<Option<Vec<_>>>()?;
        Some(Self {
            id,
            secret,
            node: content.node.clone(),
            trust_domain: content.domain.clone(),
            roots,
            address: content.at.clone(),
        })
    }

    /// The token as text. It is a secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let content = Content {
            id: self.id(),
            secret: URL_SAFE_NO_PAD.encode(self.secret.as_ref()),
            node: self.node.clone(),
            domain: self.trust_domain.clone(),
            roots: self.roots.iter().map(ToString::to_string).collect(),
            at: self.address.clone(),
        };
        // Strings alone: there is nothing that could fail.
        let json = Zeroizing::new(serde_json::to_vec(&content).unwrap_or_default());
        let mut text = Zeroizing::new(PREFIX.to_owned());
        URL_SAFE_NO_PAD.encode_string(json.as_slice(), &mut text);
        text
    }

    /// Its public name, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// The node that may join with it.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The trust domain that it leads into.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The digests of the inviting side's roots, one of which it has to show: two while a root is
    /// replaced.
    #[must_use]
    pub fn roots(&self) -> &[Fingerprint] {
        &self.roots
    }

    /// Where to join: `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key that its secret is the seed of.
    pub(super) fn key(&self) -> Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(self.secret.as_ref()).map_err(|_| invalid())
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>> {
        Ok(self.key()?.public_key().as_ref().to_vec())
    }
}

fn invalid() -> Error {
    codes::IDENTITY_TOKEN.error("this is not a join token")
}

fn check_address(address: &str) -> bool {
    address.len() <= MAX_ADDRESS
        && address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id())
            .field("node", &self.node)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
