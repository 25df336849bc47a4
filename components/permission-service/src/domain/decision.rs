//! How bindings decide.

use sdk::{Schema, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};

use super::{Circumstances, Condition, Permission, PermissionSet};

/// What a binding does with its role's permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Effect {
    /// Gives them.
    #[default]
    Allow,
    /// Takes them, whatever gives them.
    Deny,
}

/// A binding that reaches a subject on a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The binding.
    pub(crate) binding: Uuid,
    /// Its role.
    pub(crate) role: String,
    pub(crate) effect: Effect,
    pub(crate) permissions: PermissionSet,
    /// How far above the resource it is bound; the tenant is the farthest.
    pub(crate) depth: i64,
    /// Owner of the tenant, whom no deny rule locks out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) owner: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<Condition>,
}

/// All bindings that reach a subject on a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grants {
    /// The tenant's revision they were read at, or a later one.
    pub(crate) revision: i64,
    pub(crate) grants: Vec<Grant>,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// A binding allows it.
    Allowed,
    /// A deny binding forbids it.
    DenyRule,
    /// No binding allows it.
    NoBinding,
    /// The token's scopes do not reach so far.
    Scope,
    /// The resource belongs to another tenant.
    OtherTenant,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) reason: Reason,
    pub(crate) decided_by: Option<Uuid>,
}

impl Decision {
    pub(crate) fn is_allowed(self) -> bool {
        self.reason == Reason::Allowed
    }
}

impl Grant {
    /// Whether it counts now. What cannot be told counts against the subject.
    pub(crate) fn counts(&self, now: &Circumstances<'_>) -> bool {
        if self.expires_at.is_some_and(|at| at <= now.now) {
            return false;
        }
        match self.condition.as_ref().map_or(Some(true), |condition| condition.holds(now)) {
            Some(holds) => holds,
            None => self.effect == Effect::Deny,
        }
    }
}

impl Grants {
    /// Whether the clock or the circumstances can change the answer.
    pub(crate) fn vary(&self) -> bool {
        self.grants.iter().any(|grant| grant.expires_at.is_some() || grant.condition.is_some())
    }

    /// Deny before allow, except for the tenant's owners; the nearest of several is named.
    pub(crate) fn decide(&self, permission: Permission, now: &Circumstances<'_>) -> Decision {
        let nearest = |effect: Effect, owner: bool| {
            self.grants
                .iter()
                .filter(|grant| {
                    grant.effect == effect
                        && (!owner || grant.owner)
                        && grant.permissions.contains(permission)
                        && grant.counts(now)
                })
                .min_by_key(|grant| (grant.depth, grant.binding))
                .map(|grant| grant.binding)
        };
        let decided = |reason, decided_by| Decision { reason, decided_by };
        if let Some(owner) = nearest(Effect::Allow, true) {
            return decided(Reason::Allowed, Some(owner));
        }
        if let Some(deny) = nearest(Effect::Deny, false) {
            return decided(Reason::DenyRule, Some(deny));
        }
        match nearest(Effect::Allow, false) {
            Some(allow) => decided(Reason::Allowed, Some(allow)),
            None => decided(Reason::NoBinding, None),
        }
    }

