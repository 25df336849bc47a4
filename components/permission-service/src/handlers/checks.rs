//! Questions.

use std::{cell::OnceCell, collections::BTreeMap, net::IpAddr};

use sdk::{
    Error, Principal, Result, Schema, Timestamp, Uuid,
    http::{Json, Page, PageQuery, Routes},
    sql::Db,
};
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Asker, tenant_of},
    changes::{revision_of, token},
};
use crate::{
    domain::{
        CATALOGUE, Circumstances, Condition, Decision, Effect, Grants, Permission, PermissionSet,
        Reason, ResourceRef, SubjectRef,
    },
    store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "checks";
    /// Lists all permissions.
    GET "/api/v1/permissions" => list_permissions;
    /// Whether a subject may do something with a resource.
    ///
    /// Without `subject` it is the caller; asking about others needs `role.manage` on the
    /// resource. A resource that is not in the tree hangs under the tenant.
    POST "/api/v1/permissions/check" => check;
    /// Answers up to 100 checks, in order.
    POST "/api/v1/permissions/check-batch" => check_batch;
    /// As a check, with every binding that had a say.
    POST "/api/v1/permissions/explain" => explain;
    /// Resources of a type with which a subject may do something.
    ///
    /// `everywhere` says that it may do so on the tenant, and so with resources that are not in
    /// the tree. A page may hold fewer than `limit` while there are more.
    POST "/api/v1/permissions/list-objects" => list_objects;
    /// Users and services that may do something with a resource.
    POST "/api/v1/permissions/list-subjects" => list_subjects;
};

/// A permission.
#[derive(Serialize, Schema)]
struct PermissionInfo {
    /// Its name.
    name: String,
    /// What it permits.
    description: String,
}

/// A question.
#[derive(Clone, Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Check {
    /// Who; the caller if absent.
    subject: Option<SubjectRef>,
    /// A permission.
    #[schema(max_length = 60, check = known, example = "record.read")]
    action: String,
    /// With what.
    resource: ResourceRef,
    /// The token of a change that the answer must know of.
    #[schema(max_length = 40, check = given_out, example = "r12")]
    consistency: Option<String>,
    /// What conditions of bindings look at.
    context: Option<About>,
}

/// What is known of the request that is asked for.
#[derive(Clone, Debug, Default, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct About {
    /// Address of the client.
    #[schema(max_length = 45, check = address, example = "192.0.2.7")]
    ip: Option<String>,
    /// Further attributes.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// Some questions.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct Batch {
    /// The questions.
    #[schema(min_items = 1, max_items = 100)]
    checks: Vec<Check>,
}

/// An answer.
#[derive(Debug, Serialize, Schema)]
struct Answer {
    /// Whether it may.
    allowed: bool,
    /// Why.
    reason: Reason,
    /// The binding that decided.
    decided_by: Option<Uuid>,
    /// What the answer knows of at least.
    consistency: String,
}

/// Some answers.
#[derive(Debug, Serialize, Schema)]
struct Answers {
    /// One for each question, in order.
    results: Vec<Answer>,
}

/// An answer with its reasons.
#[derive(Debug, Serialize, Schema)]
struct Explanation {
    /// The answer.
    #[serde(flatten)]
    answer: Answer,
    /// The bindings with this permission that reach the subject there, the nearest first.
    bindings: Vec<Voice>,
}

/// A binding that has a say.
#[derive(Debug, Serialize, Schema)]
struct Voice {
    /// The binding.
    binding: Uuid,
    /// Its role.
    role: String,
    /// For or against.
    effect: Effect,
    /// Levels between the resource and where it is bound; 100 for the tenant.
    distance: i64,
    /// Whether it counts under these circumstances.
    counts: bool,
    /// Until when.
    expires_at: Option<Timestamp>,
    /// What must hold.
    condition: Option<Condition>,
}

fn known(action: &str) -> Result<(), &'static str> {
    Permission::named(action).map(drop).ok_or("is not a permission")
}

fn given_out(token: &str) -> Result<(), &'static str> {
    revision_of(token).map(drop).ok_or("is not a consistency token")
}

fn address(ip: &str) -> Result<(), &'static str> {
    ip.parse::<IpAddr>().map(drop).map_err(|_| "must be an IP address")
}

fn list_permissions(_principal: Principal) -> Json<Vec<PermissionInfo>> {
    let info = CATALOGUE.iter().map(|entry| PermissionInfo {
        name: entry.name.to_owned(),
        description: entry.description.to_owned(),
    });
    Json(info.collect())
}

/// A question that may be asked, with the subject it is about.
struct Asked {
    subject: SubjectRef,
    /// Of the caller's token, if it is about the caller.
    scopes: Option<PermissionSet>,
    permission: Permission,
    resource: ResourceRef,
    revision: i64,
    context: About,
}

