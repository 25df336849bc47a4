//! What quotas have used: events at marks, and a line for each window.

use std::time::Duration;

use sdk::{
    Error, Principal, Result, Schema, Timestamp,
    cache::{self, Scope},
    config,
    events::Event,
    http::{Json, Page, PageQuery, Query, Routes},
    jobs::{Job, NewJob},
    sql::{self, Db},
};
use serde::{Deserialize, Serialize};

use super::policies::require;
use crate::{
    domain::{Algorithm, Bucket, Count, Counted},
    store::{
        counters,
        usage::{self, UsageWindow},
    },
};

pub(crate) const ROUTES: Routes = sdk::routes! {
    tag "usage";
    /// What the tenant's quotas have used, the newest windows first.
    ///
    /// Windows that have not ended are counted now, the others as they ended.
    GET "/api/v1/limits/usage" => list_usage, errors [403, 503];
};

/// How often what is used is written down while a window lasts.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// When a window's last count is written down; its counter is kept for longer.
const CLOSED_AFTER: Duration = Duration::from_secs(60);
/// The mark of a quota that is used up.
const EXCEEDED: i64 = 101;

#[derive(Serialize)]
struct Told<'a> {
    tenant_id: &'a str,
    policy_id: &'a str,
    policy_version: i64,
    scope: &'a str,
    unit: &'a str,
    limit: i64,
    used: i64,
    resets_at: Timestamp,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced: Option<bool>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct QuotaThreshold<'a>(Told<'a>);

impl Event for QuotaThreshold<'_> {
    const TOPIC: &'static str = "quota.threshold";

    fn subject(&self) -> String {
        self.0.scope.to_owned()
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct QuotaExceeded<'a>(Told<'a>);

impl Event for QuotaExceeded<'_> {
    const TOPIC: &'static str = "quota.exceeded";

    fn subject(&self) -> String {
        self.0.scope.to_owned()
    }
}

