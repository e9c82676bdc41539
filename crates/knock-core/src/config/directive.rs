//! The names of directives, and where each may stand.

use std::fmt;

use super::diagnostic::Diagnostic;
use super::lines::Spanned;

pub(super) const USE_SYSLOG: &str = "UseSyslog";
pub(super) const LOG_FILE: &str = "LogFile";
pub(super) const PID_FILE: &str = "PidFile";
pub(super) const INTERFACE: &str = "Interface";
pub(super) const SEQUENCE: &str = "Sequence";
pub(super) const ONE_TIME_SEQUENCES: &str = "One_Time_Sequences";
pub(super) const SEQ_TIMEOUT: &str = "Seq_Timeout";
pub(super) const SEQ_COOLDOWN: &str = "Seq_Cooldown";
pub(super) const TCP_FLAGS: &str = "TCPFlags";
pub(super) const TARGET: &str = "Target";
pub(super) const START_COMMAND: &str = "Start_Command";
pub(super) const START_COMMAND_6: &str = "Start_Command_6";
pub(super) const CMD_TIMEOUT: &str = "Cmd_Timeout";
pub(super) const STOP_COMMAND: &str = "Stop_Command";
pub(super) const STOP_COMMAND_6: &str = "Stop_Command_6";

/// The kind of section that a directive belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Options,
    Door,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Options => "[options]",
            Self::Door => "a door's section",
        })
    }
}

pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) place: Place,
    alias: Option<&'static str>,
}

const fn option(name: &'static str) -> Directive {
    Directive { name, place: Place::Options, alias: None }
}

const fn door(name: &'static str) -> Directive {
    Directive { name, place: Place::Door, alias: None }
}

const fn door_alias(name: &'static str, alias: &'static str) -> Directive {
    Directive { name, place: Place::Door, alias: Some(alias) }
}

const DIRECTIVES: [Directive; 15] = [
    option(USE_SYSLOG),
    option(LOG_FILE),
    option(PID_FILE),
    option(INTERFACE),
    door(SEQUENCE),
    door(ONE_TIME_SEQUENCES),
    door_alias(SEQ_TIMEOUT, "Timeout"),
    door(SEQ_COOLDOWN),
    door(TCP_FLAGS),
    door(TARGET),
    door_alias(START_COMMAND, "Command"),
    door_alias(START_COMMAND_6, "Command_6"),
    door(CMD_TIMEOUT),
    door(STOP_COMMAND),
    door(STOP_COMMAND_6),
];

/// The directive of this name, in any case.
pub(super) fn find(key: &Spanned<'_>) -> Result<&'static Directive, Diagnostic> {
    let known =
        DIRECTIVES.iter().find(|directive| directive.names().any(|name| name.eq_ignore_ascii_case(key.text)));
    known.ok_or_else(|| unknown(key))
}

impl Directive {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }
}

fn unknown(key: &Spanned<'_>) -> Diagnostic {
    let found = match key.text {
        "" => "a directive without a name".to_owned(),
        text => format!("unknown directive \"{}\"", shortened(text)),
    };
    let error = Diagnostic::error(key.span(), found, "a directive of knockd.conf");
    if key.text.starts_with(';') {
        return error.with_help("a remark begins with #");
    }
    let before_colon =
        key.text.split_once(':').map(|(name, _)| Spanned { text: name.trim(), start: key.start });
    if before_colon.is_some_and(|name| find(&name).is_ok()) {
        return error.with_help("write = instead of :");
    }
    match nearest(key.text) {
        Some(name) => error.with_help(format!("did you mean {name}?")),
        None => error,
    }
}

fn nearest(text: &str) -> Option<&'static str> {
    const ALIKE: f64 = 0.7;
    let word = shortened(text).to_ascii_lowercase();
    let names = DIRECTIVES.iter().flat_map(Directive::names);
    let scored = names.map(|name| (strsim::damerau_levenshtein(&word, &name.to_ascii_lowercase()), name));
    let (distance, name) = scored.min_by_key(|(distance, _)| *distance)?;
    let longest = word.chars().count().max(name.len());
    #[expect(clippy::cast_precision_loss, reason = "both are at most 40")]
    let likeness = 1.0 - distance as f64 / longest as f64;
    (likeness >= ALIKE).then_some(name)
}

/// A line without `=` is all name: what is shown and compared of it has a bound.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_name() {
        for (typed, meant) in [
            ("sequnce", Some("Sequence")),
            ("seqtimeout", Some("Seq_Timeout")),
            ("start_comand", Some("Start_Command")),
            ("tcp_flags", Some("TCPFlags")),
            ("commando", Some("Command")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn finds_names_and_aliases_in_any_case() {
        for (typed, name) in
            [("SEQUENCE", SEQUENCE), ("timeout", SEQ_TIMEOUT), ("Command_6", START_COMMAND_6)]
        {
            assert_eq!(find(&Spanned { text: typed, start: 0 }).map(|d| d.name).ok(), Some(name));
        }
    }
}
