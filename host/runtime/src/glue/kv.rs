//! `storage/kv`. Every key is scoped to the service and to the tenant of the call; a guest sees
//! neither.

use std::{sync::Arc, time::Duration};

use airhost_core::codes;
use airhost_storage::kv::{self, KeyValue};
use airhost_telemetry::trace::{ActiveSpan, Kind};
use bytes::Bytes;

use super::{Answer, body::into_vec, millis};
use crate::{
    bindings::imports::pyairtable::storage::kv::{
        self as wit, Algorithm, Bucket, Entry, Mutation, Verdict,
    },
    state::State,
    trace::spanned,
};

/// Longest key, in bytes.
const MAX_KEY: usize = 512;

impl State {
    fn kv(&self) -> airhost_core::Result<Arc<dyn KeyValue>> {
        self.service
            .environment
            .kv
            .clone()
            .ok_or_else(|| codes::IMPORT_DENIED.error("the manifest has no `kv` under [stores]"))
    }

    /// `<service>/<tenant>/`. A call without a tenant has a scope of its own, with nothing between
    /// the slashes; no tenant can be named so that it falls into another's.
    fn scope(&self) -> String {
        scope(
            self.service.name.as_str(),
            self.call.context.tenant.as_ref().map(|tenant| tenant.as_str()),
        )
    }

    fn kv_span(&self, name: &'static str) -> ActiveSpan {
        self.span(Kind::Store, name)
    }

    fn key(&self, key: &str) -> airhost_core::Result<String> {
        if !(1..=MAX_KEY).contains(&key.len()) {
            return Err(codes::KV_KEY.error("a key is 1 to 512 bytes"));
        }
        Ok(self.scope() + key)
    }
}

fn scope(service: &str, tenant: Option<&str>) -> String {
    match tenant {
        None => format!("{service}//"),
        Some(tenant) => format!("{service}/t{}/", tenant.replace('%', "%25").replace('/', "%2F")),
    }
}

fn ttl(millis: Option<u64>) -> Option<Duration> {
    millis.map(Duration::from_millis)
}

fn entry(entry: kv::Entry) -> Entry {
    Entry {
        value: into_vec(entry.value),
        version: entry.version,
        expires_in_ms: entry.expires_in.map(millis),
    }
}

fn algorithm(algorithm: Algorithm) -> kv::Algorithm {
    match algorithm {
        Algorithm::TokenBucket => kv::Algorithm::TokenBucket,
        Algorithm::Gcra => kv::Algorithm::Gcra,
        Algorithm::SlidingWindow => kv::Algorithm::SlidingWindow,
        Algorithm::FixedWindow => kv::Algorithm::FixedWindow,
    }
}

