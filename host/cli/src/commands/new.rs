//! The folder of a new service, which builds and passes its tests as it is.

mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

use airhost_core::ServiceName;
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use self::sources::{Source, TEMPLATE};
use crate::{Global, output};

#[derive(Args)]
pub(crate) struct Options {
    /// The service's name, as `hello-service`.
    name: ServiceName,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Where its folder is made.
    #[arg(long, default_value = ".")]
    path: PathBuf,
}

/// Languages that a new service can be written in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Js,
}

pub(crate) fn run(global: &Global, options: &Options) -> Result<()> {
    // Without the `./` that means nothing to who reads it.
    let folder = match options.path == Path::new(".") {
        true => PathBuf::from(options.name.as_str()),
        false => options.path.join(options.name.as_str()),
    };
    if folder.exists() {
        bail!(
            "{} is there already: choose another name, or another folder with --path",
            folder.display()
        );
    }
    let files = match options.lang {
        Language::Rust => sources::rust(options.name.as_str(), in_repository(&options.path)),
        Language::Python => sources::python(options.name.as_str()),
        Language::Js => sources::javascript(options.name.as_str()),
    };
    for Source { path, content } in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if global.json {
        return output::json(&serde_json::json!({ "folder": folder }));
    }
    let shown = folder.display();
    output::line(&format!("made {shown}\n"));
    let first = match options.lang {
        Language::Rust => "cargo test          # its tests, without a host",
        Language::Python => "pip install -r requirements.txt",
        Language::Js => "npm install",
    };
    output::line(&format!("  cd {shown}"));
    output::line(&format!("  {first}"));
    output::line(
        "  airhost dev         # builds, deploys to the running node, and again at every change",
    );
    Ok(())
}

/// Whether the folder is the components folder of this repository, whose workspace takes it in.
fn in_repository(path: &Path) -> bool {
    fs::read_to_string(path.join("Cargo.toml")).is_ok_and(|text| text.contains("members = [\"*\""))
        && path.join("sdk").is_dir()
        && path.join(TEMPLATE).is_dir()
}
