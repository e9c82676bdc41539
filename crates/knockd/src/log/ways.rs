//! Where the log's lines go beside the file: the system's log, its journal, standard output.
//!
//! Under systemd all three may end in the same journal. Each line is to be there once.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use knock_core::config::JournalFields;
use rustix::fs::fstat;

/// Where systemd-journald takes lines with fields.
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where it takes those of syslog(3), to which `/dev/log` then leads.
const JOURNAL_DIRECTORY: &str = "/run/systemd/journal";
/// Where it passes all lines on to, when there is another log daemon.
const PASSED_ON: &str = "/run/systemd/journal/syslog";

/// Which of the ways are the journal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Where lines go for `UseSyslog`.
    pub(super) syslog: Way,
    pub(super) stdout: Way,
    pub(super) stderr: Way,
}

/// Where something leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// Not to the journal.
    #[default]
    Elsewhere,
    /// To the journal, but it is not to be sent fields.
    PlainToJournal,
    /// To the journal, which is sent the line with fields instead.
    Journal,
}

impl Ways {
    /// As the system is now.
    pub(super) fn look(fields: JournalFields) -> Self {
        let takes_fields = Path::new(JOURNAL).exists() && fields != JournalFields::No;
        // What that daemon makes of lines, somebody may read who expects them as knockd sends them.
        let passes_on = Path::new(PASSED_ON).exists() && fields != JournalFields::Yes;
        let stream = |output: &dyn AsFd| way(is_journal(output), takes_fields);
        Self {
            syslog: way(syslog_is_journal(), takes_fields && !passes_on),
            stdout: stream(&rustix::stdio::stdout()),
            stderr: stream(&rustix::stdio::stderr()),
        }
    }

    /// Whether some line is to be sent to the journal with its fields.
    pub(super) fn reach_journal(self) -> bool {
        [self.syslog, self.stdout, self.stderr].contains(&Way::Journal)
    }
}

const fn way(leads_there: bool, takes_fields: bool) -> Way {
    match (leads_there, takes_fields) {
        (false, _) => Way::Elsewhere,
        (true, false) => Way::PlainToJournal,
        (true, true) => Way::Journal,
    }
}

fn syslog_is_journal() -> bool {
    fs::canonicalize(crate::syslog::SOCKET).is_ok_and(|path| path.starts_with(JOURNAL_DIRECTORY))
}

/// Whether systemd has connected this with its journal: it says so in `JOURNAL_STREAM` (systemd.exec(5)).
fn is_journal(output: &dyn AsFd) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(output.as_fd()).is_ok_and(|is| stream == format!("{}:{}", is.st_dev, is.st_ino))
}