impl wit::Host for State {
    async fn get(&mut self, key: String) -> Answer<Option<Entry>> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv get"), kv.get(&self.key(&key)?)).await?.map(entry))
    }

    async fn get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<Entry>>> {
        let kv = self.kv()?;
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        Ok(spanned(self.kv_span("kv get-many"), kv.get_many(&keys))
            .await?
            .into_iter()
            .map(|found| found.map(entry))
            .collect())
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Answer<u64> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv set"), kv.set(&self.key(&key)?, value.into(), ttl(ttl_ms)))
            .await?)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<u64> {
        let kv = self.kv()?;
        Ok(spanned(
            self.kv_span("kv compare-and-set"),
            kv.compare_and_set(&self.key(&key)?, expected, value.into(), ttl(ttl_ms)),
        )
        .await?)
    }

    async fn delete(&mut self, key: String) -> Answer<bool> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv delete"), kv.delete(&self.key(&key)?)).await?)
    }

    async fn increment(&mut self, key: String, delta: i64, ttl_ms: Option<u64>) -> Answer<i64> {
        let kv = self.kv()?;
        Ok(spanned(
            self.kv_span("kv increment"),
            kv.increment(&self.key(&key)?, delta, ttl(ttl_ms)),
        )
        .await?)
    }

    async fn expire(&mut self, key: String, ttl_ms: Option<u64>) -> Answer<bool> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv expire"), kv.expire(&self.key(&key)?, ttl(ttl_ms))).await?)
    }

    async fn atomic(
        &mut self,
        checks: Vec<(String, Option<u64>)>,
        mutations: Vec<Mutation>,
    ) -> Answer<()> {
        let kv = self.kv()?;
        let checks = checks
            .into_iter()
            .map(|(key, version)| Ok((self.key(&key)?, version)))
            .collect::<airhost_core::Result<Vec<_>>>()?;
        let mutations = mutations
            .into_iter()
            .map(|mutation| {
                Ok(match mutation {
                    Mutation::Set((key, value, millis)) => kv::Mutation::Set {
                        key: self.key(&key)?,
                        value: value.into(),
                        ttl: ttl(millis),
                    },
                    Mutation::Delete(key) => kv::Mutation::Delete { key: self.key(&key)? },
                    Mutation::Add((key, delta, millis)) => {
                        kv::Mutation::Add { key: self.key(&key)?, delta, ttl: ttl(millis) }
                    }
                })
            })
            .collect::<airhost_core::Result<Vec<_>>>()?;
        Ok(spanned(self.kv_span("kv atomic"), kv.atomic(&checks, mutations)).await?)
    }

    async fn take(&mut self, buckets: Vec<Bucket>) -> Answer<Vec<Verdict>> {
        let kv = self.kv()?;
        let buckets = buckets
            .into_iter()
            .map(|bucket| {
                Ok(kv::Bucket {
                    key: self.key(&bucket.key)?,
                    algorithm: algorithm(bucket.algorithm),
                    capacity: bucket.capacity,
                    refill: bucket.refill,
                    period: Duration::from_millis(bucket.period_ms),
                    cost: bucket.cost,
                })
            })
            .collect::<airhost_core::Result<Vec<_>>>()?;
        let verdicts = spanned(self.kv_span("kv take"), kv.take(&buckets)).await?;
        Ok(verdicts
            .into_iter()
            .map(|verdict| Verdict {
                allowed: verdict.allowed,
                remaining: verdict.remaining,
                retry_after_ms: millis(verdict.retry_after),
                reset_ms: millis(verdict.reset),
            })
            .collect())
    }

    async fn refund(&mut self, key: String, with: Algorithm, units: u64) -> Answer<()> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv refund"), kv.refund(&self.key(&key)?, algorithm(with), units))
            .await?)
    }

    async fn push(&mut self, key: String, values: Vec<Vec<u8>>) -> Answer<u64> {
        let kv = self.kv()?;
        let values = values.into_iter().map(Bytes::from).collect();
        Ok(spanned(self.kv_span("kv push"), kv.push(&self.key(&key)?, values)).await?)
    }

    async fn pop(&mut self, key: String, max: u32) -> Answer<Vec<Vec<u8>>> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv pop"), kv.pop(&self.key(&key)?, max))
            .await?
            .into_iter()
            .map(into_vec)
            .collect())
    }

    async fn range(&mut self, key: String, start: u64, max: u32) -> Answer<Vec<Vec<u8>>> {
        let kv = self.kv()?;
        Ok(spanned(self.kv_span("kv range"), kv.range(&self.key(&key)?, start, max))
            .await?
            .into_iter()
            .map(into_vec)
            .collect())
    }

    async fn scan(
        &mut self,
        prefix: String,
        after: Option<String>,
        max: u32,
    ) -> Answer<Vec<String>> {
        let kv = self.kv()?;
        let scope = self.scope();
        let after = after.map(|after| format!("{scope}{after}"));
        let keys = spanned(
            self.kv_span("kv scan"),
            kv.scan(&format!("{scope}{prefix}"), after.as_deref(), max),
        )
        .await?;
        Ok(keys
            .into_iter()
            .filter_map(|key| key.strip_prefix(&scope).map(ToOwned::to_owned))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_can_be_named_into_anothers_scope() {
        let names = ["a", "a/b", "a%2Fb", "", "t", "/", "a/", "%"];
        let mut scopes: Vec<_> = names.iter().map(|name| scope("s", Some(name))).collect();
        scopes.push(scope("s", None));
        for (i, one) in scopes.iter().enumerate() {
            for (j, other) in scopes.iter().enumerate() {
                assert!(i == j || !other.starts_with(one.as_str()), "{one} {other}");
            }
        }
    }
}
