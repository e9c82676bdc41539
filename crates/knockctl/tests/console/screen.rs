//! A terminal: a pseudo terminal of the kernel with an emulator at its other end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lab::{Host, Process, Signal, wait_until};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// How long anything may take that ought to happen at once, on a machine with a lot to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A program on a terminal.
pub(crate) struct Screen {
    /// What is typed goes in here.
    keyboard: File,
    /// The end that the program has.
    terminal: OwnedFd,
    emulator: Arc<Mutex<vt100::Parser>>,
    process: Process,
}

impl Screen {
    /// Starts a program on a host, with a terminal of so many columns and rows as its own.
    pub(crate) fn start(host: &Host, command: &Command, columns: u16, rows: u16) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = open(Path::new(&*name.to_string_lossy()), flags, Mode::empty())?;
        tcsetwinsize(&terminal, winsize(columns, rows))?;
        let keyboard = File::from(master);
        let emulator = Arc::new(Mutex::new(vt100::Parser::new(count(rows), count(columns), 0)));
        let (mut output, shown) = (keyboard.try_clone()?, emulator.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().process(&buffer[..length]);
            }
        });
        let process = host.spawn(&mut on(&terminal, command)?)?;
        Ok(Self { keyboard, terminal, emulator, process })
    }

    /// Types this.
    pub(crate) fn key(&mut self, text: &str) -> io::Result<()> {
        self.keyboard.write_all(text.as_bytes())
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.emulator.lock().unwrap().screen_mut().set_size(count(rows), count(columns));
        Ok(tcsetwinsize(&self.keyboard, winsize(columns, rows))?)
    }

    /// What the emulator shows.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.emulator.lock().unwrap().screen())
    }

    /// What is read there.
    pub(crate) fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    /// Waits until this can be read there.
    pub(crate) fn wait_for(&self, part: &str) -> io::Result<()> {
        self.wait(part, |text| text.contains(part))
    }

    /// Waits until what can be read there is as it should be.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) -> io::Result<()> {
        wait_until(what, SOON, || holds(&self.text()))
            .map_err(|error| io::Error::new(error.kind(), format!("{error}; the screen:\n{}", self.text())))
    }

    /// The terminal's attributes.
    pub(crate) fn attributes(&self) -> io::Result<Termios> {
        Ok(tcgetattr(&self.terminal)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn wait_exit(&mut self) -> io::Result<ExitStatus> {
        self.process.wait_exit(SOON)
    }
}

/// The program, with the terminal as its controlling one: who has it hears of another size.
fn on(terminal: &OwnedFd, command: &Command) -> io::Result<Command> {
    let end = || terminal.as_fd().try_clone_to_owned().map(Stdio::from);
    let mut setsid = Command::new("setsid");
    setsid.arg("--ctty").arg(command.get_program()).args(command.get_args());
    setsid.stdin(end()?).stdout(end()?).stderr(end()?);
    setsid.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => setsid.env(name, value),
            None => setsid.env_remove(name),
        };
    }
    Ok(setsid)
}

fn count(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has columns and rows")
}

const fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
