//! The cases, by what they are about.

mod command_line;
mod commands;
mod files;
mod grammar;
mod ipv6;
mod logging;
mod matching;
mod one_time;
mod packets;
mod signals;
mod sources;
mod time;
mod values;

use crate::case::Case;

/// A door's sequence and what it runs.
const SEQUENCE: &str = "sequence = 7001,7002\n";
const COMMAND: &str = "command = echo open %IP% >>{dir}/ran\n";
/// Both: what most doors here are made of.
const DOOR: &str = "sequence = 7001,7002\ncommand = echo open %IP% >>{dir}/ran\n";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let topics = [
        grammar::cases(),
        values::cases(),
        files::cases(),
        command_line::cases(),
        matching::cases(),
        packets::cases(),
        sources::cases(),
        ipv6::cases(),
        time::cases(),
        commands::cases(),
        one_time::cases(),
        logging::cases(),
        signals::cases(),
    ];
    topics.into_iter().flatten().collect()
}