/// Finds out whom a question is about, and whether it may be asked.
fn admit(
    db: &Db<'_>,
    asker: &Asker,
    subject: Option<SubjectRef>,
    resource: &ResourceRef,
) -> Result<(SubjectRef, Option<PermissionSet>)> {
    match (subject, &asker.subject) {
        (None, Some(own)) => Ok((own.clone(), asker.scopes)),
        (None, None) => Err(Error::violation("/subject", "is required without a user")),
        (Some(subject), Some(own)) if subject == *own => Ok((subject, asker.scopes)),
        (Some(subject), _) => {
            asker.require(db, Permission::ROLE_MANAGE, resource)?;
            Ok((subject, None))
        }
    }
}

fn ask(db: &Db<'_>, asker: &Asker, check: Check) -> Result<Asked> {
    let permission = Permission::named(&check.action)
        .ok_or_else(|| Error::violation("/action", "is not a permission"))?;
    let (subject, scopes) = admit(db, asker, check.subject, &check.resource)?;
    Ok(Asked {
        subject,
        scopes,
        permission,
        resource: check.resource,
        revision: check.consistency.as_deref().and_then(revision_of).unwrap_or(0),
        context: check.context.unwrap_or_default(),
    })
}

/// The clock, read once and only if somebody looks.
#[derive(Default)]
struct Clock(OnceCell<Timestamp>);

impl Clock {
    fn circumstances<'a>(&self, grants: &Grants, about: &'a About) -> Circumstances<'a> {
        if !grants.vary() {
            return Circumstances::at(Timestamp::default());
        }
        Circumstances {
            now: *self.0.get_or_init(Timestamp::now),
            ip: about.ip.as_deref().and_then(|ip| ip.parse().ok()),
            attributes: Some(&about.attributes),
        }
    }
}

impl Asked {
    fn decide(&self, grants: &Grants, clock: &Clock) -> Decision {
        if self.scopes.is_some_and(|scopes| !scopes.contains(self.permission)) {
            return Decision { reason: Reason::Scope, decided_by: None };
        }
        grants.decide(self.permission, &clock.circumstances(grants, &self.context))
    }

    fn answer(&self, tenant: &str, grants: &Grants, clock: &Clock) -> Answer {
        let decision = if self.resource.is_foreign(tenant) {
            Decision { reason: Reason::OtherTenant, decided_by: None }
        } else {
            self.decide(grants, clock)
        };
        Answer {
            allowed: decision.is_allowed(),
            reason: decision.reason,
            decided_by: decision.decided_by,
            consistency: token(grants.revision),
        }
    }
}

fn check(
    principal: Option<Principal>,
    db: Db<'static>,
    Json(check): Json<Check>,
) -> Result<Json<Answer>> {
    let asked = ask(&db, &Asker::of(principal.as_ref()), check)?;
    let grants = access::grants(&db, &asked.subject, &asked.resource, asked.revision)?;
    Ok(Json(asked.answer(tenant_of(&db)?, &grants, &Clock::default())))
}

fn check_batch(
    principal: Option<Principal>,
    db: Db<'static>,
    Json(batch): Json<Batch>,
) -> Result<Json<Answers>> {
    let asker = Asker::of(principal.as_ref());
    let asked = batch
        .checks
        .into_iter()
        .map(|check| ask(&db, &asker, check))
        .collect::<Result<Vec<Asked>>>()?;
    let grants = grants_of_all(&db, &asked)?;
    let (tenant, clock) = (tenant_of(&db)?, Clock::default());
    let results =
        asked.iter().zip(&grants).map(|(asked, grants)| asked.answer(tenant, grants, &clock));
    Ok(Json(Answers { results: results.collect() }))
}

/// What is not cached is loaded with one statement a subject.
fn grants_of_all(db: &Db<'_>, asked: &[Asked]) -> Result<Vec<Grants>> {
    let mut known: BTreeMap<(&SubjectRef, &ResourceRef), Grants> = BTreeMap::new();
    let mut missing: BTreeMap<&SubjectRef, Vec<ResourceRef>> = BTreeMap::new();
    let mut revisions: BTreeMap<(&SubjectRef, &ResourceRef), i64> = BTreeMap::new();
    for one in asked {
        let revision = revisions.entry((&one.subject, &one.resource)).or_default();
        *revision = one.revision.max(*revision);
    }
    for ((subject, resource), revision) in revisions {
        match access::cached(subject, resource, revision) {
            Some(grants) => drop(known.insert((subject, resource), grants)),
            None => missing.entry(subject).or_default().push(resource.clone()),
        }
    }
    let mut loaded: BTreeMap<(&SubjectRef, ResourceRef), Grants> = BTreeMap::new();
    for (subject, resources) in missing {
        let all = access::load(db, subject, &resources)?;
        loaded.extend(resources.into_iter().map(|r| (subject, r)).zip(all));
    }
    asked
        .iter()
        .map(|one| {
            known
                .get(&(&one.subject, &one.resource))
                .or_else(|| loaded.get(&(&one.subject, one.resource.clone())))
                .cloned()
                .ok_or_else(|| Error::internal("no answer for a resource"))
        })
        .collect()
}