/// Writes down and tells what is due. The check has been answered by the counters already, so a
/// failure here is logged and made up for by the next check.
pub(crate) fn note(counts: &[Count<'_>], counted: &[Counted], allowed: bool, now: Timestamp) {
    for (count, counted) in counts.iter().zip(counted) {
        if let Some(window) = window_of(count, counted)
            && let Err(error) = note_one(count, counted, &window, allowed, now)
        {
            sdk::warn!(code = error.code(), policy = window.policy, "usage: {}", error.detail());
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn window_of(count: &Count<'_>, counted: &Counted) -> Option<UsageWindow> {
    let span = count.span?;
    Some(UsageWindow {
        policy: count.policy.name.clone(),
        scope: count.scope.clone(),
        window_start: span.start,
        window_end: span.end,
        bucket: count.bucket.key.clone(),
        period_ms: signed(count.bucket.period_ms),
        unit: count.policy.policy.rule.unit.clone(),
        capacity: signed(count.bucket.capacity),
        used: signed(count.used(counted)),
        closed: false,
    })
}

fn note_one(
    count: &Count<'_>,
    counted: &Counted,
    window: &UsageWindow,
    allowed: bool,
    now: Timestamp,
) -> Result<()> {
    let noted = format!("noted/{}", window.bucket);
    let is_noted = cache::get(Scope::Tenant, &noted).is_some();
    let mut marks: Vec<i64> = config::get::<Vec<i64>>("threshold-percent")?
        .into_iter()
        .filter(|percent| {
            i128::from(window.used) * 100 >= i128::from(*percent) * i128::from(window.capacity)
        })
        .collect();
    let refused = !counted.allowed || count.too_much;
    // In shadow mode it is exceeded although the request went on.
    if refused && (!allowed || !count.is_enforced()) {
        marks.push(EXCEEDED);
    }
    let told = |mark: i64| format!("told/{mark}/{}", window.bucket);
    marks.retain(|mark| cache::get(Scope::Tenant, &told(*mark)).is_none());
    if is_noted && marks.is_empty() {
        return Ok(());
    }
    let tx = sql::tenant()?.begin()?;
    usage::put(&tx, window)?;
    for mark in &marks {
        if usage::mark(&tx, window, *mark)? {
            tell(&tx, count, window, *mark, now)?;
        }
    }
    if !is_noted {
        let close = NewJob::new("close-window", window)?
            .key(&window.bucket)
            .at(window.window_end + CLOSED_AFTER);
        tx.put_job(&close)?;
    }
    tx.commit()?;
    cache::put(Scope::Tenant, &noted, b"", NOTED_EVERY, &[])?;
    let left = window.window_end.since(now).clamp(NOTED_EVERY, Duration::from_secs(86_400));
    for mark in marks {
        cache::put(Scope::Tenant, &told(mark), b"", left, &[])?;
    }
    Ok(())
}

fn tell(
    tx: &Db<'_>,
    count: &Count<'_>,
    window: &UsageWindow,
    mark: i64,
    now: Timestamp,
) -> Result<()> {
    let tenant = tx.tenant().ok_or_else(|| Error::internal("a quota of no tenant"))?;
    let told = Told {
        tenant_id: tenant.as_str(),
        policy_id: &window.policy,
        // The platform's own have no versions; the event's begin with 1.
        policy_version: count.policy.policy.version.max(1),
        scope: &window.scope,
        unit: &window.unit,
        limit: window.capacity,
        used: window.used,
        resets_at: window.window_end,
        at: now,
        percent: (mark != EXCEEDED).then_some(mark),
        enforced: (mark == EXCEEDED).then_some(count.is_enforced()),
    };
    if mark == EXCEEDED {
        tx.publish(&QuotaExceeded(told))?;
    } else {
        tx.publish(&QuotaThreshold(told))?;
    }
    Ok(())
}

/// What is counted now.
fn recount(windows: &mut [&mut UsageWindow]) -> Result<()> {
    for some in windows.chunks_mut(counters::MOST) {
        let buckets: Vec<Bucket> = some
            .iter()
            .map(|window| Bucket {
                key: window.bucket.clone(),
                algorithm: Algorithm::Quota,
                capacity: window.capacity.unsigned_abs(),
                refill: 1,
                period_ms: window.period_ms.unsigned_abs(),
                cost: 0,
            })
            .collect();
        for (window, counted) in some.iter_mut().zip(counters::take(&buckets)?) {
            let used = window.capacity.saturating_sub(signed(counted.remaining));
            // A counter may be lost with its store; what was written down was used.
            if used > 0 {
                window.used = used;
            }
        }
    }
    Ok(())
}

/// The job at the end of a window, for the tenant whose request put it.
pub(crate) fn close_window(job: &Job) -> Result<()> {
    let mut window: UsageWindow = job.payload()?;
    recount(&mut [&mut window])?;
    window.closed = true;
    usage::put(&sql::tenant()?, &window)
}

/// Which windows.
#[derive(Debug, Deserialize, Schema)]
struct Filter {
    /// Of this policy.
    #[schema(max_length = 100)]
    policy: Option<String>,
}

/// What a window has used.
#[derive(Debug, Serialize, Schema)]
struct Usage {
    /// The policy.
    policy: String,
    /// What is counted apart.
    scope: String,
    /// What is counted.
    unit: String,
    /// How much there is.
    limit: i64,
    /// How much is used.
    used: i64,
    /// When the window began.
    window_start: Timestamp,
    /// When it ends.
    resets_at: Timestamp,
    /// Whether it has ended.
    ended: bool,
}

fn list_usage(
    principal: Option<Principal>,
    db: Db<'static>,
    page: PageQuery,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<Usage>>> {
    require("limit.read", principal.as_ref())?;
    let windows = usage::list(&db, filter.policy.as_deref(), &page)?;
    let mut found = page.of(windows, |window: &UsageWindow| -> usage::Place {
        (window.window_start, window.policy.clone(), window.scope.clone())
    })?;
    let now = Timestamp::now();
    let mut open: Vec<&mut UsageWindow> =
        found.data.iter_mut().filter(|window| window.window_end > now).collect();
    recount(&mut open)?;
    Ok(Json(found.map(|window| Usage {
        policy: window.policy,
        scope: window.scope,
        unit: window.unit,
        limit: window.capacity,
        used: window.used,
        window_start: window.window_start,
        resets_at: window.window_end,
        ended: window.window_end <= now,
    })))
}
