//! What makes something new: `new-door`.

use clap::Subcommand;

use super::Context;
use crate::failure::Failure;
use crate::new_door::{self, Wish};

/// Commands that make something.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a door with a random sequence to the configuration, and say what to type to use it
    NewDoor(Wish),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::NewDoor(wish) => new_door::run(context, &wish),
        }
    }
}
