//! Compiled code between starts: used when it is the node's own, ignored when it is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use airhost_runtime::{CacheKey, Config, Error, Runtime};
use support::{Host, config};

fn host(folder: &Path, key: u8) -> Host {
    Host::with(Config {
        cache_folder: Some(folder.to_owned()),
        cache_key: CacheKey::new([key; 32]),
        ..config()
    })
}

fn file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Loads the guest on a new node.
async fn load(folder: &Path, key: u8) {
    let host = host(folder, key);
    host.deploy("echo", "echo").await;
    assert_eq!(host.get("echo", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_is_kept_and_what_was_tampered_with_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("code");
    drop(airhost_test_guests::guest("echo"));
    load(&folder, 1).await;
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let path = file(&folder);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let good = fs::read(&path).unwrap();
    let written = fs::metadata(&path).unwrap().ino();
    load(&folder, 1).await;
    // A file that is written anew is another file.
    assert_eq!(fs::metadata(&path).unwrap().ino(), written, "it was used");

    let planted = folder.join("../planted");
    let tampers: [(&str, &dyn Fn()); 7] = [
        ("a changed byte", &|| {
            let mut bad = good.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 1;
            fs::write(&path, bad).unwrap();
        }),
        ("cut off", &|| fs::write(&path, &good[..good.len() / 2]).unwrap()),
        ("empty", &|| fs::write(&path, b"").unwrap()),
        ("another layout", &|| fs::write(&path, [b"AIRHOST\x02", &good[8..]].concat()).unwrap()),
        ("writable by others", &|| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap()
        }),
        ("a link to good code", &|| {
            fs::write(&planted, &good).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&planted, &path).unwrap();
        }),
        ("a folder", &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }),
    ];
    for (name, tamper) in tampers {
        tamper();
        load(&folder, 1).await;
        if name == "a folder" {
            // What cannot be replaced is left alone, and the service runs all the same.
            fs::remove_dir(&path).unwrap();
            fs::write(&path, &good).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            continue;
        }
        assert_eq!(fs::read(&path).unwrap(), good, "{name}: made anew");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{name}");
    }
    // Code of another node is foreign.
    load(&folder, 2).await;
    assert_ne!(fs::read(&path).unwrap()[8..40], good[8..40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_under_another_name_is_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path(), 1);
    host.deploy("echo", "echo").await;
    let echo = file(folder.path());
    let content = fs::read(&echo).unwrap();
    host.deploy("nested", "nested").await;
    let nested = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| *path != echo)
        .unwrap();
    let good = fs::read(&nested).unwrap();
    // Rightly signed code of one component in the place of another's.
    fs::write(&nested, content).unwrap();
    let again = Host::with(Config {
        cache_folder: Some(folder.path().to_owned()),
        cache_key: CacheKey::new([1; 32]),
        ..config()
    });
    again.deploy("nested", "nested").await;
    assert_eq!(again.get("nested", "/").await.text(), "nobody");
    assert_eq!(fs::read(&nested).unwrap(), good);
}

#[tokio::test]
async fn a_folder_that_is_not_the_nodes_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, b"").unwrap();
    symlink(folder.path(), &link).unwrap();
    for path in [file, link] {
        let config = Config { cache_folder: Some(path), ..config() };
        assert!(matches!(Runtime::new(config), Err(Error::CacheFolder { .. })));
    }
}
