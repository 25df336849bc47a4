use std::{fs, io, path::Path};

use airhost_core::codes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A migration is at most so many bytes.
const MAX_SQL: u64 = 1 << 20;
/// A service has at most so many.
const MAX_COUNT: usize = 4096;

/// A step from one schema of the service's database to the next.
///
/// A file `NNNN_name.sql` whose first line is `-- airhost: expand` or `-- airhost: contract`. The
/// SQL itself is checked by the store that runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Migration {
    /// 1 to 9999; steps run in this order, and numbers may be left out.
    pub number: u16,
    /// What it does, as in the file's name.
    pub name: String,
    /// When it may run.
    #[serde(rename = "marker")]
    pub kind: MigrationKind,
    /// The text with its first line; lines end with `\n`, whatever they end with in the file.
    pub sql: String,
    /// SHA-256 of `sql` in hexadecimal, to see a change after it ran.
    pub sha256: String,
}

/// When a migration may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationKind {
    /// At deploy: what it leaves is right for the active revision too.
    Expand,
    /// Only after the old revision has retired; there is no rollback past it.
    Contract,
}

/// A migration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct MigrationError {
    /// The file, with the folder as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<MigrationError> for airhost_core::Error {
    fn from(error: MigrationError) -> Self {
        codes::DEPLOY_MIGRATION.error(error.to_string())
    }
}

impl Migration {
    /// The migrations of a folder in order; none if there is no folder.
    ///
    /// # Errors
    /// Every file that is not a migration, has no marker, or has a number that another one has.
    pub fn load(folder: &Path) -> Result<Vec<Self>, Vec<MigrationError>> {
        let names = match file_names(folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let file = folder.display().to_string();
                let message = format!("the folder cannot be read: {error}");
                return Err(vec![MigrationError { file, line: 1, message }]);
            }
        };
        let (mut migrations, mut errors) = (Vec::new(), Vec::new());
        for name in names {
            let path = folder.join(&name);
            let fail = |line, message: String| MigrationError {
                file: path.display().to_string(),
                line,
                message,
            };
            let read = read(&path).and_then(|text| Self::parse(&name, &text));
            match read {
                Ok(migration) => migrations.push(migration),
                Err((line, message)) => errors.push(fail(line, message)),
            }
        }
        if errors.is_empty() {
            errors.extend(check_order(&migrations, &folder.display().to_string()));
        }
        if errors.is_empty() { Ok(migrations) } else { Err(errors) }
    }

    /// The migration of a file's name and text, or the line and what is wrong there.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, (usize, String)> {
        let naming = || {
            (1, "a migration is named as `0001_create_users.sql`: four digits, _, then a-z, 0-9 and _".to_owned())
        };
        let (number, name) = file
            .strip_suffix(".sql")
            .and_then(|stem| stem.split_once('_'))
            .filter(|(number, _)| number.len() == 4)
            .ok_or_else(naming)?;
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse::<u16>().ok().filter(|n| digits && *n > 0).ok_or_else(naming)?;
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > 100 || !name.bytes().all(word) {
            return Err(naming());
        }
        let sql = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        let first = sql.lines().next().unwrap_or_default().trim_end();
        let kind = match first {
            "-- airhost: expand" => MigrationKind::Expand,
            "-- airhost: contract" => MigrationKind::Contract,
            _ => {
                return Err((1, "the first line must be `-- airhost: expand` (runs at deploy, fits the active revision) or `-- airhost: contract` (runs after it has retired)".to_owned()));
            }
        };
        if let Some(line) = sql.lines().position(|line| line.contains('\0')) {
            return Err((line + 1, "there is a NUL character in the SQL; remove it".to_owned()));
        }
        let is_sql = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
        if !sql.lines().any(is_sql) {
            return Err((2, "there is no SQL after the first line".to_owned()));
        }
        let sha256 = hex::encode(Sha256::digest(sql.as_bytes()));
        Ok(Self { number, name: name.to_owned(), kind, sql, sha256 })
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:04}_{}.sql", self.number, self.name)
    }

    /// Whether it is as it was when it was written: for migrations that come out of a file.
    pub(crate) fn is_intact(&self) -> bool {
        Self::parse(&self.file_name(), &self.sql).is_ok_and(|again| again == *self)
    }
}

