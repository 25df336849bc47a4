//! Points in time; the host adds the tenant.

use crate::{Result, imports::timeseries as wit};

pub use crate::bindings::pyairtable::storage::timeseries::{
    Aggregate, FieldValue, Fill, Point, RangeQuery, Series,
};

/// Writes at most 5 000 points; one with the same measurement, tags and time replaces.
///
/// # Errors
/// `timeseries.*`, here and below.
pub fn write(points: &[Point]) -> Result<()> {
    Ok(wit::write(points)?)
}

/// At most 10 000 points.
///
/// # Errors
/// `timeseries.*`.
pub fn query(query: &RangeQuery) -> Result<Vec<Series>> {
    Ok(wit::query(query)?)
}

/// Deletes a range; answers how many points.
///
/// # Errors
/// `timeseries.*`.
pub fn delete_range(
    measurement: &str,
    from_ns: i64,
    to_ns: i64,
    tags: &[(String, String)],
) -> Result<u64> {
    Ok(wit::delete_range(measurement, from_ns, to_ns, tags)?)
}
