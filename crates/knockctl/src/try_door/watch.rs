//! What the daemon tells while the trial goes on.

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use knock_core::control::{Answer, Event, Request};

use crate::client::Connection;
use crate::failure::Failure;

/// Events as they come.
pub(crate) struct Watch {
    events: Receiver<(Instant, Event)>,
}

impl Watch {
    /// Begins to listen.
    pub(crate) fn begin(socket: &Path) -> Result<Self, Failure> {
        let (_, mut connection) = Connection::ask(socket, &Request::Watch {})?;
        let (sender, events) = channel();
        // Ends with the process, or when the daemon does.
        thread::spawn(move || {
            while let Ok(Some(reply)) = connection.next() {
                let Answer::Event(event) = reply.answer else { continue };
                if sender.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { events })
    }

    /// The next event between a source and a door, where one comes in time.
    pub(crate) fn next(&self, source: IpAddr, door: &str, until: Instant) -> Option<(Instant, Event)> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (moment, event) = self.events.recv_timeout(left).ok()?;
            if event.source == Some(source) && event.door.as_deref() == Some(door) {
                return Some((moment, event));
            }
        }
    }
}
