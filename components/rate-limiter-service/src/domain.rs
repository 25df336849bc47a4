//! Policies, windows of the calendar, and what a check counts. Nothing here knows of requests or
//! stores.

mod calendar;
mod check;
mod policy;

pub(crate) use calendar::{Span, Window};
pub(crate) use check::{Bucket, Count, Counted, Item, Outcome, count, judge};
pub(crate) use policy::{Algorithm, Mode, NamedPolicy, OnFailure, Policy, PolicyInput};
