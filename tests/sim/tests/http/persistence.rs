//! Data that outlives the simulator.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use airhost_sim::{SimConfig, TokenConfig};
use serde_json::{Value, json};

use crate::support::{BASE, FULL, Fixture, column, config, start_with};
use crate::webhooks::{HOOKS, hook, subscriber, verified};

const META: &str = "/v0/meta/bases";
/// A token of the configuration that may make bases and reach those alone.
const MAKER: &str = "patMaker000000001.secret";

fn kept(path: &Path) -> SimConfig {
    let token = TokenConfig {
        token: MAKER.to_owned(),
        user: Some("usrBen00000000002".to_owned()),
        scopes: None,
        bases: Some(Default::default()),
    };
    SimConfig { data: Some(path.to_owned()), tokens: vec![token], ..config() }
}

/// Everything that requests can see, in the tokens' names, with `URL` for the address.
async fn seen(sim: &mut Fixture) -> Value {
    let mut all = Vec::new();
    for token in [FULL, MAKER] {
        sim.token = token;
        all.push(sim.get("/v0/meta/whoami").await);
        let bases = sim.get(META).await;
        for base in column_of(&bases["bases"], "id") {
            all.push(sim.get(&format!("{META}/{base}")).await);
            let path = format!("{META}/{base}/tables?include=visibleFieldIds");
            let schema = sim.get(&path).await;
            for table in column_of(&schema["tables"], "id") {
                let list = format!("/v0/{base}/{table}?recordMetadata=commentCount");
                let page = sim.get(&list).await;
                for record in page["records"].as_array().unwrap() {
                    if record["commentCount"] != 0 {
                        let id = record["id"].as_str().unwrap();
                        all.push(sim.get(&format!("/v0/{base}/{table}/{id}/comments")).await);
                    }
                }
                all.push(page["records"].clone());
            }
            let hooks = sim.get(&format!("/v0/bases/{base}/webhooks")).await;
            for id in column_of(&hooks["webhooks"], "id") {
                all.push(sim.get(&format!("/v0/bases/{base}/webhooks/{id}/payloads")).await);
            }
            all.extend([schema, hooks]);
        }
        all.push(bases);
    }
    sim.token = FULL;
    let text = Value::Array(all).to_string().replace(&sim.sim.url(), "URL");
    serde_json::from_str(&text).unwrap()
}

