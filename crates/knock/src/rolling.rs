//! Rolling sequences: the key's file, and what is to be knocked now.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use knock_core::rolling::{RollingKey, STEP, step_at};
use knock_core::sequence::Step;
use zeroize::Zeroizing;

use crate::clock::since_1970;
use crate::error::Error;
use crate::hosts::open_to_others;
use crate::output::tell;

/// The largest file that is read, in bytes: a key and some remarks.
const LARGEST: u64 = 64 * 1024;

/// The key in a file. That others can read it is remarked on.
///
/// # Errors
/// Where the file cannot be read, or has no key.
pub(crate) fn load(path: &Path) -> Result<RollingKey, Error> {
    let shown = path.display();
    let text =
        read(path).map_err(|error| Error::Key(format!("cannot read the rolling key in {shown}: {error}")))?;
    let key = RollingKey::from_text(&text).map_err(|bad| Error::Key(format!("{shown}: {bad}")))?;
    if let Some(deed) = open_to_others(path) {
        tell(format!(
            "warning: others can {deed} {shown}, and whoever has the key can knock: chmod 600 {shown}"
        ));
    }
    Ok(key)
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if !file.metadata()?.is_file() || length > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file, or too large for a key"));
    }
    // Room for all of it from the start: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(length as usize + 1));
    file.take(length).read_to_string(&mut text)?;
    Ok(text)
}

/// What is to be knocked now.
///
/// # Errors
/// Where this machine's clock was never set.
pub(crate) fn steps(key: &RollingKey) -> Result<Vec<Step>, Error> {
    let now = since_1970(SystemTime::now())?;
    Ok(key.sequence(step_at(now.as_secs())).steps().to_vec())
}

/// What is to be knocked now and next, for who knocks by other means.
///
/// # Errors
/// As [`load`] and [`steps`].
pub(crate) fn shown(path: &Path) -> Result<String, Error> {
    let key = load(path)?;
    Ok(lines(&key, since_1970(SystemTime::now())?))
}

fn lines(key: &RollingKey, now: Duration) -> String {
    let step = step_at(now.as_secs());
    let of = |step: u64| {
        let ports: Vec<_> = key.sequence(step).steps().iter().map(ToString::to_string).collect();
        format!("{}  good for {} s\n", ports.join(" "), good_for(step, now).as_secs())
    };
    [step, step.saturating_add(1)].map(of).concat()
}

/// A server whose clock is right takes a step until the one after it is over.
fn good_for(step: u64, now: Duration) -> Duration {
    let end = STEP.saturating_mul(u32::try_from(step.saturating_add(2)).unwrap_or(u32::MAX));
    end.saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_good_and_how_long() {
        let key = RollingKey::from_bytes(&std::array::from_fn(|at| at as u8)).unwrap();
        let shown = lines(&key, Duration::from_secs(13));
        let (first, second) = shown.split_once('\n').unwrap();
        assert_eq!(first, "1869:udp 21504:tcp 4739:udp 21929:tcp  good for 47 s");
        assert_eq!(second, "62916:tcp 64390:tcp 11056:tcp 4668:tcp  good for 77 s\n");
        assert!(lines(&key, Duration::from_millis(29_999)).contains("good for 30 s"));
    }
}
