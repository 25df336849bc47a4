//! What must hold besides for a binding to count.

use std::{collections::BTreeMap, net::IpAddr};

use sdk::{Schema, Timestamp};
use serde::{Deserialize, Serialize};

/// Conditions of a binding; all that are there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// Counts from then on.
    pub(crate) not_before: Option<Timestamp>,
    /// Only at this time of day (UTC).
    pub(crate) hours: Option<Hours>,
    /// Only from these addresses: CIDR blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 50, check = blocks, example = json("[\"10.0.0.0/8\"]"))]
    pub(crate) ip: Vec<String>,
    /// Only if the attribute of the request is one of the values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(check = few)]
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
}

/// A time of day. If it ends before it begins it goes over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    /// Minutes after midnight, UTC.
    #[schema(min = 0, max = 1439, example = 480)]
    pub(crate) from: i64,
    /// Minutes after midnight, not included.
    #[schema(min = 1, max = 1440, example = 1080)]
    pub(crate) until: i64,
}

/// What is known of the request that is decided on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) now: Timestamp,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) attributes: Option<&'a BTreeMap<String, String>>,
}

impl Circumstances<'_> {
    /// Nothing is known but the time.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self { now, ip: None, attributes: None }
    }
}

impl Condition {
    /// Whether it holds; none if that cannot be told.
    pub(crate) fn holds(&self, now: &Circumstances<'_>) -> Option<bool> {
        let mut known = true;
        let mut check = |answer: Option<bool>| match answer {
            Some(false) => false,
            Some(true) => true,
            None => {
                known = false;
                true
            }
        };
        let in_hours = |hours: &Hours| {
            let minute = now.now.as_seconds().rem_euclid(86_400) / 60;
            if hours.from < hours.until {
                (hours.from..hours.until).contains(&minute)
            } else {
                minute >= hours.from || minute < hours.until
            }
        };
        let holds = check(Some(self.not_before.is_none_or(|at| at <= now.now)))
            && check(Some(self.hours.as_ref().is_none_or(in_hours)))
            && (self.ip.is_empty()
                || check(now.ip.map(|ip| self.ip.iter().any(|block| contains(block, ip)))))
            && self.attributes.iter().all(|(name, values)| {
                check(now.attributes.and_then(|a| a.get(name)).map(|value| values.contains(value)))
            });
        if holds { known.then_some(true) } else { Some(false) }
    }
}

fn parse_block(block: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = match block.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (block, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(most);
    (length <= most).then_some((address, length))
}

fn contains(block: &str, ip: IpAddr) -> bool {
    match (parse_block(block), ip.to_canonical()) {
        (Some((IpAddr::V4(network), length)), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(network) & mask == u32::from(ip) & mask
        }
        (Some((IpAddr::V6(network), length)), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(network) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

fn blocks(blocks: &[String]) -> Result<(), &'static str> {
    if blocks.iter().all(|block| parse_block(block).is_some()) {
        Ok(())
    } else {
        Err("must be addresses or blocks such as 10.0.0.0/8")
    }
}

fn few(attributes: &BTreeMap<String, Vec<String>>) -> Result<(), &'static str> {
    let fits = |text: &String| (1..=200).contains(&text.len());
    if attributes.len() > 20
        || !attributes.iter().all(|(name, values)| {
            fits(name) && (1..=50).contains(&values.len()) && values.iter().all(fits)
        })
    {
        return Err("must be at most 20 names, each with 1 to 50 values, of 1 to 200 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Circumstances<'static> {
        Circumstances::at(time.parse().unwrap())
    }

    #[test]
    fn hours_may_go_over_midnight() {
        let rows = [
            (480, 1080, "2026-01-01T08:00:00Z", true),
            (480, 1080, "2026-01-01T17:59:59Z", true),
            (480, 1080, "2026-01-01T18:00:00Z", false),
            (1320, 360, "2026-01-01T23:00:00Z", true),
            (1320, 360, "2026-01-01T05:59:00Z", true),
            (1320, 360, "2026-01-01T12:00:00Z", false),
        ];
        for (from, until, time, expected) in rows {
            let condition =
                Condition { hours: Some(Hours { from, until }), ..Condition::default() };
            assert_eq!(condition.holds(&at(time)), Some(expected), "{from} {until} {time}");
        }
    }

    #[test]
    fn addresses() {
        let rows = [
            ("10.0.0.0/8", "10.200.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::/32", "10.0.0.1", false),
        ];
        for (block, ip, expected) in rows {
            let condition = Condition { ip: vec![block.to_owned()], ..Condition::default() };
            let now = Circumstances { ip: Some(ip.parse().unwrap()), ..at("2026-01-01T00:00:00Z") };
            assert_eq!(condition.holds(&now), Some(expected), "{block} {ip}");
            assert_eq!(condition.holds(&at("2026-01-01T00:00:00Z")), None);
        }
        for bad in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", ""] {
            assert!(parse_block(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_known_to_fail_fails_whatever_else_is_unknown() {
        let condition = Condition {
            not_before: Some("2026-02-01T00:00:00Z".parse().unwrap()),
            ip: vec!["10.0.0.0/8".to_owned()],
            attributes: [("mfa".to_owned(), vec!["true".to_owned()])].into(),
            ..Condition::default()
        };
        assert_eq!(condition.holds(&at("2026-01-01T00:00:00Z")), Some(false));
        assert_eq!(condition.holds(&at("2026-03-01T00:00:00Z")), None);
        let attributes = [("mfa".to_owned(), "false".to_owned())].into();
        let now = Circumstances { attributes: Some(&attributes), ..at("2026-03-01T00:00:00Z") };
        assert_eq!(condition.holds(&now), Some(false));
    }
}
