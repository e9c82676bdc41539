//! Which socket the daemon has.

use std::env;
use std::fs;
use std::path::PathBuf;

use knock_core::config;
use knock_core::control::socket_path;

use crate::cli::Arguments;

/// The directive that names it.
const DIRECTIVE: &str = "control_socket";

/// The socket: `-s`, or as the daemon itself finds it.
pub(crate) fn find(arguments: &Arguments) -> PathBuf {
    let configured = || fs::read(arguments.config()).ok().and_then(|bytes| configured(&bytes));
    let named = arguments.socket.clone().or_else(configured);
    socket_path(named.as_deref(), env::var_os("RUNTIME_DIRECTORY").as_deref())
}

/// What a configuration says. Its other lines may be wrong: the daemon then goes on with those that it had, and must
/// be reached all the same.
fn configured(bytes: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(bytes);
    let is_it =
        |line: &&str| line.split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(DIRECTIVE));
    let lines = text.lines().filter(is_it).map(|line| format!("{line}\n"));
    let options = format!("[options]\n{}", lines.collect::<String>());
    config::parse("", options.as_bytes()).config?.options.control_socket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_it_whatever_else_is_wrong() {
        let named = |text: &str| configured(text.as_bytes()).map(|path| path.display().to_string());
        assert_eq!(
            named("[options]\n Control_Socket = /run/x \n[ssh]\nSequenze = 1\n").as_deref(),
            Some("/run/x")
        );
        for unsaid in ["", "[options]\n#control_socket = /run/x\ncontrol_sockets = /run/y\n", "\u{0}\u{1}"] {
            assert_eq!(named(unsaid), None, "{unsaid}");
        }
    }
}
