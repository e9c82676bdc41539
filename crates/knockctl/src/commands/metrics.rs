//! What the daemon counts and measures: `metrics`.

use clap::Subcommand;
use knock_core::control::{Answer, Request};

use super::Context;
use crate::failure::Failure;

/// Commands for monitoring.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what the daemon counts and measures, as Prometheus reads it
    Metrics,
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let Self::Metrics = self;
        context.tell(&Request::Metrics {}, |answer| match answer {
            Answer::Metrics { text } => Some(text.clone()),
            _ => None,
        })
    }
}
