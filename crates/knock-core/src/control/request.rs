//! What the daemon can be asked.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Seconds;
use crate::network::Network;

/// One request, the first line of a connection. What is not known in it is an error: nothing is done by halves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon is: [`Answer::Status`](super::Answer::Status).
    Status {},
    /// The doors: [`Answer::Doors`](super::Answer::Doors).
    Doors {
        /// Their sequences and commands too.
        #[serde(default)]
        secrets: bool,
    },
    /// What is open for whom: [`Answer::Grants`](super::Answer::Grants).
    Grants {},
    /// Who is knocking: [`Answer::Attempts`](super::Answer::Attempts).
    Attempts {},
    /// Opens a door without a knock: [`Answer::Done`](super::Answer::Done).
    Open {
        /// The door's name.
        door: String,
        /// For whom; the door's `widen` counts.
        address: IpAddr,
        /// How long; the door's own time where it is absent.
        #[serde(rename = "seconds")]
        open_for: Option<Seconds>,
    },
    /// Closes what is open: [`Answer::Done`](super::Answer::Done). With neither of the two, everything.
    Close {
        /// One door only.
        door: Option<String>,
        /// Grants for this address only, or for this network as it is listed.
        address: Option<Network>,
    },
    /// What the daemon counts and measures: [`Answer::Metrics`](super::Answer::Metrics).
    Metrics {},
    /// Events from now on, until either side closes: [`Answer::Watching`](super::Answer::Watching), and then an
    /// [`Answer::Event`](super::Answer::Event) each.
    Watch {},
    /// Why an address's last knocks did or did not open: [`Answer::Explained`](super::Answer::Explained).
    Explain {
        /// Whose knocks.
        address: IpAddr,
        /// Which ports were to be knocked, too.
        #[serde(default)]
        secrets: bool,
    },
    /// Reads the configuration anew: [`Answer::Done`](super::Answer::Done).
    Reload {
        /// The old configuration comes back after this time unless [`Request::Confirm`] comes before.
        #[serde(rename = "confirm_seconds")]
        confirm_within: Option<Seconds>,
        /// The address from which the administrator is connected to this machine.
        from: Option<IpAddr>,
        /// The port of this machine that the administrator is connected to.
        port: Option<u16>,
    },
    /// The configuration that was read last stays: [`Answer::Done`](super::Answer::Done).
    Confirm {},
    /// Listens on this interface too, as long as the connection stays open: [`Answer::Done`](super::Answer::Done)
    /// when it does.
    Listen {
        /// Its name.
        interface: String,
    },
}
