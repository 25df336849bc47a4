//! Maps by id as lists: the entries carry their ids, and their order is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Base, Field, Record, Table, User};
use crate::hooks::Webhook;

/// What carries its own id.
pub(crate) trait Identified {
    fn id(&self) -> &str;
}

impl<T: Identified> Identified for Arc<T> {
    fn id(&self) -> &str {
        self.as_ref().id()
    }
}

macro_rules! identified {
    ($($type:ty),*) => {
        $(impl Identified for $type {
            fn id(&self) -> &str {
                &self.id
            }
        })*
    };
}

identified!(Base, Table, Field, Record, User, Webhook);

pub(crate) fn serialize<S: Serializer, T: Serialize>(
    map: &IndexMap<String, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}

pub(crate) fn deserialize<'de, D, T>(deserializer: D) -> Result<IndexMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Identified,
{
    let list = Vec::<T>::deserialize(deserializer)?;
    let mut map = IndexMap::with_capacity(list.len());
    for entry in list {
        let id = entry.id().to_owned();
        if map.contains_key(&id) {
            return Err(de::Error::custom(format!("the id {id} is used twice")));
        }
        map.insert(id, entry);
    }
    Ok(map)
}

/// A map in the order of its keys: the same data gives the same text.
pub(super) fn sorted<S: Serializer, T: Serialize>(
    map: &HashMap<String, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().collect::<BTreeMap<_, _>>())
}