    /// Everything that is allowed.
    pub(crate) fn allowed(&self, now: &Circumstances<'_>) -> PermissionSet {
        let of = |wanted: fn(&Grant) -> bool| {
            self.grants
                .iter()
                .filter(|grant| wanted(grant) && grant.counts(now))
                .fold(PermissionSet::default(), |set, grant| set.union(grant.permissions))
        };
        of(|grant| grant.effect == Effect::Allow)
            .without(of(|grant| grant.effect == Effect::Deny))
            .union(of(|grant| grant.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BuiltIn, CATALOGUE, built_in};

    fn grant(id: u8, role: &str, effect: Effect, depth: i64) -> Grant {
        Grant {
            binding: Uuid::from_bytes([id; 16]),
            role: role.to_owned(),
            effect,
            permissions: built_in(role).unwrap().permissions(),
            depth,
            owner: role == "owner" && effect == Effect::Allow,
            expires_at: None,
            condition: None,
        }
    }

    fn now() -> Circumstances<'static> {
        Circumstances::at(Timestamp::from_seconds(1_000))
    }

    #[test]
    fn deny_wins_from_wherever_it_is() {
        let read = Permission::named("record.read").unwrap();
        let update = Permission::named("record.update").unwrap();
        let (allow, deny) = (Effect::Allow, Effect::Deny);
        let rows = [
            (vec![], read, Reason::NoBinding, None),
            (vec![grant(1, "viewer", allow, 3)], read, Reason::Allowed, Some(1)),
            (vec![grant(1, "viewer", allow, 3)], update, Reason::NoBinding, None),
            (
                vec![grant(1, "editor", allow, 3), grant(2, "viewer", allow, 0)],
                read,
                Reason::Allowed,
                Some(2),
            ),
            (
                vec![grant(1, "editor", allow, 0), grant(2, "viewer", deny, 3)],
                read,
                Reason::DenyRule,
                Some(2),
            ),
            (
                vec![grant(1, "editor", allow, 0), grant(2, "viewer", deny, 3)],
                update,
                Reason::Allowed,
                Some(1),
            ),
            (
                vec![grant(1, "owner", allow, 4), grant(2, "owner", deny, 0)],
                read,
                Reason::Allowed,
                Some(1),
            ),
        ];
        for (grants, permission, reason, by) in rows {
            let grants = Grants { revision: 1, grants };
            let decision = grants.decide(permission, &now());
            let by = by.map(|id| Uuid::from_bytes([id; 16]));
            assert_eq!(decision, Decision { reason, decided_by: by }, "{grants:?}");
        }
    }

    #[test]
    fn time_and_unknown_circumstances_count_against_the_subject() {
        let read = Permission::named("record.read").unwrap();
        let conditional = Some(Condition { ip: vec!["10.0.0.0/8".into()], ..Condition::default() });
        let mut allow = grant(1, "viewer", Effect::Allow, 0);
        allow.expires_at = Some(Timestamp::from_seconds(1_000));
        let decide = |grants: &[Grant]| {
            Grants { revision: 0, grants: grants.to_vec() }.decide(read, &now()).reason
        };
        assert_eq!(decide(&[allow.clone()]), Reason::NoBinding);
        allow.expires_at = Some(Timestamp::from_seconds(1_001));
        assert_eq!(decide(&[allow.clone()]), Reason::Allowed);
        let mut deny = grant(2, "viewer", Effect::Deny, 0);
        deny.condition.clone_from(&conditional);
        assert_eq!(decide(&[allow.clone(), deny]), Reason::DenyRule);
        allow.condition = conditional;
        assert_eq!(decide(&[allow]), Reason::NoBinding);
    }

    #[test]
    fn what_is_allowed_is_what_is_decided() {
        let mut seed = 1_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        for _ in 0..300 {
            let grants = (0..random(5))
                .map(|id| {
                    let role = BuiltIn::ALL[random(5) as usize].as_str();
                    let effect = if random(3) == 0 { Effect::Deny } else { Effect::Allow };
                    let mut grant = grant(id as u8, role, effect, i64::from(random(4)));
                    grant.expires_at = (random(3) == 0)
                        .then(|| Timestamp::from_seconds(990 + i64::from(random(20))));
                    grant
                })
                .collect();
            let grants = Grants { revision: 0, grants };
            let allowed = grants.allowed(&now());
            for entry in &CATALOGUE {
                let permission = Permission::named(entry.name).unwrap();
                assert_eq!(
                    grants.decide(permission, &now()).is_allowed(),
                    allowed.contains(permission),
                    "{} {grants:?}",
                    entry.name
                );
            }
        }
    }
}
