//! The terminal: taken over while the picture is shown, and given back however that ends.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic;
use std::sync::{Mutex, Once};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::paint::{Ink, Line};

/// A screen of its own, without cursor, where a line's end is the end.
const TAKE: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J";
/// All of this undone, colours and updates that are not complete as well.
const GIVE_BACK: &str = "\u{1b}[0m\u{1b}[?2026l\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
/// What is between these is shown at once, by terminals that know them.
const UPDATE: [&str; 2] = ["\u{1b}[?2026h", "\u{1b}[?2026l"];
/// Columns and lines of a terminal that does not say.
const USUAL: (usize, usize) = (80, 24);

/// How the terminal was before; nothing while it is not taken.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static GIVES_BACK_IN_A_PANIC: Once = Once::new();

/// The terminal, taken over until this is dropped.
pub(super) struct Terminal {
    shown: Vec<String>,
    size: (usize, usize),
}

/// Whether there is somebody to show a picture to.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// What can be shown on standard output.
pub(super) fn ink() -> Ink {
    if !io::stdout().is_terminal() || is_dumb() {
        return Ink::Text;
    }
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if no_colour { Ink::Attributes } else { Ink::Colours }
}

/// Whether the terminal cannot be told where to write.
pub(super) fn is_dumb() -> bool {
    std::env::var("TERM").map_or(true, |name| name.is_empty() || name == "dumb")
}

/// Columns and lines.
pub(super) fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => USUAL,
    }
}

impl Terminal {
    /// Takes it over.
    pub(super) fn take() -> io::Result<Self> {
        GIVES_BACK_IN_A_PANIC.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        take()?;
        Ok(Self { shown: Vec::new(), size: size() })
    }

    /// Gives it back for a while.
    pub(super) fn pause(&mut self, meanwhile: impl FnOnce()) -> io::Result<()> {
        give_back();
        meanwhile();
        take()?;
        self.forget();
        Ok(())
    }

    /// Takes it over anew, where somebody else has had it meanwhile.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        let before = BEFORE.lock().unwrap_or_else(|broken| broken.into_inner()).clone();
        before.map_or(Ok(()), |before| begin(&before))?;
        self.forget();
        Ok(())
    }

    /// Columns and lines.
    pub(super) const fn size(&self) -> (usize, usize) {
        self.size
    }

    /// What is on the screen is not known any more.
    pub(super) fn forget(&mut self) {
        self.size = size();
        self.shown.clear();
    }

    /// Shows these lines, from the top; only those that differ from what is shown are written.
    pub(super) fn show(&mut self, lines: &[Line], ink: Ink) -> io::Result<()> {
        let (columns, rows) = self.size;
        let begins = self.shown.is_empty();
        let mut output = String::from(UPDATE[0]);
        if begins {
            output += "\u{1b}[0m\u{1b}[2J";
            self.shown = vec![String::new(); rows];
        }
        let empty = Line::default();
        let lines = lines.iter().chain(std::iter::repeat(&empty));
        for ((row, shown), line) in (1..).zip(&mut self.shown).zip(lines) {
            let written = line.written(columns, ink);
            if *shown != written {
                output += &format!("\u{1b}[{row};1H\u{1b}[2K{written}");
                *shown = written;
            }
        }
        output += UPDATE[1];
        let mut stdout = io::stdout().lock();
        stdout.write_all(output.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    let before = tcgetattr(io::stdin())?;
    *BEFORE.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(before.clone());
    begin(&before)
}

/// From attributes that are for lines to a picture.
fn begin(before: &Termios) -> io::Result<()> {
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(TAKE.as_bytes())?;
    stdout.flush()
}

fn give_back() {
    let Some(before) = BEFORE.lock().unwrap_or_else(|broken| broken.into_inner()).take() else { return };
    // A terminal that is gone needs nothing back.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(GIVE_BACK.as_bytes()).and_then(|()| stdout.flush());
    let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
}
