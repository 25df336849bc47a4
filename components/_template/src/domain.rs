//! What an item is and which rules it keeps. Nothing here knows of requests or tables.

use sdk::{Row, Schema, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};

/// Where an item is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema, Text)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// May be changed.
    #[default]
    Open,
    /// May not.
    Closed,
}

impl State {
    /// A closed item stays closed.
    pub(crate) fn may_become(self, next: Self) -> bool {
        self == Self::Open || next == Self::Closed
    }
}

/// An item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema, Row)]
pub(crate) struct Item {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its name, one of a kind in its tenant.
    #[schema(example = "A first item")]
    pub(crate) name: String,
    /// Where it is in its life.
    pub(crate) state: State,
    /// Words to find it by.
    #[row(json)]
    pub(crate) tags: Vec<String>,
    /// Counts its changes.
    pub(crate) version: i64,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it goes away by itself.
    pub(crate) expires_at: Option<Timestamp>,
}

/// What an item is made or changed with.
#[derive(Clone, Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemInput {
    /// Its name.
    #[schema(not_blank, max_length = 200, example = "A first item")]
    pub(crate) name: String,
    /// Where it is in its life.
    #[serde(default)]
    pub(crate) state: State,
    /// Words to find it by.
    #[serde(default)]
    #[schema(max_items = 20, example = json("[\"first\"]"))]
    pub(crate) tags: Vec<String>,
    /// When it goes away by itself.
    pub(crate) expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_item_stays_closed() {
        let rows = [
            (State::Open, State::Open, true),
            (State::Open, State::Closed, true),
            (State::Closed, State::Closed, true),
            (State::Closed, State::Open, false),
        ];
        for (from, to, expected) in rows {
            assert_eq!(from.may_become(to), expected, "{from} -> {to}");
        }
    }
}
