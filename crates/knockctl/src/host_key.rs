//! `knockctl host-key`: the server's knock key, which knocks are sealed to. Its public half is shown, its private half never.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use knock_core::config::Config;
use knock_core::spa::{HOST_KEY_FILE, HostKey, HostPublicKey};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::commands::Context;
use crate::configuration;
use crate::failure::Failure;
use crate::file::{Draft, Purpose, hold_directory, is_trusted, refused, resolved};
use crate::keys;
use crate::output::{print, printable_json, tell};

/// The most that its file can have, remarks included.
const MAX_FILE: u64 = 64 << 10;
/// What others may do with it: nothing.
const OTHERS: u32 = 0o077;

const PURPOSE: Purpose = Purpose {
    mode: 0o600,
    denied: OTHERS,
    command: "host-key",
    missing: "",
    read_only: "--file names another",
};

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// The key's file [default: host_key of the configuration, else /etc/knockd/host_key]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make another key: what every client knows of this server is no use any more
    #[arg(long)]
    new: bool,
    /// Do not ask whether that is meant
    #[arg(long, requires = "new")]
    yes: bool,
}

/// The same for programs.
#[derive(Serialize)]
struct Told {
    host_key: String,
    file: String,
    made: bool,
}

/// Shows the key, and makes it where there is none.
pub(crate) fn run(context: &Context, wish: &Wish) -> Result<(), Failure> {
    let path = match &wish.file {
        Some(file) => file.clone(),
        None => file_of(&configuration::read(context)?),
    };
    let (key, made) = if wish.new { replace(context, &path, wish.yes)? } else { find_or_make(&path)? };
    match context.json {
        true => {
            let told = Told { host_key: key.to_string(), file: path.display().to_string(), made };
            print(&format!("{}\n", printable_json(&serde_json::to_string(&told).unwrap_or_default())))
        }
        false => print(&format!("{key}\n")),
    }
}

/// The file that a configuration means.
pub(crate) fn file_of(config: &Config) -> PathBuf {
    config.options.host_key.clone().unwrap_or_else(|| HOST_KEY_FILE.into())
}

/// The public half, of a key that is made where there is none; whether it was.
pub(crate) fn find_or_make(path: &Path) -> Result<(HostPublicKey, bool), Failure> {
    let path = resolved(path, PURPOSE)?;
    if let Some(key) = read(&path)? {
        return Ok((key, false));
    }
    let directory = hold_directory(&path, PURPOSE)?;
    // Somebody else may have made it while this one waited.
    if let Some(key) = read(&path)? {
        return Ok((key, false));
    }
    let (draft, key) = draft(&path)?;
    // Unlike a renaming, this never takes the place of a file.
    fs::hard_link(&draft.path, &path)
        .and_then(|()| directory.sync_all())
        .map_err(|error| unwritable(&path, &error))?;
    tell(&format!("{} was not there: a new key was made", path.display()));
    Ok((key, true))
}

/// Makes another key, and keeps the old one beside it.
fn replace(context: &Context, path: &Path, is_sure: bool) -> Result<(HostPublicKey, bool), Failure> {
    let path = resolved(path, PURPOSE)?;
    if !path.exists() {
        return find_or_make(&path);
    }
    if !is_sure {
        ask(context, &path)?;
    }
    let directory = hold_directory(&path, PURPOSE)?;
    let (draft, key) = draft(&path)?;
    let old = old_name(&path);
    keep(&path, &old)
        .and_then(|()| draft.take_the_place_of(&path))
        .and_then(|()| directory.sync_all())
        .map_err(|error| unwritable(&path, &error))?;
    tell(&format!(
        "{} is a new key, the old one is {}: knockctl reload has knockd take it, and each client needs a new line: \
         knockctl enroll NAME --again",
        path.display(),
        old.display()
    ));
    Ok((key, true))
}

/// Keeps a file under another name, for its owner alone.
fn keep(path: &Path, old: &Path) -> io::Result<()> {
    match fs::remove_file(old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(path, old)?;
    fs::set_permissions(old, Permissions::from_mode(PURPOSE.mode))
}

fn old_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    PathBuf::from(name)
}