/// Faults of a list of migrations: numbers must rise.
pub(crate) fn check_order(migrations: &[Migration], folder: &str) -> Vec<MigrationError> {
    let fail = |migration: &Migration, message: String| MigrationError {
        file: Path::new(folder).join(migration.file_name()).display().to_string(),
        line: 1,
        message,
    };
    let mut errors = Vec::new();
    for pair in migrations.windows(2) {
        let [before, after] = pair else { continue };
        if before.number >= after.number {
            let (number, name) = (after.number, before.file_name());
            errors.push(fail(after, format!("number {number:04} is after or the same as that of `{name}`; take the next free one")));
        }
    }
    if let Some(over) = migrations.get(MAX_COUNT) {
        errors.push(fail(over, format!("there are at most {MAX_COUNT} migrations")));
    }
    errors
}

/// Names of the files in order, without hidden ones.
fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, (usize, String)> {
    let unreadable = |error: io::Error| (1, format!("the file cannot be read: {error}"));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_SQL {
        return Err((1, format!("a migration is at most {} KiB; split it", MAX_SQL >> 10)));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        (line, "the text is not UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPAND: &str = "-- airhost: expand\nCREATE TABLE a (id uuid PRIMARY KEY);\n";

    fn load(files: &[(&str, &[u8])]) -> Result<Vec<Migration>, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let prefix = format!("{}/", folder.path().display());
        Migration::load(folder.path())
            .map_err(|errors| errors.iter().map(|e| e.to_string().replace(&prefix, "")).collect())
    }

    #[test]
    fn they_come_in_order_with_their_markers() {
        let contract = "-- airhost: contract\r\nDROP TABLE a;\r\n";
        let migrations = load(&[
            ("0010_drop_a.sql", contract.as_bytes()),
            ("0002_create_a.sql", EXPAND.as_bytes()),
            (".keep", b""),
        ])
        .unwrap();
        let [create, drop] = &migrations[..] else { panic!("two are expected") };
        assert_eq!(
            (create.number, &*create.name, create.kind),
            (2, "create_a", MigrationKind::Expand)
        );
        assert_eq!(drop.kind, MigrationKind::Contract);
        assert_eq!(drop.sql, "-- airhost: contract\nDROP TABLE a;\n");
        assert_eq!(create.sha256, hex::encode(Sha256::digest(EXPAND)));
        assert!(create.is_intact() && drop.is_intact());
        let changed = Migration { sql: format!("{EXPAND}-- more\n"), ..create.clone() };
        assert!(!changed.is_intact());
        assert_eq!(Migration::load(Path::new("/nonexistent/migrations")), Ok(Vec::new()));
    }

    #[test]
    fn faults_have_file_and_line() {
        for (files, expect) in [
            (
                &[("0001_a.sql", EXPAND.as_bytes()), ("0001_b.sql", EXPAND.as_bytes())][..],
                "0001_b.sql:1: number 0001 is after or the same as that of `0001_a.sql`; take the next free one",
            ),
            (
                &[("0001_a.sql", b"CREATE TABLE a (id bigint);")],
                "0001_a.sql:1: the first line must be",
            ),
            (
                &[("0001_a.sql", b"-- airhost: expand\n\n-- nothing\n")],
                "0001_a.sql:2: there is no SQL",
            ),
            (
                &[("0001_a.sql", b"-- airhost: expand\nSELECT 1;\n\xff")],
                "0001_a.sql:3: the text is not UTF-8",
            ),
            (&[("1_a.sql", EXPAND.as_bytes())], "1_a.sql:1: a migration is named as"),
            (&[("0000_a.sql", EXPAND.as_bytes())], "0000_a.sql:1: a migration is named as"),
            (&[("0001_A.sql", EXPAND.as_bytes())], "0001_A.sql:1: a migration is named as"),
            (&[("notes.txt", b"")], "notes.txt:1: a migration is named as"),
        ] {
            let errors = load(files).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(expect), "{} / {expect}", errors[0]);
        }
    }
}
