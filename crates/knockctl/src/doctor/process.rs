//! The running daemon's process (proc(5)).

use std::fs;
use std::path::PathBuf;

/// Options of one letter that have a value (docs/knockd.md).
const VALUED: [char; 4] = ['i', 'c', 'p', 'g'];

/// What was found; nothing where the daemon does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The file of its program.
    pub(crate) program: Option<PathBuf>,
    /// Whether it passes over IPv6 (`-4`).
    pub(crate) only_ipv4: bool,
}

/// Looks at a process.
pub(crate) fn read(id: u32) -> Process {
    let program = fs::read_link(format!("/proc/{id}/exe")).ok().map(|program| {
        let name = program.to_string_lossy();
        // So it is after an update.
        name.strip_suffix(" (deleted)").map_or_else(|| program.clone(), PathBuf::from)
    });
    let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    Process { program, only_ipv4: passes_over_ipv6(line.split('\0').skip(1)) }
}

fn passes_over_ipv6<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            if !long.is_empty() && "only-ip-v4".starts_with(long) {
                return true;
            }
            continue;
        }
        let letters = word.strip_prefix('-').unwrap_or_default();
        let (flags, value) = letters.split_once(VALUED).unwrap_or((letters, "none"));
        if flags.contains('4') {
            return true;
        }
        if value.is_empty() {
            words.next();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_daemon_does() {
        let passes_over = |line: &str| passes_over_ipv6(line.split(' '));
        for line in ["-4", "-d4", "-c /etc/4 -v4c x", "--only-ip-v4", "-d --only"] {
            assert!(passes_over(line), "{line}");
        }
        for line in ["", "-d", "-c -4", "-c4", "-ieth4", "--config /4", "--", "4"] {
            assert!(!passes_over(line), "{line}");
        }
    }

    #[test]
    fn this_process_has_a_program() {
        let own = read(std::process::id());
        assert_eq!(own.program, std::env::current_exe().ok());
    }
}
