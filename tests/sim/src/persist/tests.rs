use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::*;
use crate::config::World;
use crate::model::Data;

/// A folder and the name of a data file in a folder of it that is not there yet.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("data.json");
    (folder, path)
}

fn demo() -> Data {
    world::load(&World::Demo).unwrap().data
}

fn store(file: &DataFile, data: Data) {
    let (saved, blobs) = SavedWorld::new(data, Some(5), "http://old".to_owned());
    file.save(&saved, &blobs).unwrap();
}

/// The data as it would be saved, for comparison.
fn text(data: &Data) -> Json {
    serde_json::to_value(SavedWorld::new(data.clone(), None, String::new()).0).unwrap()
}

fn blob(text: &'static str) -> Blob {
    Blob { content_type: "text/plain".to_owned(), data: text.into() }
}

#[tokio::test]
async fn what_is_saved_is_loaded() {
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    assert!(file.load().unwrap().is_none());
    let mut data = demo();
    data.blobs.insert("attA".to_owned(), blob("one"));
    let field = data.bases[0].tables["tblDeals000000001"].field("Amount").unwrap().id.clone();
    let table = data.bases[0].tables.get_mut("tblDeals000000001").unwrap();
    let id = table.records[0].id.clone();
    // Digits that a reader of less than full precision gets wrong.
    let number = json!(-2.109_808_898_695_963e16);
    table.record_mut(&id).unwrap().cells.insert(field, number);
    store(&file, data.clone());
    let loaded = file.load().unwrap().unwrap();
    assert_eq!(text(&loaded.data), text(&data));
    assert_eq!(loaded.data.blobs["attA"].data, "one");
    assert_eq!((loaded.ids, loaded.public_url.as_deref()), (Some(5), Some("http://old")));
    let views = |data: &Data| format!("{:?}", data.bases[0].tables[0].views);
    assert_eq!(views(&loaded.data), views(&data), "the filters are compiled again");
    let formulas = |data: &Data| {
        let tables = data.bases[0].tables.values();
        let fields = tables.flat_map(|table| table.fields.values());
        fields.map(|field| format!("{:?}", field.formula)).collect::<Vec<_>>()
    };
    assert_eq!(formulas(&loaded.data), formulas(&data));
}

#[tokio::test]
async fn a_saved_file_is_a_base_file() {
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    let mut data = demo();
    data.blobs.insert("attA".to_owned(), blob("one"));
    store(&file, data.clone());
    let loaded = world::load(&World::File(path.clone())).unwrap();
    assert_eq!(text(&loaded.data), text(&data));
    // And a base file is a data file.
    let base = r#"{"name": "B", "tables": [{"name": "T", "fields": [{"name": "N", "type": "singleLineText"}]}]}"#;
    fs::write(&path, base).unwrap();
    assert_eq!(file.load().unwrap().unwrap().data.bases[0].name, "B");
}

