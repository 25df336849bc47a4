use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use airhost_core::{Clock, Deadline};
use tempfile::TempDir;

use super::*;
use crate::{
    at_rest::AtRestKey,
    authority::{self, Authority},
    rotation::{Config, Priority, Rotation},
    testing::{DAY, START, Shown, TestAuthority, domain, id, leaf},
    tls::Identities,
};

fn signing(folder: &Path, clock: &Clock) -> Signing<Authority> {
    let config = authority::Config::new(domain());
    Signing::new(Authority::open(folder, config, None, clock.clone()).unwrap())
}

async fn require(rotation: &Rotation, service: &str) -> Arc<Svid> {
    rotation.want(&id(service), Priority::Warmup);
    rotation.require(&id(service), Deadline::after(Duration::from_secs(30))).await.unwrap()
}

/// Lets the paused clock go on.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_own_authority_keeps_services_in_certificates_past_a_change_of_root() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::simulated(START * 1_000_000);
    let issuer = signing(folder.path(), &clock);
    let authority = issuer.signer.clone();
    let identities = Identities::new(authority.bundle().unwrap(), Vec::new(), clock.clone());
    let rotation =
        Rotation::start(identities.clone(), Arc::new(issuer), clock.clone(), Config::default());
    let first = require(&rotation, "a").await;
    authority.begin_root_rotation().unwrap();
    for _ in 0..40 {
        pass(DAY as u64 / 2).await;
        let svid = require(&rotation, "a").await;
        assert!(identities.still_trusted(svid.chain()));
    }
    let bundle = identities.bundle();
    assert_eq!((bundle.clone(), bundle.sequence()), (authority.bundle().unwrap(), 3));
    assert!(!identities.still_trusted(first.chain()), "its root is gone, and so is its time");
    let status = rotation.status();
    assert!(status[0].valid && status[0].issuer == "own authority" && status[0].failures == 0);
}

#[tokio::test]
async fn a_nodes_own_certificate_is_kept_for_the_next_start() {
    for key in [None, Some(AtRestKey::from_bytes(&[3; 32]))] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::of(|| START * 1_000_000);
        let node = "node-2".parse::<crate::join::NodeName>().unwrap().identity(&domain());
        let file = CredentialsFile::new(folder.path(), key);
        assert!(file.load(&domain()).unwrap().is_none());
        let issuer = signing(folder.path(), &clock).keeping(node.clone(), file.clone());
        issuer.issue(&id("a")).await.unwrap();
        assert!(file.load(&domain()).unwrap().is_none(), "only the node's own");
        let issued = issuer.issue(&node).await.unwrap();
        let kept = file.load(&domain()).unwrap().unwrap();
        assert_eq!(kept.node.chain(), issued.svid.chain());
        assert_eq!(kept.bundle, issued.bundle);
        let identities = Identities::new(kept.bundle, Vec::new(), clock);
        identities.install(kept.node).unwrap();
        // A full disk must not keep the node from renewing.
        fs::create_dir(folder.path().join("node.new")).unwrap();
        assert_eq!(issuer.issue(&node).await.unwrap().svid.id(), &node);
    }
}

#[test]
fn a_file_of_a_node_that_cannot_be_used_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = CredentialsFile::new(folder.path(), None);
    let request = SvidRequest::new(id("a")).unwrap();
    let authority = TestAuthority::new();
    let stranger = authority.sign(&leaf(id("a").as_str()));
    file.save(&request, &stranger.chain, &authority.bundle()).unwrap();
    let error = file.load(&domain()).unwrap_err().to_string();
    assert!(error.contains("do not fit together") && error.contains("join again"), "{error}");
    let error = file.load(&"other.org".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("other.org"), "{error}");
    fs::write(folder.path().join("node"), "x").unwrap();
    assert!(file.load(&domain()).unwrap_err().to_string().contains("is damaged"));
}

/// Files as a secret is mounted in Kubernetes: links to `..data/<name>`, and `..data` is a link to
/// a folder, which is exchanged.
struct Mounted {
    folder: TempDir,
    generation: u32,
}

