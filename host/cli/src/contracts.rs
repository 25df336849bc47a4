//! The contracts of this version. They are in this program, so that a service can be written and
//! built anywhere.

use include_dir::{Dir, include_dir};
use serde_json::Value;

static CONTRACTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");

/// Files of the packages, as (path below `wit`, content), without the packages released before.
pub(crate) fn packages() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let folders = CONTRACTS.dirs().filter(|folder| !folder.path().starts_with("released"));
    let files = folders.flat_map(Dir::files);
    files.filter_map(|file| {
        let path = file.path().to_str()?;
        path.ends_with(".wit").then(|| (path, file.contents()))
    })
}

/// The schema of a topic that is part of the contracts.
pub(crate) fn event_schema(topic: &str) -> Option<Value> {
    let file = CONTRACTS.get_file(format!("events/schemas/{topic}.json"))?;
    serde_json::from_slice(file.contents()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_the_contracts_are_found() {
        let schema = event_schema("record.created").unwrap();
        assert_eq!(schema["type"], "object");
        assert_eq!(event_schema("no.such"), None);
        assert_eq!(event_schema("../schemas/record.created"), None);
    }

    #[test]
    fn packages_are_those_of_now() {
        let paths: Vec<&str> = packages().map(|(path, _)| path).collect();
        assert!(paths.contains(&"service/http.wit"), "{paths:?}");
        assert!(paths.iter().all(|path| path.ends_with(".wit") && !path.starts_with("released")));
    }
}
