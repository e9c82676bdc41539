//! What changes something: `open`, `close`, `reload`, `confirm`.

use std::net::IpAddr;
use std::time::Duration;

use clap::Subcommand;
use knock_core::config;
use knock_core::control::{Answer, Request, Seconds};
use knock_core::network::Network;

use super::Context;
use crate::administrator::Administrator;
use crate::failure::Failure;
use crate::output::{printable, tell};

/// Commands that change something.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open a door for an address, without a knock
    Open {
        /// The door's name
        door: String,
        /// For whom
        address: IpAddr,
        /// How long, such as 10m or 1h30m [default: as long as the door says]
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Option<Duration>,
    },
    /// Close a door for an address, or for all who have it open
    #[command(
        override_usage = "knockctl close DOOR [ADDRESS]\n       knockctl close ADDRESS\n       knockctl close --all"
    )]
    Close {
        /// The door's name; an address alone closes every door for it
        #[arg(required_unless_present = "all")]
        door: Option<String>,
        /// An address, or a network as 'knockctl grants' lists it
        #[arg(conflicts_with = "all")]
        address: Option<Network>,
        /// For everybody
        #[arg(long)]
        all: bool,
    },
    /// Read the configuration anew
    Reload {
        /// Go back to the old one unless 'knockctl confirm' comes within this time
        #[arg(long, value_name = "SECONDS", value_parser = time)]
        confirm: Option<Duration>,
        /// Your own address, which must not be locked out [default: the one of your SSH connection]
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
    },
    /// Keep the configuration that was read last
    Confirm,
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        context.tell(&self.request(Administrator::find), |answer| {
            let Answer::Done { message, warnings } = answer else { return None };
            if !context.json {
                warnings.iter().for_each(|warning| tell(warning));
            }
            Some(format!("{}\n", printable(message)))
        })
    }

    fn request(self, administrator: impl Fn() -> Option<Administrator>) -> Request {
        match self {
            Self::Open { door, address, time } => {
                Request::Open { door, address, open_for: time.map(Seconds::from) }
            }
            Self::Close { door, address: None, .. } => match door.as_deref().map(str::parse) {
                Some(Ok(address)) => Request::Close { door: None, address: Some(address) },
                _ => Request::Close { door, address: None },
            },
            Self::Close { door, address, .. } => Request::Close { door, address },
            Self::Reload { confirm, from } => {
                let administrator = administrator();
                Request::Reload {
                    confirm_within: confirm.map(Seconds::from),
                    from: from.or(administrator.map(|administrator| administrator.address)),
                    port: administrator.map(|administrator| administrator.port),
                }
            }
            Self::Confirm => Request::Confirm {},
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    config::duration(text).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{self, Arguments};

    fn request(line: &str) -> Request {
        let words = std::iter::once("knockctl").chain(line.split(' '));
        let cli::Command::Change(command) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("{line}")
        };
        let [address, server] = ["192.0.2.7", "192.0.2.1"].map(|address| address.parse().unwrap());
        command.request(|| Some(Administrator { address, server, port: 22 }))
    }

    fn close(door: Option<&str>, address: Option<&str>) -> Request {
        let address = address.map(|address| address.parse().unwrap());
        Request::Close { door: door.map(str::to_owned), address }
    }

    #[test]
    fn close_takes_a_door_or_an_address_or_both_or_all() {
        assert_eq!(request("close ssh"), close(Some("ssh"), None));
        assert_eq!(request("close ssh --all"), close(Some("ssh"), None));
        assert_eq!(request("close ssh 192.0.2.7"), close(Some("ssh"), Some("192.0.2.7")));
        assert_eq!(request("close 192.0.2.0/24"), close(None, Some("192.0.2.0/24")));
        assert_eq!(request("close --all"), close(None, None));
        for wrong in ["close", "close ssh x", "close ssh ::1 --all", "close ssh ::1 ::1"] {
            let words = std::iter::once("knockctl").chain(wrong.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong}");
        }
    }

    #[test]
    fn open_takes_a_time() {
        let open = |open_for| Request::Open { door: "ssh".into(), address: "::1".parse().unwrap(), open_for };
        assert_eq!(request("open ssh ::1"), open(None));
        assert_eq!(request("open ssh ::1 --for 10m"), open(Some(Seconds(Duration::from_secs(600)))));
        assert_eq!(request("open --for=0.5 ssh ::1"), open(Some(Seconds(Duration::from_millis(500)))));
    }

    #[test]
    fn reload_tells_where_the_administrator_is() {
        let reload = |seconds, from: &str| Request::Reload {
            confirm_within: seconds,
            from: Some(from.parse().unwrap()),
            port: Some(22),
        };
        assert_eq!(request("reload"), reload(None, "192.0.2.7"));
        assert_eq!(request("reload --from 2001:db8::7"), reload(None, "2001:db8::7"));
        let minute = Some(Seconds(Duration::from_secs(60)));
        assert_eq!(request("reload --confirm 60"), reload(minute, "192.0.2.7"));
    }
}