/// Whether that is meant.
fn ask(context: &Context, path: &Path) -> Result<(), Failure> {
    let enrolled = configuration::read(context).ok().map(|config| keys::count(&config));
    let whose = match enrolled {
        Some(1) => "the one client that is enrolled".to_owned(),
        Some(count) => format!("all {count} clients that are enrolled"),
        None => "all clients that are enrolled".to_owned(),
    };
    let what = format!("a new key in {} shuts out {whose} until each has a new line", path.display());
    if !io::stdin().is_terminal() {
        return Err(Failure::Refused(format!("{what}: say --yes if that is meant")));
    }
    let mut terminal = io::stderr().lock();
    // Who cannot read the question does not answer it.
    let _ = write!(terminal, "knockctl: {what}. Make it? [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was changed".into())),
    }
}

/// A new key in a file that has no name yet that anybody knows.
fn draft(path: &Path) -> Result<(Draft, HostPublicKey), Failure> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut())
        .map_err(|error| Failure::Refused(format!("the system gives no random numbers: {error}")))?;
    let key = HostKey::from_random(&random);
    let draft = Draft::create(path, PURPOSE)?;
    let mut file = &draft.file;
    let written = file.write_all(key.to_text().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| unwritable(path, &error))?;
    Ok((draft, key.public().clone()))
}

/// The public half of a key; none where there is no file.
fn read(path: &Path) -> Result<Option<HostPublicKey>, Failure> {
    let unreadable = |error: &io::Error| refused(path, "cannot be read", error, PURPOSE);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(unreadable(&io::Error::other("it is no regular file")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(Failure::Refused(format!(
            "{0} is open to other users (mode {mode:03o}), expected 600: whoever has it can read who knocks. If nobody \
             has looked, chmod 600 {0}; else knockctl host-key --new makes another",
            path.display()
        )));
    }
    if !is_trusted(metadata.uid()) {
        let found = format!(
            "{0} belongs to another user, so knockd does not take it: chown root {0}",
            path.display()
        );
        return Err(Failure::Refused(found));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    let key = HostKey::from_text(&text).map_err(|error| {
        let found = format!("{} is no knock key: {error}", path.display());
        Failure::Refused(format!(
            "{found}. Put the right file there, or knockctl host-key --new makes another"
        ))
    })?;
    Ok(Some(key.public().clone()))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    refused(path, "cannot be written", error, PURPOSE)
}

#[cfg(test)]
mod tests {
    use lab::TempDir;

    use super::*;

    fn why(outcome: Result<(HostPublicKey, bool), Failure>) -> String {
        outcome.map(|(key, _)| key).unwrap_err().to_string()
    }

    #[test]
    fn it_is_made_once() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("host_key");
        let (key, made) = find_or_make(&path).unwrap();
        assert!(made && key.to_string().len() == 43);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(*HostKey::from_text(&text).unwrap().public(), key);
        assert_eq!(find_or_make(&path).unwrap(), (key, false));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn who_makes_it_at_the_same_time_gets_the_same() {
        let directory = TempDir::new().unwrap();
        let path = &directory.path().join("host_key");
        let found = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| find_or_make(path).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(found.iter().filter(|(_, made)| *made).count(), 1);
        assert!(found.iter().all(|(key, _)| *key == found[0].0));
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("host_key");
        find_or_make(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let why = why(find_or_make(&path));
            assert!(why.contains(&format!("mode {mode:o}")) && why.contains("chmod 600"), "{why}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_quoted() {
        let directory = TempDir::new().unwrap();
        let path = directory.write("host_key", "toctoc-knock-key secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let told = why(find_or_make(&path));
        assert!(
            told.contains("is no knock key") && told.contains("--new") && !told.contains("secret"),
            "{told}"
        );
        let told = why(find_or_make(&directory.path().join("nowhere/host_key")));
        assert!(told.contains("mkdir"), "{told}");
        assert!(why(find_or_make(directory.path())).contains("no regular file"));
    }
}