fn explain(
    principal: Option<Principal>,
    db: Db<'static>,
    Json(check): Json<Check>,
) -> Result<Json<Explanation>> {
    let asker = Asker::of(principal.as_ref());
    asker.require(&db, Permission::ROLE_READ, &check.resource)?;
    let asked = ask(&db, &asker, check)?;
    let grants = access::grants(&db, &asked.subject, &asked.resource, asked.revision)?;
    let clock = Clock::default();
    let answer = asked.answer(tenant_of(&db)?, &grants, &clock);
    let circumstances = clock.circumstances(&grants, &asked.context);
    let mut bindings: Vec<Voice> = grants
        .grants
        .iter()
        .filter(|grant| grant.permissions.contains(asked.permission))
        .map(|grant| Voice {
            binding: grant.binding,
            role: grant.role.clone(),
            effect: grant.effect,
            distance: grant.depth,
            counts: grant.counts(&circumstances),
            expires_at: grant.expires_at,
            condition: grant.condition.clone(),
        })
        .collect();
    bindings.sort_by_key(|voice| (voice.distance, voice.binding));
    Ok(Json(Explanation { answer, bindings }))
}

/// A question for resources.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct ObjectsQuery {
    /// Who; the caller if absent.
    subject: Option<SubjectRef>,
    /// A permission.
    #[schema(max_length = 60, check = known, example = "record.read")]
    action: String,
    /// Type of the resources.
    #[serde(rename = "type")]
    #[schema(max_length = 40, format = "slug", example = "base")]
    kind: String,
}

/// A page of resources.
#[derive(Debug, Serialize, Schema)]
struct Objects {
    /// The resources.
    data: Vec<ResourceRef>,
    /// What to send as `cursor` for the next page.
    next_cursor: Option<String>,
    /// Whether it may do so on the tenant.
    everywhere: bool,
}

fn list_objects(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
    Json(query): Json<ObjectsQuery>,
) -> Result<Json<Objects>> {
    let asker = Asker::of(principal.as_ref());
    let permission = Permission::named(&query.action)
        .ok_or_else(|| Error::violation("/action", "is not a permission"))?;
    let root = ResourceRef::tenant(tenant_of(&db)?);
    let (subject, scopes) = admit(&db, &asker, query.subject, &root)?;
    let after = page.after::<String>()?;
    let found = store::tree::of_kind(&db, &query.kind, after.as_deref(), page.fetch())?;
    let Page { data, next_cursor } =
        page.of(found, |resource: &ResourceRef| resource.id.clone())?;
    let mut resources = data;
    resources.push(root);
    let all = store::grants::load(&db, &subject, &resources, Timestamp::now())?;
    let now = Circumstances::at(Timestamp::now());
    let mut allowed = all.iter().map(|grants| {
        scopes.is_none_or(|scopes| scopes.contains(permission))
            && grants.decide(permission, &now).is_allowed()
    });
    resources.retain(|_| allowed.next().unwrap_or(false));
    let everywhere = resources.pop_if(|last| last.kind == "tenant").is_some();
    Ok(Json(Objects { data: resources, next_cursor, everywhere }))
}

/// A question for subjects.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
struct SubjectsQuery {
    /// A permission.
    #[schema(max_length = 60, check = known, example = "record.read")]
    action: String,
    /// With what.
    resource: ResourceRef,
}

fn list_subjects(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
    Json(query): Json<SubjectsQuery>,
) -> Result<Json<Page<SubjectRef>>> {
    let asker = Asker::of(principal.as_ref());
    let permission = Permission::named(&query.action)
        .ok_or_else(|| Error::violation("/action", "is not a permission"))?;
    if query.resource.is_foreign(tenant_of(&db)?) {
        return Err(Error::not_found("the tenant does not exist"));
    }
    asker.require(&db, Permission::ROLE_READ, &query.resource)?;
    let after = page.after::<SubjectRef>()?;
    let now = Timestamp::now();
    let most = usize::try_from(page.fetch()).unwrap_or(0);
    let subjects = store::grants::reached(&db, &query.resource, now)?
        .into_iter()
        .filter(|(subject, _)| after.as_ref().is_none_or(|after| subject > after))
        .filter(|(_, grants)| grants.decide(permission, &Circumstances::at(now)).is_allowed())
        .map(|(subject, _)| subject)
        .take(most)
        .collect();
    page.of(subjects, Clone::clone).map(Json)
}
