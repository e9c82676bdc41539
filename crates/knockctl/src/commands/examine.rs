//! What is as it should be, and what is not: `doctor`, `try`.

use clap::Subcommand;

use super::Context;
use crate::failure::Failure;
use crate::{doctor, try_door};

/// Commands that look for what is wrong.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at the whole machine for what keeps doors from working, and say what to do
    Doctor {
        /// Make no connection to the guarded ports
        #[arg(long)]
        no_try: bool,
    },
    /// Knock at a door from a network namespace, through the firewall that is there, and tell what happens
    Try {
        /// The door's name
        door: String,
        /// Wait until the door closes by itself, however long it stays open
        #[arg(long)]
        wait: bool,
    },
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Doctor { no_try } => doctor::run(context, !no_try),
            Self::Try { door, wait } => try_door::run(context, &door, wait),
        }
    }
}
