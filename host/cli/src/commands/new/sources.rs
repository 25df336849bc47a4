//! What a new service is made of. The template, the SDK and the contracts are in this program, so
//! that a service can be written anywhere.

use include_dir::{Dir, include_dir};

use crate::contracts;

/// The template's folder among the components.
pub(super) const TEMPLATE: &str = "_template";
/// The template's name, which becomes the service's.
const NAME: &str = "template-service";
/// The same in names of databases.
const DATABASE: &str = "template_service";

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../components/_template");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../components/sdk");
/// The components' workspace: the versions and lints that the SDK is written with.
const WORKSPACE: &str = include_str!("../../../../../components/Cargo.toml");
/// The versions that the SDK is tested with. Cargo drops those that one service does not need.
const LOCK: &str = include_str!("../../../../../components/Cargo.lock");
/// The compiler that the SDK is tested with, and its target for components.
const TOOLCHAIN: &str = include_str!("../../../../../rust-toolchain.toml");

/// A file of a new service.
pub(super) struct Source {
    /// Below the service's folder.
    pub(super) path: String,
    /// What is in it.
    pub(super) content: Vec<u8>,
}

/// A service in Rust. Outside this repository it is a workspace of its own, with the SDK and the
/// contracts beside it.
pub(super) fn rust(name: &str, in_repository: bool) -> Vec<Source> {
    let mut files = below(&RUST, "");
    for file in &mut files {
        if let Ok(text) = std::str::from_utf8(&file.content) {
            file.content = renamed(text, name).into_bytes();
        }
    }
    if in_repository {
        return files;
    }
    files.extend(below(&SDK, "vendor/sdk/"));
    files.extend(contracts("wit/"));
    for file in files.iter_mut().filter(|file| file.path == "Cargo.toml") {
        file.content.extend_from_slice(b"\n");
        file.content.extend_from_slice(workspace().as_bytes());
    }
    files.push(Source { path: "rust-toolchain.toml".to_owned(), content: TOOLCHAIN.into() });
    files.push(Source { path: "Cargo.lock".to_owned(), content: lock(name).into_bytes() });
    files.push(Source { path: ".gitignore".to_owned(), content: b"target/\n*.wasm\n".to_vec() });
    files
}

/// The lock file of a service that stands alone: without the services of this repository, one of
/// which may have its name.
fn lock(name: &str) -> String {
    let mark = "\n[[package]]\n";
    let stays = |package: &&str| {
        let own = [NAME, "sdk", "sdk-macros"].map(|own| format!("name = \"{own}\"\n"));
        package.contains("\nsource = ") || own.iter().any(|own| package.starts_with(own))
    };
    let mut parts = LOCK.split(mark);
    let head = parts.next().unwrap_or_default();
    let packages = parts.filter(stays).map(|package| renamed(package, name));
    std::iter::once(head.to_owned()).chain(packages).collect::<Vec<_>>().join(mark)
}

/// A text of the template for another service.
fn renamed(text: &str, name: &str) -> String {
    text.replace(NAME, name).replace(DATABASE, &name.replace('-', "_"))
}

/// A service in Python.
pub(super) fn python(name: &str) -> Vec<Source> {
    foreign(
        name,
        "python",
        &[
            ("app.py", include_str!("templates/app.py")),
            ("requirements.txt", include_str!("templates/requirements.txt")),
            ("README.md", include_str!("templates/README-python.md")),
        ],
    )
}

/// A service in JavaScript.
pub(super) fn javascript(name: &str) -> Vec<Source> {
    foreign(
        name,
        "javascript",
        &[
            ("app.js", include_str!("templates/app.js")),
            ("package.json", include_str!("templates/package.json")),
            ("README.md", include_str!("templates/README-js.md")),
        ],
    )
}

fn foreign(name: &str, language: &str, sources: &[(&str, &str)]) -> Vec<Source> {
    let manifest = include_str!("templates/service.toml").replace("LANGUAGE", language);
    let fixed = [
        ("service.toml", manifest.as_str()),
        ("wit/world.wit", include_str!("templates/world.wit")),
        (".gitignore", "build/\nnode_modules/\n__pycache__/\n*.wasm\n"),
    ];
    let mut files: Vec<Source> = fixed
        .iter()
        .chain(sources)
        .map(|(path, text)| Source {
            path: (*path).to_owned(),
            content: text.replace(NAME, name).into_bytes(),
        })
        .collect();
    // Tools of other languages look for packages in `wit/deps`.
    files.extend(contracts("wit/deps/"));
    files
}

/// The contracts' packages, each in a folder of its own below `prefix`.
fn contracts(prefix: &str) -> impl Iterator<Item = Source> {
    contracts::packages().map(move |(path, content)| Source {
        path: format!("{prefix}{path}"),
        content: content.to_vec(),
    })
}

/// The workspace of a service that stands alone.
fn workspace() -> String {
    // What it begins with explains the components' folder.
    let settings = WORKSPACE.find("[workspace]").map_or(WORKSPACE, |start| &WORKSPACE[start..]);
    settings
        .replace(
            "members = [\"*\", \"sdk/macros\"]",
            "members = [\"vendor/sdk\", \"vendor/sdk/macros\"]",
        )
        .replace("path = \"sdk\"", "path = \"vendor/sdk\"")
        .replace("path = \"sdk/macros\"", "path = \"vendor/sdk/macros\"")
}

/// All files of an embedded folder.
fn below(folder: &Dir<'_>, prefix: &str) -> Vec<Source> {
    let mut files: Vec<Source> = folder
        .files()
        .map(|file| Source {
            path: format!("{prefix}{}", file.path().display()),
            content: file.contents().to_vec(),
        })
        .collect();
    for inner in folder.dirs() {
        files.extend(below(inner, prefix));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(files: &'a [Source], path: &str) -> &'a str {
        let file = files.iter().find(|file| file.path == path).unwrap();
        std::str::from_utf8(&file.content).unwrap()
    }

    /// A service may be called as one of this repository.
    #[test]
    fn a_service_that_stands_alone_is_a_workspace_of_its_own() {
        let files = rust("auth-service", false);
        let manifest: toml::Table = text(&files, "Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("auth-service"));
        let members = manifest["workspace"]["members"].as_array().unwrap();
        for member in members {
            let path = format!("{}/Cargo.toml", member.as_str().unwrap());
            assert!(files.iter().any(|file| file.path == path), "{path}");
        }
        let lock: toml::Table = text(&files, "Cargo.lock").parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let local: Vec<&str> = packages
            .iter()
            .filter(|package| package.get("source").is_none())
            .map(|package| package["name"].as_str().unwrap())
            .collect();
        assert_eq!(local, ["sdk", "sdk-macros", "auth-service"]);
    }

    #[test]
    fn no_file_is_left_with_the_name_of_the_template() {
        for files in [rust("a-b", false), rust("a-b", true), python("a-b"), javascript("a-b")] {
            for file in files.iter().filter(|file| !file.path.starts_with("vendor/")) {
                let text = String::from_utf8_lossy(&file.content);
                assert!(!text.contains(NAME) && !text.contains(DATABASE), "{}", file.path);
            }
        }
    }
}
