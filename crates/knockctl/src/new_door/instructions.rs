//! What to type, on the server and on the client.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use knock_core::knock::Protocol;
use knock_core::sequence::Step;

use super::sequence::written;
use super::wish::Wish;
use crate::cli::CONFIG;
use crate::configuration::Daemon;
use crate::output::printable;
use crate::server::PLACEHOLDER;

/// Milliseconds between two knocks: enough for nearly every network.
const DELAY: u32 = 100;
/// Where `sshd` is when nobody says otherwise.
const SSH: u16 = 22;

/// All that the instructions are made of.
pub(super) struct Instructions<'a> {
    pub(super) wish: &'a Wish,
    pub(super) path: &'a Path,
    pub(super) steps: &'a [Step],
    pub(super) server: Option<&'a str>,
    pub(super) daemon: &'a Daemon,
    /// The options of `knockctl` with which the daemon is found.
    pub(super) options: String,
    /// The port at which the administrator's own `sshd` is.
    pub(super) ssh: Option<u16>,
}

impl Instructions<'_> {
    /// The client's command line.
    pub(super) fn knock(&self) -> String {
        let ports: Vec<_> = self.steps.iter().map(written).collect();
        format!("knock -d {DELAY} {} {}", self.server(), ports.join(" "))
    }

    /// Everything, for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let ports: Vec<_> = self.wish.open.0.iter().map(ToString::to_string).collect();
        let (name, path) = (printable(&self.wish.name), printable(&self.path.display().to_string()));
        let _ = writeln!(
            text,
            "{path} has a new door, {name}: {} for {}.\n",
            ports.join(", "),
            self.wish.open_for
        );
        text += &self.on_the_server();
        text += &self.on_the_client();
        let entry: String = self.entry().lines().map(|line| format!("    {line}\n")).collect();
        let (name, file) = (quoted(&self.name_for_client()), "~/.config/knock/config.toml");
        let _ =
            write!(text, "\nWith this in the client's {file}, \"knock {name}\" does the same:\n\n{entry}");
        text
    }

    /// The door's entry in the client's file of hosts (TOML).
    pub(super) fn entry(&self) -> String {
        let name = self.name_for_client();
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name = if name.chars().all(is_bare) { name } else { text_of_toml(&name) };
        let ports: Vec<_> = self.steps.iter().map(written).collect();
        let mut entry = format!(
            "[{name}]\nhost = {}\nsequence = \"{}\"\ndelay = {DELAY}\n",
            text_of_toml(self.server()),
            ports.join(",")
        );
        if let Some(port) = self.opened_port() {
            let _ = writeln!(entry, "verify = {port}");
        }
        entry
    }

    /// The machine and the door: a client has doors of many machines.
    fn name_for_client(&self) -> String {
        let door = self.wish.name.split_whitespace().collect::<Vec<_>>().join("-");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match host.trim() {
            "" | "(none)" | "localhost" => door,
            host => format!("{host}-{door}"),
        }
    }

    fn server(&self) -> &str {
        self.server.unwrap_or(PLACEHOLDER)
    }

    fn on_the_server(&self) -> String {
        let keep = "On this server; keep this session open until the door has let you in:";
        let path = quoted(&self.path.display().to_string());
        match self.daemon {
            Daemon::Runs => format!("{keep}\n\n    knockctl{} reload --confirm 60\n\n", self.options),
            Daemon::RunsWith(other) => format!(
                "The knockd that runs has its configuration from {}, and does not see this door. Two daemons cannot both have doors \
                 that the kernel opens: without -c, new-door makes it there.\n\n",
                printable(&other.display().to_string())
            ),
            Daemon::RunsNot => format!(
                "knockd does not run. {keep}\n\n    knockd --check -c {path}\n    {}\n\n",
                self.start(&path)
            ),
        }
    }

    /// How the daemon is started; the service has the usual configuration.
    fn start(&self, path: &str) -> String {
        let directly = format!("knockd -d -c {path}");
        if self.path == Path::new(CONFIG) {
            return format!("systemctl start knockd    # or: {directly}");
        }
        directly
    }

    fn on_the_client(&self) -> String {
        let knock = self.knock();
        let then = self.then("").map(|then| format!(" && {then}"));
        // There sudo may have to ask for a password.
        let confirm = match (self.daemon, self.then("-t ").map(|then| format!(" && {then}"))) {
            (Daemon::Runs, Some(then)) => format!(
                "On the client within this minute, or the old configuration comes back:\n\n    {knock}{then} sudo knockctl{} \
                 confirm\n\nFrom then on:\n\n",
                self.options
            ),
            (Daemon::Runs, None) => format!(
                "On the client; if what is behind the door can be reached then, type knockctl{} confirm here within this minute, \
                 or the old configuration comes back:\n\n",
                self.options
            ),
            _ => "On the client:\n\n".to_owned(),
        };
        format!("{confirm}    {knock}{}\n", then.unwrap_or_default())
    }

    /// How to log in, where the door is one for that.
    fn then(&self, terminal: &str) -> Option<String> {
        let port = self.port_of_ssh()?;
        let option = if port == SSH { String::new() } else { format!("-p {port} ") };
        Some(format!("ssh {terminal}{option}{}", self.server()))
    }

    /// The administrator's own port, or the usual one, if the door opens it.
    fn port_of_ssh(&self) -> Option<u16> {
        let opens = |port: &u16| self.wish.open.0.iter().any(|range| range.contains(Protocol::Tcp, *port));
        self.ssh.into_iter().chain([SSH]).find(opens)
    }

    /// A port of TCP by which it shows that the door is open.
    fn opened_port(&self) -> Option<u16> {
        let of_tcp = self.wish.open.0.iter().find(|range| range.protocol == Protocol::Tcp);
        self.port_of_ssh().or(of_tcp.map(|range| range.first))
    }
}

/// A text in TOML, which writes it as JSON does.
fn text_of_toml(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A word for the shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '=' | ':' | ',' | '+');
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_in_a_shell() {
        assert_eq!(quoted("/etc/knockd.conf"), "/etc/knockd.conf");
        assert_eq!(quoted("/a b/it's"), "'/a b/it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