#[tokio::test]
async fn uploaded_files_follow_the_data() {
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    let folder = files_folder(&path);
    let mut data = demo();
    store(&file, data.clone());
    assert!(!folder.exists());
    data.blobs.insert("attA".to_owned(), blob("one"));
    data.blobs.insert("attB".to_owned(), blob("two"));
    store(&file, data.clone());
    let written = |key: &str| fs::metadata(folder.join(key)).and_then(|meta| meta.modified());
    let before = written("attA").unwrap();
    data.blobs.remove("attB");
    store(&file, data.clone());
    assert_eq!(written("attA").unwrap(), before, "a file is written once");
    assert!(written("attB").is_err());
    // What a crash has left goes, what is not ours stays, what is cut short is left out.
    for name in ["attC", "attD.tmp", "a note"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    file.load().unwrap().unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a note", "attA"]);
    fs::write(folder.join("attA"), "on").unwrap();
    assert!(file.load().unwrap().unwrap().data.blobs.is_empty());
}

#[tokio::test]
async fn damaged_files_are_set_aside() {
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    let mut data = demo();
    data.blobs.insert("attA".to_owned(), blob("one"));
    store(&file, data);
    let good = fs::read_to_string(&path).unwrap();
    let value: Json = serde_json::from_str(&good).unwrap();
    let edited = |pointer: &str, change: &dyn Fn(&mut Json)| {
        let mut value = value.clone();
        change(value.pointer_mut(pointer).unwrap());
        value.to_string()
    };
    let hook = json!({
        "id": "achX", "notificationUrl": null, "macSecretBase64": "AA==", "specification": {},
        "areNotificationsEnabled": true, "expirationTime": "2024-01-01T00:00:00Z",
        "payloads": [{}], "cursorForNextPayload": 1, "lastSuccessfulNotificationTime": null,
        "lastNotificationResult": null,
    });
    let cases = [
        String::new(),
        "null".to_owned(),
        good[..good.len() / 2].to_owned(),
        "\u{0}".repeat(100),
        edited("", &|world| world["version"] = json!(2)),
        edited("", &|world| world["surprise"] = json!(1)),
        edited("/users", &|users| *users = json!([])),
        edited("/tokens/0/user", &|user| *user = json!("usrNobody00000001")),
        edited("/bases", &|bases| {
            let first = bases[0].clone();
            bases.as_array_mut().unwrap().push(first);
        }),
        edited("/bases/0/webhooks", &|hooks| *hooks = json!([hook])),
        edited("/bases/0/tables/0/primaryFieldId", &|id| *id = json!("fldNone")),
        edited("/bases/0/tables/0/nextNumber", &|number| *number = json!(1)),
        edited("/bases/0/tables/0/fields/0/type", &|kind| *kind = json!("odd")),
        edited("/files/0/key", &|key| *key = json!("../data.json")),
    ];
    let cases = cases.map(String::into_bytes).into_iter().chain([vec![0xff, 0xfe]]);
    for (n, damaged) in cases.enumerate() {
        fs::write(&path, &damaged).unwrap();
        let loaded = file.load().unwrap();
        assert!(loaded.is_none(), "{n}: {}", String::from_utf8_lossy(&damaged));
        assert!(!path.exists());
        let aside = if n == 0 { ".damaged".to_owned() } else { format!(".damaged-{}", n + 1) };
        assert_eq!(fs::read(beside(&path, &aside)).unwrap(), damaged);
    }
    let kept = files_folder(&beside(&path, ".damaged")).join("attA");
    assert_eq!(fs::read_to_string(kept).unwrap(), "one", "its folder goes with it");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_damaged() {
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    let mut data = demo();
    data.blobs.insert("attA".to_owned(), blob("one"));
    store(&file, data);
    let content = files_folder(&path).join("attA");
    fs::remove_file(&content).unwrap();
    fs::create_dir(&content).unwrap();
    assert_eq!(file.load().unwrap_err().code(), "data");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(file.load().unwrap_err().code(), "data");
    let blocked = path.join("below").join("data.json");
    fs::write(path.join("below"), "a file").unwrap();
    assert_eq!(DataFile::open(&blocked).await.unwrap_err().code(), "data");
}

#[tokio::test(start_paused = true)]
async fn one_simulator_keeps_its_data_in_a_file() {
    let (_folder, path) = place();
    let first = DataFile::open(&path).await.unwrap();
    assert_eq!(DataFile::open(&path).await.unwrap_err().code(), "data_in_use");
    let (second, ()) = tokio::join!(DataFile::open(&path), async {
        tokio::time::sleep(LOCK_WAIT / 2).await;
        drop(first);
    });
    second.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = place();
    let file = DataFile::open(&path).await.unwrap();
    let mut data = demo();
    data.blobs.insert("attA".to_owned(), blob("one"));
    store(&file, data);
    let files = files_folder(&path);
    let modes = [
        (parent(&path).to_owned(), 0o700),
        (path.clone(), 0o600),
        (beside(&path, ".lock"), 0o600),
        (files.clone(), 0o700),
        (files.join("attA"), 0o600),
    ];
    for (path, mode) in modes {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}