fn column_of(list: &Value, key: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

async fn ids_of(sim: &Fixture, table: &str) -> Vec<Value> {
    let page = sim.get(&format!("{BASE}/{table}")).await;
    page["records"].as_array().unwrap().iter().map(|record| record["id"].clone()).collect()
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("airtable.json");
    let mut sim = start_with(kept(&path)).await;
    let (url, mut received) = subscriber(&[]).await;
    let filters = json!({"dataTypes": ["tableData"]});
    let (_, made) = hook(&sim, Some(&url), filters, json!({})).await;
    let secret = made["macSecretBase64"].as_str().unwrap().to_owned();

    // Records: made, changed, linked, removed; a choice made on the way; numbers to the last digit.
    let deal = json!({"fields": {"Title": "New", "Probability": 1, "Amount": 0.1_f64 + 0.2_f64}, "typecast": true});
    let deal = sim.ok("POST", &format!("{BASE}/Deals"), deal).await["id"].clone();
    let task = json!({"fields": {"Name": "Linked", "Status": "Unheard of"}, "typecast": true});
    let task = sim.ok("POST", &format!("{BASE}/Tasks"), task).await["id"].clone();
    let task = task.as_str().unwrap();
    let gone = sim.create("Tasks", json!({"Name": "gone"})).await;
    sim.ok("DELETE", &format!("{BASE}/Tasks/{gone}"), Value::Null).await;
    // Comments, with an answer and a change.
    let comments = format!("{BASE}/Tasks/{task}/comments");
    let first = sim.ok("POST", &comments, json!({"text": "Hi @[usrBen00000000002]"})).await;
    let id = first["id"].as_str().unwrap();
    sim.ok("POST", &comments, json!({"text": "Yes", "parentCommentId": id})).await;
    sim.ok("PATCH", &format!("{comments}/{id}"), json!({"text": "Changed"})).await;
    // Schema: another table, another column, another name for a column that a formula reads.
    let base = format!("{META}/appDemoSales00001/tables");
    let fields = json!([{"name": "Name", "type": "singleLineText"},
        {"name": "Deals", "type": "multipleRecordLinks", "options": {"linkedTableId": "tblDeals000000001"}}]);
    sim.ok("POST", &base, json!({"name": "Extra", "description": "d", "fields": fields})).await;
    let extra = sim.create("Extra", json!({"Name": "e", "Deals": [deal]})).await;
    let schema = sim.get(&base).await;
    let deals = &schema["tables"].as_array().unwrap()[2];
    assert_eq!(deals["name"], "Deals");
    let amount =
        deals["fields"].as_array().unwrap().iter().find(|f| f["name"] == "Amount").unwrap();
    let amount = format!("{base}/tblDeals000000001/fields/{}", amount["id"].as_str().unwrap());
    sim.ok("PATCH", &amount, json!({"name": "Sum", "description": "of all"})).await;
    // A file.
    let upload = json!({"contentType": "text/plain", "filename": "a.txt", "file": "c29tZSB0ZXh0"});
    let upload_path = format!("/v0/appDemoSales00001/{task}/Attachments/uploadAttachment");
    sim.ok("POST", &upload_path, upload).await;
    // A base, by a token that is granted those that it makes.
    sim.token = MAKER;
    let tables = json!([{"name": "T", "fields": [{"name": "N", "type": "number"}]}]);
    let body = json!({"name": "Made", "workspaceId": "wspX", "tables": tables});
    sim.ok("POST", META, body).await;
    sim.token = FULL;
    verified(&received.recv().await.unwrap(), &secret);
    settled(&sim).await;
    let before = seen(&mut sim).await;
    let numbers = ids_of(&sim, "Tasks").await;
    sim.sim.shutdown().await;

    // The world of the configuration is not read any more.
    let config = SimConfig {
        world: airhost_sim::World::File(PathBuf::from("/nonexistent/bases.json")),
        ..kept(&path)
    };
    let mut sim = start_with(config).await;
    let after = seen(&mut sim).await;
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(before, after);
    }
    assert_eq!(before.as_array().map(Vec::len), after.as_array().map(Vec::len));

    // It is alive: files, views, formulas, links, numbers, new ids, webhooks.
    let record = sim.get(&format!("{BASE}/Tasks/{task}")).await;
    let file = record["fields"]["Attachments"][0]["url"].as_str().unwrap();
    assert!(file.starts_with(&sim.sim.url()), "{file}");
    let (status, headers, content) = sim.raw("GET", file, "").await.unwrap();
    assert_eq!((status, &content[..]), (200, &b"some text"[..]));
    assert_eq!(headers["content-type"], "text/plain");
    let large = sim.get(&format!("{BASE}/Companies?view=Large")).await;
    assert!(!large["records"].as_array().unwrap().is_empty());
    let sums = sim.get(&format!("{BASE}/Deals?filterByFormula=%7BSum%7D%3E0&pageSize=1")).await;
    assert_eq!(column(&sums, "Expected").len(), 1);
    let sum = sim.get(&format!("{BASE}/Deals/{}", deal.as_str().unwrap())).await["fields"].clone();
    assert_eq!((&sum["Sum"], &sum["Expected"]), (&json!(0.1 + 0.2), &json!(0.1 + 0.2)));
    sim.ok("DELETE", &format!("{BASE}/Deals/{}", deal.as_str().unwrap()), Value::Null).await;
    let linked = sim.get(&format!("{BASE}/Extra/{extra}")).await;
    assert_eq!(linked["fields"], json!({"Name": "e"}));
    while received.try_recv().is_ok() {}
    let fresh = sim.create("Tasks", json!({"Name": "after"})).await;
    assert!(!numbers.contains(&json!(fresh)), "the seed does not give an id twice");
    let number = sim.get(&format!("{BASE}/Tasks/{fresh}")).await["fields"]["Number"].clone();
    assert_eq!(number, 8);
    verified(&received.recv().await.unwrap(), &secret);
    sim.sim.shutdown().await;
}

