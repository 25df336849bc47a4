//! What a new service is made of. The template, the SDK and the contracts are in this program, so
//! that a service can be written anywhere.

use include_dir::{Dir, include_dir};

/// The template's folder among the components.
pub(super) const TEMPLATE: &str = "_template";
/// The template's name, which becomes the service's.
const NAME: &str = "template-service";
/// The same in names of databases.
const DATABASE: &str = "template_service";

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../components/_template");
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../components/sdk");
static CONTRACTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
/// The components' workspace: the versions and lints that the SDK is written with.
const WORKSPACE: &str = include_str!("../../../../../components/Cargo.toml");

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
            file.content =
                text.replace(NAME, name).replace(DATABASE, &name.replace('-', "_")).into_bytes();
        }
    }
    if in_repository {
        return files;
    }
    files.extend(below(&SDK, "vendor/sdk/"));
    files.extend(contracts());
    for file in files.iter_mut().filter(|file| file.path == "Cargo.toml") {
        file.content.extend_from_slice(b"\n");
        file.content.extend_from_slice(workspace().as_bytes());
    }
    files.push(Source { path: ".gitignore".to_owned(), content: b"target/\n*.wasm\n".to_vec() });
    files
}

/// A service in Python.
pub(super) fn python(name: &str) -> Vec<Source> {
    foreign(
        name,
        "python",
        &[
            ("app.py", include_str!("templates/app.py")),
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
    files.extend(
        contracts()
            .into_iter()
            .map(|file| Source { path: file.path.replacen("wit/", "wit/deps/", 1), ..file }),
    );
    files
}

/// The contracts as they are now, without those released before.
fn contracts() -> Vec<Source> {
    let mut files = below(&CONTRACTS, "wit/");
    files.retain(|file| file.path.ends_with(".wit") && !file.path.starts_with("wit/released/"));
    files
}

/// The workspace of a service that stands alone.
fn workspace() -> String {
    WORKSPACE
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
