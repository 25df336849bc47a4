//! Requests, ticks and jobs.

use sdk::{
    Error, Result, Timestamp, Uuid, config,
    events::Event,
    http::{Created, ETag, IfMatch, Json, NoContent, Page, PageQuery, Path, Routes, WithEtag},
    jobs::{self, Job, NewJob},
    sql::{self, Committed, Db},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Item, ItemInput},
    store,
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "items";
    /// Lists the tenant's items, oldest first.
    GET "/api/v1/items" => list_items;
    /// Makes an item.
    POST "/api/v1/items" => create_item, errors [409, 507];
    /// An item.
    GET "/api/v1/items/{id}" => get_item;
    /// Replaces an item.
    ///
    /// A closed item cannot be opened again.
    PUT "/api/v1/items/{id}" => replace_item, errors [409];
    /// Deletes an item.
    DELETE "/api/v1/items/{id}" => delete_item;
};

#[derive(Serialize)]
struct RecordCreated<'a> {
    record_id: Uuid,
    name: &'a str,
}

impl Event for RecordCreated<'_> {
    const TOPIC: &'static str = "record.created";

    fn subject(&self) -> String {
        self.record_id.to_string()
    }
}

fn list_items(page: PageQuery, db: Db<'static>) -> Result<Page<Item>> {
    store::list(&db, &page)
}

fn create_item(db: Db<'static>, Json(input): Json<ItemInput>) -> Result<Committed<Created<Item>>> {
    let item = Item {
        id: Uuid::v7(),
        name: input.name,
        state: input.state,
        tags: input.tags,
        version: 1,
        created_at: Timestamp::now(),
        expires_at: input.expires_at,
    };
    let tx = db.begin()?;
    if store::count(&tx)? >= config::get::<i64>("max-items-per-tenant")? {
        return Err(Error::new(507, "item.too-many", "the tenant has as many items as it may"));
    }
    store::insert(&tx, &item)?;
    tx.publish(&RecordCreated { record_id: item.id, name: &item.name })?;
    let location = format!("/api/v1/items/{}", item.id);
    let etag = ETag::version(item.version);
    tx.commit_with(Created::at(location, item).etag(etag))
}

fn get_item(Path(id): Path<Uuid>, db: Db<'static>) -> Result<WithEtag<Json<Item>>> {
    let item = store::get(&db, id)?;
    Ok(WithEtag(ETag::version(item.version), Json(item)))
}

fn replace_item(
    Path(id): Path<Uuid>,
    if_match: IfMatch,
    db: Db<'static>,
    Json(input): Json<ItemInput>,
) -> Result<WithEtag<Json<Item>>> {
    let tx = db.begin()?;
    let old = store::get(&tx, id)?;
    if_match.check(&ETag::version(old.version))?;
    if !old.state.may_become(input.state) {
        return Err(Error::conflict("a closed item stays closed").code_is("item.closed"));
    }
    let item = Item {
        name: input.name,
        state: input.state,
        tags: input.tags,
        version: old.version + 1,
        expires_at: input.expires_at,
        ..old
    };
    store::update(&tx, &item)?;
    tx.commit()?;
    Ok(WithEtag(ETag::version(item.version), Json(item)))
}

fn delete_item(Path(id): Path<Uuid>, if_match: IfMatch, db: Db<'static>) -> Result<NoContent> {
    let tx = db.begin()?;
    let item = store::get(&tx, id)?;
    if_match.check(&ETag::version(item.version))?;
    store::delete(&tx, id)?;
    tx.commit()?;
    Ok(NoContent)
}

/// What the job `expire` is put with.
#[derive(Serialize, Deserialize)]
struct Expire {
    tenant: String,
    due: Timestamp,
}

/// The tick has no tenant: it puts a job for each that has something to do.
pub(crate) fn expire_everywhere(due: Timestamp) -> Result<()> {
    for (tenant,) in store::tenants_with_expired(&sql::shared(), due)? {
        jobs::put(&NewJob::new("expire", &Expire { tenant: tenant.clone(), due })?.key(tenant))?;
    }
    Ok(())
}

pub(crate) fn expire(job: &Job) -> Result<u64> {
    let Expire { tenant, due } = job.payload()?;
    let removed = store::delete_expired(&sql::tenant_of(sdk::Tenant::new(tenant)), due)?;
    sdk::info!(removed = removed, "removed expired items");
    Ok(removed)
}
