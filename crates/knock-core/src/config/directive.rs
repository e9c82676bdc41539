//! The names of directives, and where each may stand.

use std::fmt;

use super::diagnostic::Diagnostic;
use super::lines::Spanned;
use super::nearest::{nearest, shortened};

/// A directive of `[options]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionName {
    UseSyslog,
    LogFile,
    LogFormat,
    JournalFields,
    MetricsFile,
    PidFile,
    Interface,
    Guard,
    Strict,
    Mark,
    AcceptRule,
    StateDirectory,
    ControlSocket,
    HostKey,
}

/// A directive of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorName {
    Sequence,
    OneTimeSequences,
    RollingKey,
    AuthorizedKeys,
    FwknopKey,
    FwknopHmac,
    SpaPort,
    Address,
    SeqTimeout,
    SeqCooldown,
    TcpFlags,
    Target,
    AllowFrom,
    Native(NativeName),
    Close,
    StartCommand,
    StartCommand6,
    CmdTimeout,
    StopCommand,
    StopCommand6,
}

/// A directive that says what a native door opens, or how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NativeName {
    Open,
    OpenFor,
    Established,
    Widen,
}

/// Where a directive may stand, and which it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Options(OptionName),
    Door(DoorName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Options(_) => "[options]",
            Self::Door(_) => "a door's section",
        })
    }
}

pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) place: Place,
    alias: Option<&'static str>,
}

const fn option(name: &'static str, which: OptionName) -> Directive {
    Directive { name, place: Place::Options(which), alias: None }
}

const fn door(name: &'static str, which: DoorName) -> Directive {
    Directive { name, place: Place::Door(which), alias: None }
}

const fn also(directive: Directive, alias: &'static str) -> Directive {
    Directive { alias: Some(alias), ..directive }
}

const DIRECTIVES: [Directive; 37] = [
    option("UseSyslog", OptionName::UseSyslog),
    option("LogFile", OptionName::LogFile),
    option("log_format", OptionName::LogFormat),
    option("journal_fields", OptionName::JournalFields),
    option("metrics_file", OptionName::MetricsFile),
    option("PidFile", OptionName::PidFile),
    option("Interface", OptionName::Interface),
    option("guard", OptionName::Guard),
    option("strict", OptionName::Strict),
    option("mark", OptionName::Mark),
    option("accept_rule", OptionName::AcceptRule),
    option("state_directory", OptionName::StateDirectory),
    option("control_socket", OptionName::ControlSocket),
    option("host_key", OptionName::HostKey),
    door("Sequence", DoorName::Sequence),
    door("One_Time_Sequences", DoorName::OneTimeSequences),
    door("rolling_key", DoorName::RollingKey),
    door("authorized_keys", DoorName::AuthorizedKeys),
    door("fwknop_key", DoorName::FwknopKey),
    door("fwknop_hmac", DoorName::FwknopHmac),
    door("spa_port", DoorName::SpaPort),
    door("address", DoorName::Address),
    also(door("Seq_Timeout", DoorName::SeqTimeout), "Timeout"),
    door("Seq_Cooldown", DoorName::SeqCooldown),
    door("TCPFlags", DoorName::TcpFlags),
    door("Target", DoorName::Target),
    door("allow_from", DoorName::AllowFrom),
    door("open", DoorName::Native(NativeName::Open)),
    door("open_for", DoorName::Native(NativeName::OpenFor)),
    door("established", DoorName::Native(NativeName::Established)),
    door("widen", DoorName::Native(NativeName::Widen)),
    door("close", DoorName::Close),
    also(door("Start_Command", DoorName::StartCommand), "Command"),
    also(door("Start_Command_6", DoorName::StartCommand6), "Command_6"),
    door("Cmd_Timeout", DoorName::CmdTimeout),
    door("Stop_Command", DoorName::StopCommand),
    door("Stop_Command_6", DoorName::StopCommand6),
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
    match nearest(key.text, DIRECTIVES.iter().flat_map(Directive::names)) {
        Some(name) => error.with_help(format!("did you mean {name}?")),
        None => error,
    }
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
            ("allowfrom", Some("allow_from")),
            ("openfor", Some("open_for")),
            ("colour", None),
        ] {
            let names = DIRECTIVES.iter().flat_map(Directive::names);
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn finds_names_and_aliases_in_any_case() {
        for (typed, name) in
            [("SEQUENCE", "Sequence"), ("timeout", "Seq_Timeout"), ("Command_6", "Start_Command_6")]
        {
            assert_eq!(find(&Spanned { text: typed, start: 0 }).map(|d| d.name).ok(), Some(name));
        }
    }
}