/// Waits until the last notification of the only webhook is noted.
async fn settled(sim: &Fixture) {
    let mut known = Value::Null;
    let mut same = 0;
    while same < 3 {
        let now = sim.get(HOOKS).await;
        same = if now == known && now["webhooks"][0]["lastNotificationResult"]["success"] == true {
            same + 1
        } else {
            0
        };
        known = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn tokens_of_the_configuration_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airtable.json");
    let sim = start_with(kept(&path)).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    sim.sim.shutdown().await;
    let mut sim = start_with(SimConfig { tokens: Vec::new(), ..kept(&path) }).await;
    sim.token = MAKER;
    sim.refused("GET", META, Value::Null, (401, "AUTHENTICATION_REQUIRED")).await;
    sim.sim.shutdown().await;
    // A mistake in the configuration is not blamed on the file.
    let mut config = kept(&path);
    config.tokens[0].user = Some("usrNobody00000001".to_owned());
    assert_eq!(airhost_sim::Sim::start(config).await.unwrap_err().code(), "invalid_world");
    let mut sim = start_with(kept(&path)).await;
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 6);
    sim.token = MAKER;
    assert_eq!(sim.get(META).await["bases"], json!([]));
}

#[tokio::test]
async fn a_reset_is_kept_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airtable.json");
    let sim = start_with(kept(&path)).await;
    sim.create("Tasks", json!({"Name": "x"})).await;
    sim.sim.shutdown().await;
    let sim = start_with(kept(&path)).await;
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 6);
    sim.sim.control().reset().unwrap();
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 5);
    sim.sim.shutdown().await;
    let sim = start_with(kept(&path)).await;
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 5);
}

#[tokio::test]
async fn a_damaged_file_does_not_keep_it_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airtable.json");
    std::fs::write(&path, "{\"version\": 1, \"us").unwrap();
    let sim = start_with(kept(&path)).await;
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 5);
    let aside = folder.path().join("airtable.json.damaged");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{\"version\": 1, \"us");
    sim.create("Tasks", json!({"Name": "x"})).await;
    sim.sim.shutdown().await;
    let sim = start_with(kept(&path)).await;
    assert_eq!(ids_of(&sim, "Tasks").await.len(), 6);
}

#[tokio::test]
async fn saving_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airtable.json");
    let obstacle = folder.path().join("airtable.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    let sim = start_with(kept(&path)).await;
    let id = sim.create("Tasks", json!({"Name": "x"})).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!path.exists());
    std::fs::remove_dir(&obstacle).unwrap();
    saved(&path, &id).await;
}

/// Waits until the file holds a text.
async fn saved(path: &Path, text: &str) {
    let look = async {
        while !std::fs::read_to_string(path).is_ok_and(|data| data.contains(text)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), look).await.unwrap();
}

/// A simulator in a process of its own.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_airtable-sim"))
            .args(["--listen", "127.0.0.1:0", "--no-limits", "--data"])
            .arg(data)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, url)) = line.split_once("url=") {
                break url.trim().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Ends it at once, as `kill -9` does.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airtable.json");
    // Only its client is used.
    let client = start_with(config()).await;
    let mut made = Vec::new();
    for round in 0..3 {
        let process = Process::start(&path);
        let tasks = format!("{}{BASE}/Tasks", process.url);
        for n in 0..5 {
            let body = json!({"fields": {"Name": format!("{round}-{n}")}});
            made.push(client.ok("POST", &tasks, body).await["id"].clone());
        }
        saved(&path, made[made.len() - 1].as_str().unwrap()).await;
        // One write may be under way when it is killed; the file stays whole.
        client.ok("POST", &tasks, json!({"fields": {"Name": "late"}})).await;
        process.kill();
    }
    let process = Process::start(&path);
    let page = client.get(&format!("{}{BASE}/Tasks", process.url)).await;
    let found: Vec<_> = page["records"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
    assert!(made.iter().all(|id| found.contains(&id)), "{made:?} {found:?}");
    process.kill();
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("damaged")), "{names:?}");
}
