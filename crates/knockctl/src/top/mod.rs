//! `knockctl top`: what is open, who knocks and what happens, as a picture that lives.
//!
//! ```text
//! daemon ─► feed ─► model ─► view ─► paint ─► terminal
//! keys ────►  └───► session ──┘
//! ```
//!
//! The terminal is driven by hand: what a picture of lines needs is little, and root's tool has little to trust then.

mod feed;
mod glyphs;
mod keys;
mod model;
mod paint;
mod session;
mod terminal;
mod view;

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use crate::commands::Context;
use crate::failure::Failure;
use crate::output::print;
use feed::{Feed, News, Snapshot};
use glyphs::Glyphs;
use model::Model;
use paint::{Ink, Line};
use session::{Session, Wanted};
use terminal::Terminal;
use view::Frame;

/// How often it is drawn when nothing happens: times are shown in seconds.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it is drawn at most: nobody reads faster.
const PAUSE: Duration = Duration::from_millis(50);

/// Shows the picture until the user has seen enough; `once` prints it instead.
pub(crate) fn run(context: &Context, once: bool) -> Result<(), Failure> {
    if context.json {
        return Err(refused("a picture is no JSON: status, doors, grants, attempts and watch have --json"));
    }
    if !once && !terminal::is_there() {
        return Err(refused(
            "there is no terminal to draw on: \"knockctl top --once\" prints the picture, \"knockctl watch\" follows events",
        ));
    }
    if !once && terminal::is_dumb() {
        return Err(refused(
            "this terminal (TERM) cannot be drawn on: \"knockctl top --once\" prints the picture, \"knockctl watch\" follows events",
        ));
    }
    // Whoever cannot ask learns why at once.
    let snapshot = feed::snapshot(&context.socket, None)?;
    if once {
        return print(&page(snapshot));
    }
    let feed = Feed::start(&context.socket).map_err(Failure::Output)?;
    let terminal = Terminal::take().map_err(Failure::Output)?;
    let end = Top {
        feed,
        terminal,
        model: Model::new(snapshot),
        session: Session::new(),
        glyphs: Glyphs::of_locale(),
        ink: terminal::ink(),
    }
    .show();
    match end.map_err(Failure::Output)? {
        // As if it had not been caught, for whoever waits for this process.
        Some(signal) if signal != SIGINT => emulate_default_handler(signal).map_err(Failure::Output),
        _ => Ok(()),
    }
}

fn refused(why: &str) -> Failure {
    Failure::Refused(why.to_owned())
}

/// The picture as text.
fn page(snapshot: Snapshot) -> String {
    let now = snapshot.taken;
    let (columns, ink) = (terminal::size().0, terminal::ink());
    let frame = Frame {
        model: &Model::new(snapshot),
        session: &Session::new(),
        glyphs: Glyphs::of_locale(),
        columns,
        now,
    };
    let line = |line: &Line| format!("{}\n", line.written(columns, ink).trim_end());
    frame.page().iter().map(line).collect()
}

/// The living picture.
struct Top {
    feed: Feed,
    terminal: Terminal,
    model: Model,
    session: Session,
    glyphs: Glyphs,
    ink: Ink,
}

/// Why it ends: a signal, or the user's wish.
type End = Option<i32>;

impl Top {
    /// Until it ends; the terminal is given back then.
    fn show(mut self) -> io::Result<End> {
        loop {
            self.draw()?;
            let drawn = Instant::now();
            let mut next = drawn + PERIOD;
            loop {
                match self.feed.news.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(news) => {
                        if let Some(end) = self.take(news)? {
                            return Ok(end);
                        }
                        next = next.min(drawn + PAUSE);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
                if Instant::now() >= next {
                    break;
                }
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.model.rates.advance(now);
        let (columns, rows) = self.terminal.size();
        let (model, session) = (self.session.shown(&self.model), &self.session);
        let frame = Frame { model, session, glyphs: self.glyphs, columns, now: session.moment(now) };
        self.terminal.show(&frame.screen(rows), self.ink)
    }

    /// What is new; tells the end where it is one.
    fn take(&mut self, news: News) -> io::Result<Option<End>> {
        let now = Instant::now();
        match news {
            News::Snapshot(snapshot) => self.model.update(*snapshot),
            News::Gone(why) => self.model.lose(why),
            News::Event(event) => self.model.add(event, now),
            News::Closed(word) => self.session.word = Some(word),
            News::Resized => self.terminal.forget(),
            News::Continued => self.terminal.take_again()?,
            News::Ended(signal) => return Ok(Some(Some(signal))),
            News::HungUp => return Ok(Some(None)),
            News::Key(key) => return self.key(key, now),
        }
        Ok(None)
    }

    fn key(&mut self, key: keys::Key, now: Instant) -> io::Result<Option<End>> {
        match self.session.key(key, &self.model, now) {
            None => {}
            Some(Wanted::Quit) => return Ok(Some(None)),
            Some(Wanted::Close(grant)) => self.feed.close(grant.door, grant.network),
            Some(Wanted::Redraw) => self.terminal.forget(),
            Some(Wanted::Suspend) => self.terminal.pause(|| {
                // Where it cannot be stopped it goes on.
                let _ = emulate_default_handler(SIGTSTP);
            })?,
        }
        Ok(None)
    }
}
