//! What happens and has happened: `watch`, `top`, `explain`.

use std::net::IpAddr;

use clap::Subcommand;
use knock_core::control::{Answer, Event, Request};

use super::Context;
use crate::client::Connection;
use crate::failure::Failure;
use crate::output::printable;
use crate::{times, top};

/// Commands that tell of events.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what happens from now on, a line an event
    Watch,
    /// Show what is open, who knocks and what happens, as a picture that lives
    Top {
        /// Print the picture once, without what has happened
        #[arg(long)]
        once: bool,
    },
    /// Tell why the last knocks of an address did or did not open
    Explain {
        /// Who knocked
        address: IpAddr,
        /// Show which ports were to be knocked
        #[arg(long)]
        secrets: bool,
    },
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Watch => watch(context),
            Self::Top { once } => top::run(context, once),
            Self::Explain { address, secrets } => {
                context.tell(&Request::Explain { address, secrets }, |answer| match answer {
                    Answer::Explained { lines, .. } => Some(explained(lines)),
                    _ => None,
                })
            }
        }
    }
}

/// Ends with an error only: whoever watches is not to think that nothing happens any more.
fn watch(context: &Context) -> Result<(), Failure> {
    let (begin, mut connection) = Connection::ask(&context.socket, &Request::Watch {})?;
    context.show(&begin, |answer| match answer {
        Answer::Watching {} => Some(String::new()),
        _ => None,
    })?;
    while let Some(reply) = connection.next()? {
        context.show(&reply, |answer| match answer {
            Answer::Event(event) => Some(line(event)),
            _ => None,
        })?;
    }
    Err(Failure::CutOff)
}

fn line(event: &Event) -> String {
    let source = event.source.map(|source| source.to_string());
    let place = [source, event.door.clone()].into_iter().flatten().map(|word| format!("{word}: "));
    let message = place.chain([event.message.clone()]).collect::<String>();
    format!("{}  {}\n", printable(&times::moment(&event.time)), printable(&message))
}

fn explained(lines: &[String]) -> String {
    if lines.is_empty() {
        return "Nothing is known of it.\n".into();
    }
    lines.iter().map(|line| format!("{}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use knock_core::control::EventKind;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let mut event = Event {
            time: "2026-11-24T08:23:01Z".into(),
            door: Some("ssh\u{1b}".into()),
            source: Some("192.0.2.7".parse().unwrap()),
            event: EventKind::Stage,
            message: "Stage 2".into(),
        };
        assert_eq!(line(&event), "2026-11-24 08:23:01  192.0.2.7: ssh\\u{1b}: Stage 2\n");
        event = Event { door: None, source: None, message: "reloaded".into(), ..event };
        assert_eq!(line(&event), "2026-11-24 08:23:01  reloaded\n");
    }

    #[test]
    fn an_explanation_is_sentences() {
        assert_eq!(explained(&["One.".into(), "Two\n.".into()]), "One.\nTwo\\n.\n");
        assert_eq!(explained(&[]), "Nothing is known of it.\n");
    }
}
