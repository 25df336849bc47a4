use std::str::FromStr;

use airhost_core::{Result, codes};
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Verdict;

/// Passes over the memory that a stored hash may ask for. Hashes may come from another system, so
/// that a guest could otherwise order a minute of a core.
const MAX_PASSES: u32 = 10;
/// Memory that a stored hash may ask for, in KiB.
const MAX_MEMORY: u32 = 64 * 1024;
/// Lanes that a stored hash may ask for.
const MAX_LANES: u32 = 8;
/// The highest cost of a bcrypt hash: about a second.
const MAX_COST: u32 = 14;

/// What a thread does.
pub(super) enum Work {
    Hash { password: Zeroizing<String> },
    Verify { password: Zeroizing<String>, hash: Box<Stored> },
}

/// What it answers.
pub(super) enum Answer {
    Hash(String),
    Verdict(Verdict),
}

/// A stored hash that was checked before it waits for a thread.
pub(super) enum Stored {
    Argon2id {
        params: Params,
        version: Version,
        salt: Salt,
        output: Output,
    },
    Bcrypt(String),
    /// Of no password: with today's parameters.
    Nobody,
}

impl Stored {
    pub(super) fn nobody() -> Self {
        Self::Nobody
    }

    pub(super) fn parse(hash: &str) -> Result<Self> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            Self::bcrypt(hash)
        } else {
            Self::argon2id(hash)
        }
    }

    fn bcrypt(hash: &str) -> Result<Self> {
        // Version, cost of two digits, 22 characters of salt and 31 of hash.
        let shape = hash.len() == 60 && hash.is_ascii();
        let parts = shape.then(|| bcrypt::HashParts::from_str(hash).ok()).flatten();
        match parts.map(|parts| parts.get_cost()) {
            Some(cost) if cost <= MAX_COST => Ok(Self::Bcrypt(hash.to_owned())),
            Some(cost) => Err(codes::PASSWORD_FORMAT
                .error(format!("a bcrypt cost of {cost} is more than {MAX_COST}"))),
            None => Err(codes::PASSWORD_FORMAT.error("the hash is not a bcrypt hash")),
        }
    }

    fn argon2id(hash: &str) -> Result<Self> {
        let refuse = |what: &str| codes::PASSWORD_FORMAT.error(what);
        let parsed = PasswordHash::new(hash)
            .map_err(|_| refuse("the hash is neither a PHC string nor a bcrypt hash"))?;
        if parsed.algorithm.as_str() != "argon2id" {
            return Err(refuse("the PHC string is not of Argon2id"));
        }
        let params = Params::try_from(&parsed)
            .map_err(|_| refuse("the PHC string has parameters that Argon2id does not"))?;
        let bounded = params.m_cost() <= MAX_MEMORY
            && params.t_cost() <= MAX_PASSES
            && params.p_cost() <= MAX_LANES;
        if !bounded {
            return Err(refuse("the PHC string asks for more than 64 MiB, 10 passes or 8 lanes"));
        }
        // Without a version it is the first one (PHC string format of Argon2).
        let version = Version::try_from(parsed.version.unwrap_or(0x10))
            .map_err(|_| refuse("the PHC string has an unknown version"))?;
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err(refuse("the PHC string has no salt or no hash"));
        };
        Ok(Self::Argon2id { params, version, salt, output })
    }
}

/// A thread's memory: 19 MiB that would otherwise be asked of the system for every password.
#[derive(Default)]
pub(super) struct Worker {
    blocks: Vec<Block>,
}

impl Worker {
    pub(super) fn work(&mut self, work: &Work) -> Result<Answer> {
        match work {
            Work::Hash { password } => self.hash(password).map(Answer::Hash),
            Work::Verify { password, hash } => self.verify(password, hash).map(Answer::Verdict),
        }
    }

    fn hash(&mut self, password: &str) -> Result<String> {
        let failed = |_| codes::INTERNAL.error("hashing a password failed");
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| codes::INTERNAL.error("no random numbers"))?;
        let output = self.argon2(&Params::DEFAULT, Version::V0x13, password, &salt, 32)?;
        let params = ParamsString::try_from(&Params::DEFAULT)
            .map_err(|_| codes::INTERNAL.error("the parameters of Argon2id are not valid"))?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params,
            salt: Some(Salt::new(&salt).map_err(failed)?),
            hash: Some(Output::new(&output).map_err(failed)?),
        };
        Ok(hash.to_string())
    }

    fn verify(&mut self, password: &str, hash: &Stored) -> Result<Verdict> {
        match hash {
            Stored::Argon2id { params, version, salt, output } => {
                let made = self.argon2(params, *version, password, salt, output.len())?;
                let today = Params::DEFAULT;
                let outdated = *version != Version::V0x13
                    || params.m_cost() < today.m_cost()
                    || params.t_cost() < today.t_cost()
                    || output.len() < 32
                    || salt.len() < 16;
                let matches = made.ct_eq(output.as_bytes()).into();
                Ok(Verdict { matches, outdated })
            }
            Stored::Bcrypt(hash) => {
                // Bytes after the 72nd were never part of such a hash.
                let matches = bcrypt::verify(password, hash)
                    .map_err(|_| codes::PASSWORD_FORMAT.error("the hash is not a bcrypt hash"))?;
                Ok(Verdict { matches, outdated: true })
            }
            Stored::Nobody => {
                self.argon2(&Params::DEFAULT, Version::V0x13, password, &[0; 16], 32)?;
                Ok(Verdict { matches: false, outdated: false })
            }
        }
    }

    fn argon2(
        &mut self,
        params: &Params,
        version: Version,
        password: &str,
        salt: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let needed = params.block_count();
        let keep = Params::DEFAULT.block_count();
        if self.blocks.len() < needed {
            self.blocks.resize(needed, Block::default());
        }
        let mut output = Zeroizing::new(vec![0; length]);
        let done = Argon2::new(Algorithm::Argon2id, version, params.clone())
            .hash_password_into_with_memory(
                password.as_bytes(),
                salt,
                &mut output,
                &mut self.blocks[..needed],
            );
        if self.blocks.len() > keep {
            self.blocks.truncate(keep);
            self.blocks.shrink_to_fit();
        }
        done.map_err(|_| codes::PASSWORD_FORMAT.error("the hash's parameters are not valid"))?;
        Ok(output)
    }
}
