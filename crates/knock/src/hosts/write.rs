//! A host is added to the file: a table behind everything that is in it, which stays as it is, byte for byte.
//!
//! The file is replaced as a whole, so that at any moment it is the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use knock_core::spa::{DEFAULT_PORT, Enrolment};

/// The table of a host.
pub(super) fn table(name: &str, line: &Enrolment, identity: Option<&str>) -> String {
    let Enrolment { host, port, doors, host_key, verify, .. } = line;
    let doors = doors.iter().map(|door| quoted(door)).collect::<Vec<_>>().join(", ");
    let mut table = format!("[{}]\nhost = {}\n", quoted_key(name), quoted(host));
    if *port != DEFAULT_PORT {
        table += &format!("port = {port}\n");
    }
    table += &format!("doors = [{doors}]\nhost_key = {}\n", quoted(&host_key.to_string()));
    if let Some(identity) = identity {
        table += &format!("identity = {}\n", quoted(identity));
    }
    if let Some(verify) = verify {
        table += &format!("verify = {verify}\n");
    }
    table
}

/// The file with a table behind what is in it.
pub(super) fn with_table(text: &str, table: &str) -> String {
    let between = match text {
        "" => "",
        _ if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{text}{between}{table}")
}

/// A bare key where it is one.
fn quoted_key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string (TOML 1.0).
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Keeps others that add hosts away until it is dropped, where the system can.
pub(super) fn lock(path: &Path) -> Option<File> {
    let directory = File::open(path.parent()?).ok()?;
    directory.lock().ok()?;
    Some(directory)
}

/// Makes the directory of a file that is only the user's.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Puts a text in the place of the file at `path`, on the disk before this returns. A link stays one, and rights stay as
/// they are; a new file is only the user's.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.to_owned(),
        Err(error) => return Err(error),
    };
    let new = beside(&path);
    let outcome = fill(&new, &path, text).and_then(|()| fs::rename(&new, &path));
    if outcome.is_err() {
        // What is left of it is of no use; why it failed is told.
        let _ = fs::remove_file(&new);
    }
    outcome?;
    sync_directory(&path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn fill(new: &Path, old: &Path, text: &str) -> io::Result<()> {
    // Left by a process of the same number that was killed.
    let _ = fs::remove_file(new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(new)?;
    match fs::metadata(old) {
        Ok(metadata) => file.set_permissions(metadata.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Only then a renamed file has its new name for good.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::read;
    use super::*;
    use crate::request::Method;

    fn line(host: &str, doors: &[&str]) -> Enrolment {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        let doors = doors.iter().map(|door| (*door).to_owned()).collect();
        Enrolment {
            host: host.into(),
            port: 62_201,
            doors,
            host_key: key.parse().unwrap(),
            verify: None,
            key: None,
        }
    }

    #[test]
    fn a_table_says_no_more_than_it_has_to() {
        let text = table("my-server", &line("server.example.org", &["ssh"]), None);
        let expected = "[my-server]\nhost = \"server.example.org\"\ndoors = [\"ssh\"]\n\
            host_key = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"\n";
        assert_eq!(text, expected);
        let full = Enrolment { port: 5000, verify: Some(22), ..line("::1", &["ssh", "a \"b\" \\"]) };
        let text = table("::1", &full, Some("~/.ssh/id"));
        assert!(
            text.starts_with(
                "[\"::1\"]\nhost = \"::1\"\nport = 5000\ndoors = [\"ssh\", \"a \\\"b\\\" \\\\\"]\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("identity = \"~/.ssh/id\"\nverify = 22\n"), "{text}");
    }

    #[test]
    fn what_was_there_stays() {
        assert_eq!(with_table("", "[a]\n"), "[a]\n");
        assert_eq!(with_table("x = 1\n", "[a]\n"), "x = 1\n\n[a]\n");
        assert_eq!(with_table("x = 1", "[a]\n"), "x = 1\n\n[a]\n");
    }

    proptest! {
        #[test]
        fn every_name_reads_as_it_was_written(name in "[^\\s\\p{Cc}-][^\\s\\p{Cc}]{0,9}", door in "[^\\p{Cc}]{1,8}") {
            let text = table(&name, &line("h", &[&door]), None);
            let hosts = read(Path::new("f"), text.as_bytes()).unwrap();
            prop_assert_eq!(&hosts[0].name, &name);
            prop_assert!(matches!(&hosts[0].method, Method::Signed(signed) if signed.door == door));
        }
    }
}
