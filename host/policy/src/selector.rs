//! `selector`, and names of Kubernetes.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::notes::Notes;

/// `selector`: the labels that a workload must have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Selector {
    #[serde(default)]
    pub(crate) match_labels: Entries<Spanned<String>>,
}

impl Selector {
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let pair = |(name, value): &(Spanned<String>, Spanned<String>)| {
            (name.value.clone(), value.value.clone())
        };
        self.match_labels.0.iter().map(pair).collect()
    }
}

/// The labels of a resource's selector; none select every workload.
pub(crate) fn selected_labels(
    selector: Option<&Spanned<Selector>>,
    notes: &mut Notes<'_>,
) -> BTreeMap<String, String> {
    let Some(selector) = selector else { return BTreeMap::new() };
    if selector.value.match_labels.0.is_empty() {
        notes.warning(selector, "a `selector` without labels selects every workload");
    }
    for (name, value) in &selector.value.match_labels.0 {
        if name.value.is_empty() {
            notes.error(name, "a label's name is empty");
        }
        for part in [name, value] {
            if part.value.contains('*') {
                notes.error(part, format!("`{}`: labels have no wildcards", part.value));
            }
        }
    }
    selector.value.labels()
}

/// A mapping whose keys keep their place.
#[derive(Debug)]
pub(crate) struct Entries<V>(pub(crate) Vec<(Spanned<String>, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Whether this names a resource: a DNS subdomain (RFC 1123), up to 253 characters.
pub(crate) fn is_resource_name(name: &str) -> bool {
    (1..=253).contains(&name.len()) && name.split('.').all(is_label_of_letters)
}

/// Whether this names a namespace: a DNS label (RFC 1123), up to 63 characters.
pub(crate) fn is_namespace(name: &str) -> bool {
    name.len() <= 63 && is_label_of_letters(name)
}

fn is_label_of_letters(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rfc_1123() {
        let (longest, longer) = ("a".repeat(63), "a".repeat(64));
        let (longest_name, longer_name) = ("a.".repeat(126) + "a", "a.".repeat(126) + "aa");
        for (name, resource, namespace) in [
            ("a", true, true),
            ("a-1", true, true),
            ("1a", true, true),
            ("a.b-c", true, false),
            ("", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a..b", false, false),
            ("a/b", false, false),
            (&longest, true, true),
            (&longer, true, false),
            (&longest_name, true, false),
            (&longer_name, false, false),
        ] {
            assert_eq!(is_resource_name(name), resource, "{name}");
            assert_eq!(is_namespace(name), namespace, "{name}");
        }
    }
}
