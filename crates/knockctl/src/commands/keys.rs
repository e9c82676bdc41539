//! Who may knock with a key, and what with: `host-key`, `enroll`, `revoke`, `keys`.

use clap::Subcommand;

use super::Context;
use crate::failure::Failure;
use crate::host_key;
use crate::keys::{self, Enrolling, Revoking};

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let an SSH key knock at doors with authorized_keys, and print what its client needs in one line
    Enroll(Enrolling),
    /// Take a key out of all files of keys
    Revoke(Revoking),
    /// List the keys that may knock
    Keys,
    /// Print the public half of the key that knocks are sealed to, and make it where there is none
    HostKey(host_key::Wish),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Enroll(wish) => keys::enroll(context, &wish),
            Self::Revoke(wish) => keys::revoke(context, &wish),
            Self::Keys => keys::list(context),
            Self::HostKey(wish) => host_key::run(context, &wish),
        }
    }
}
