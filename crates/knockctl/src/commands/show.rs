//! What is: `status`, `doors`, `grants`, `attempts`.

mod doors;
mod status;

use clap::Subcommand;
use knock_core::control::{Answer, Attempt, AttemptState, Grant, GrantState, Request};

use super::Context;
use crate::failure::Failure;
use crate::table::table;
use crate::times;

/// Commands that change nothing.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how the daemon is, and what is not as it should be
    Status,
    /// List the doors
    Doors {
        /// Show their sequences and commands too
        #[arg(long)]
        secrets: bool,
    },
    /// List what is open, and for whom
    Grants,
    /// List who is knocking
    Attempts,
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let request = match self {
            Self::Status => Request::Status {},
            Self::Doors { secrets } => Request::Doors { secrets },
            Self::Grants => Request::Grants {},
            Self::Attempts => Request::Attempts {},
        };
        context.tell(&request, |answer| match (&self, answer) {
            (Self::Status, Answer::Status(status)) => Some(status::text(status)),
            (Self::Doors { .. }, Answer::Doors { doors }) => Some(doors::text(doors)),
            (Self::Grants, Answer::Grants { grants }) => Some(grants_text(grants)),
            (Self::Attempts, Answer::Attempts { attempts }) => Some(attempts_text(attempts)),
            _ => None,
        })
    }
}

fn grants_text(grants: &[Grant]) -> String {
    if grants.is_empty() {
        return "Nothing is open.\n".into();
    }
    let row = |grant: &Grant| {
        let state = match grant.state {
            GrantState::Opening => "opening",
            GrantState::Open => "open",
            GrantState::Closing => "closing",
        };
        let left = grant.left.map_or_else(|| "until closed".into(), times::left);
        let of = grant.user.as_ref().map(|user| format!("with the key of {user}"));
        let remarks = [(grant.by_hand, "by hand"), (grant.earlier_boot, "since before the last boot")];
        let remarks = remarks.iter().filter(|(is, _)| *is).map(|(_, remark)| (*remark).to_owned());
        [
            grant.door.clone(),
            grant.network.to_string(),
            grant.opens.join(", "),
            state.into(),
            left,
            times::moment(&grant.since),
            of.into_iter().chain(remarks).collect::<Vec<_>>().join(", "),
        ]
    };
    let headings = ["DOOR", "ADDRESS", "OPENS", "STATE", "LEFT", "SINCE", "REMARKS"];
    table(headings, &grants.iter().map(row).collect::<Vec<_>>())
}

fn attempts_text(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "Nobody is knocking.\n".into();
    }
    let row = |attempt: &Attempt| {
        let state = match attempt.state {
            AttemptState::UnderWay => "under way",
            AttemptState::CoolingDown => "cooling down",
        };
        [
            attempt.source.to_string(),
            attempt.door.clone(),
            format!("{} of {}", attempt.stage, attempt.of),
            state.into(),
            times::past(attempt.age),
            times::left(attempt.left),
        ]
    };
    table(["ADDRESS", "DOOR", "STAGE", "STATE", "AGE", "LEFT"], &attempts.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use knock_core::control::Seconds;

    use super::*;

    #[test]
    fn grants_are_a_table() {
        let by_knock = Grant {
            user: Some("alice".into()),
            door: "ssh".into(),
            network: "192.0.2.7".parse().unwrap(),
            opens: vec!["22/tcp".into()],
            state: GrantState::Open,
            since: "2026-11-24T08:23:01Z".into(),
            left: Some(Seconds(Duration::from_millis(8_412))),
            by_hand: false,
            earlier_boot: false,
        };
        let by_hand = Grant {
            door: "mosh".into(),
            network: "2001:db8::/56".parse().unwrap(),
            opens: vec!["22/tcp".into(), "60000-61000/udp".into()],
            state: GrantState::Closing,
            left: None,
            user: None,
            by_hand: true,
            earlier_boot: true,
            ..by_knock.clone()
        };
        assert_eq!(
            grants_text(&[by_knock.clone(), by_hand]),
            "\
DOOR  ADDRESS        OPENS                    STATE    LEFT          SINCE                REMARKS
ssh   192.0.2.7      22/tcp                   open     9 s           2026-11-24 08:23:01  with the key of alice
mosh  2001:db8::/56  22/tcp, 60000-61000/udp  closing  until closed  2026-11-24 08:23:01  by hand, since before the last boot
"
        );
        let command = Grant { opens: vec![], user: None, ..by_knock };
        assert_eq!(
            grants_text(&[command]),
            "\
DOOR  ADDRESS    STATE  LEFT  SINCE
ssh   192.0.2.7  open   9 s   2026-11-24 08:23:01
"
        );
        assert_eq!(grants_text(&[]), "Nothing is open.\n");
    }

    #[test]
    fn attempts_are_a_table() {
        let attempt = Attempt {
            door: "ssh".into(),
            source: "192.0.2.7".parse().unwrap(),
            stage: 2,
            of: 4,
            age: Seconds(Duration::from_millis(1_900)),
            left: Seconds(Duration::from_millis(3_100)),
            state: AttemptState::UnderWay,
        };
        let cooling = Attempt { state: AttemptState::CoolingDown, ..attempt.clone() };
        assert_eq!(
            attempts_text(&[attempt, cooling]),
            "\
ADDRESS    DOOR  STAGE   STATE         AGE  LEFT
192.0.2.7  ssh   2 of 4  under way     1 s  4 s
192.0.2.7  ssh   2 of 4  cooling down  1 s  4 s
"
        );
        assert_eq!(attempts_text(&[]), "Nobody is knocking.\n");
    }
}