impl Mounted {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), generation: 0 }
    }

    fn write(&mut self, service: &str, chain: &str, key: &str, bundle: &str) {
        self.generation += 1;
        let folder = self.folder.path().join(service);
        let name = format!("..{}", self.generation);
        fs::create_dir_all(folder.join(&name)).unwrap();
        for (file, content) in [("tls.crt", chain), ("tls.key", key), ("ca.crt", bundle)] {
            fs::write(folder.join(&name).join(file), content).unwrap();
            let _there_already = symlink(Path::new("..data").join(file), folder.join(file));
        }
        symlink(&name, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    }

    fn show(&mut self, service: &str, shown: &Shown, bundle: &TrustBundle) {
        self.write(service, &shown.chain_pem(), &shown.key_pem(), &bundle.to_pem());
    }

    fn files(&self) -> Files {
        Files::new(FilesConfig::in_folder(self.folder.path()), domain())
    }
}

#[tokio::test(start_paused = true)]
async fn replaced_files_are_taken_as_a_whole_or_not_at_all() {
    let authority = TestAuthority::new();
    let shown = |service: &str| authority.sign(&leaf(id(service).as_str()));
    let (first, second, third) = (shown("a"), shown("a"), shown("a"));
    let mut mounted = Mounted::new();
    mounted.show("a", &first, &authority.bundle());
    let clock = Clock::simulated(START * 1_000_000);
    let files = mounted.files();
    let issued = files.issue(&id("a")).await.unwrap();
    let identities = Identities::new(issued.bundle, Vec::new(), clock.clone());
    let rotation = Rotation::start(identities.clone(), Arc::new(files), clock, Config::default());
    assert_eq!(require(&rotation, "a").await.chain(), first.chain);
    let shows = |expected: &Shown| identities.svid(&id("a")).unwrap().chain() == expected.chain;
    let error = || rotation.status()[0].last_error.clone();

    mounted.show("a", &second, &authority.bundle());
    pass(11).await;
    assert!(shows(&second) && error().is_none());

    // Neither a key of another certificate, nor somebody else's, nor none takes the place.
    let bundle = authority.bundle().to_pem();
    let stranger = TestAuthority::new().sign(&leaf(id("a").as_str()));
    let other = shown("b");
    for (chain, key, bundle, expected) in [
        (third.chain_pem(), second.key_pem(), bundle.clone(), "private key"),
        (other.chain_pem(), other.key_pem(), bundle.clone(), "sa/b"),
        (third.chain_pem(), String::new(), bundle.clone(), "private key"),
        (String::new(), third.key_pem(), bundle.clone(), "well-formed"),
        (third.chain_pem(), third.key_pem(), String::new(), "not PEM"),
        (stranger.chain_pem(), stranger.key_pem(), bundle.clone(), "UnknownIssuer"),
    ] {
        mounted.write("a", &chain, &key, &bundle);
        pass(160).await;
        assert!(shows(&second), "{expected}");
        let error = error().unwrap();
        assert!(error.contains(expected), "{error}");
    }
    fs::remove_file(mounted.folder.path().join("a/tls.crt")).unwrap();
    pass(160).await;
    assert!(shows(&second));
    assert!(error().unwrap().contains("tls.crt cannot be read"));

    mounted.show("a", &third, &authority.bundle());
    pass(160).await;
    assert!(shows(&third) && error().is_none());
}

#[tokio::test]
async fn what_all_files_say_is_trusted() {
    let (old, new) = (TestAuthority::new(), TestAuthority::new());
    let mut mounted = Mounted::new();
    let of = |authority: &TestAuthority, service: &str| authority.sign(&leaf(id(service).as_str()));
    mounted.show("a", &of(&old, "a"), &old.bundle());
    mounted.show("b", &of(&old, "b"), &old.bundle());
    let files = mounted.files();
    let a = files.issue(&id("a")).await.unwrap().bundle;
    assert_eq!(a, files.issue(&id("b")).await.unwrap().bundle);
    // One after the other goes over to the new root.
    mounted.show("a", &of(&new, "a"), &new.bundle());
    let both = files.issue(&id("a")).await.unwrap().bundle;
    assert_eq!(both.roots().len(), 2);
    assert_eq!(files.issue(&id("b")).await.unwrap().bundle, both);
    assert!(both.sequence() > a.sequence());
    mounted.show("c", &of(&new, "a"), &new.bundle());
    let other = files.issue(&id("c")).await.unwrap_err();
    let expected = SvidError::Unexpected { found: id("a"), expected: vec![id("c")] };
    assert_eq!(other, IssueError::Certificate(expected));
    files.forget(&id("b"));
    let alone = files.issue(&id("a")).await.unwrap().bundle;
    assert_eq!(alone, new.bundle());
    assert!(alone.sequence() > both.sequence());
    let stranger = files.issue(&"spiffe://cluster.local/x".parse().unwrap()).await.unwrap_err();
    assert!(matches!(stranger, IssueError::Refused(_)));
}
