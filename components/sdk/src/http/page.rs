//! Lists in pages: `?limit=&cursor=` in, `{"data": […], "next_cursor": …}` out.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Cx, FromRequest, IntoResponse, Response, params};
use crate::{Error, Result, Schema, openapi::Operation, schema::check_under};

/// Which page is asked for.
///
/// ```no_run
/// # use sdk::{Result, Uuid, params, http::{Page, PageQuery}, sql::Db};
/// # #[derive(sdk::Row, sdk::Schema, serde::Serialize)] struct Item { id: Uuid }
/// fn list(page: PageQuery, db: Db<'static>) -> Result<Page<Item>> {
///     let rows = db.query(
///         "SELECT id FROM items WHERE tenant_id = $tenant AND ($1 IS NULL OR id > $1)
///          ORDER BY id LIMIT $2",
///         params![page.after::<Uuid>()?, page.fetch()],
///     )?;
///     page.of(rows, |item| item.id)
/// }
/// ```
#[derive(Clone, Debug, Deserialize, Schema)]
pub struct PageQuery {
    /// Most items in the answer.
    #[serde(default = "default_limit")]
    #[schema(min = 1, max = 200, example = 50)]
    limit: i64,
    /// `next_cursor` of the page before.
    #[schema(max_length = 1000)]
    cursor: Option<String>,
}

fn default_limit() -> i64 {
    50
}

impl PageQuery {
    /// Most items in the answer, 1 to 200; 50 if the client does not say.
    #[must_use]
    pub fn limit(&self) -> i64 {
        self.limit
    }

    /// How many rows to fetch: one more, which tells that there is a next page.
    #[must_use]
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// The key after which the page begins; none for the first page.
    ///
    /// # Errors
    /// 422 for a cursor that was not made by [`of`](Self::of) with the same type of key.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        BASE64_URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .map(Some)
            .ok_or_else(|| {
                Error::violation("/query/cursor", "must be the next_cursor of the page before")
            })
    }

    /// The page made of up to [`fetch`](Self::fetch) rows in the list's order; `key` is what the
    /// order is by, unique and stable.
    ///
    /// # Errors
    /// If the key cannot be written as JSON.
    pub fn of<T, K: Serialize>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Result<Page<T>> {
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = match rows.last().filter(|_| more) {
            Some(last) => {
                let json = serde_json::to_vec(&key(last))
                    .map_err(|error| Error::internal(format!("the cursor's key: {error}")))?;
                Some(BASE64_URL_SAFE_NO_PAD.encode(json))
            }
            None => None,
        };
        Ok(Page { data: rows, next_cursor })
    }
}

impl FromRequest for PageQuery {
    fn from_request(cx: &mut Cx) -> Result<Self> {
        let page: Self = params::from_query(cx.request.query().as_deref().unwrap_or_default())?;
        check_under("/query", &page)?;
        Ok(page)
    }

    fn describe(op: &mut Operation) {
        op.query_parameters(Self::schema());
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, Schema)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The page with every item turned into another.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(f).collect(), next_cursor: self.next_cursor }
    }
}

impl<T: Serialize + Schema> IntoResponse for Page<T> {
    fn into_response(self) -> Result<Response> {
        Response::json(200, &self)
    }

    fn describe_response(op: &mut Operation) {
        op.response(200, Self::schema());
    }
}
