//! The living picture.

use std::io;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lab::{Daemon, Flood, Host, Lab, Packet, Signal, Sources, TempDir, Traffic, wait_until};
use rustix::termios::{LocalModes, OutputModes};

use crate::screen::{SOON, Screen};

const DOORS: &str = "[ssh]\nsequence = 17142,8319:udp,15623\ntcpflags = syn\nopen = 22/tcp\nopen_for = 300s\n\
     [short]\nsequence = 27142,18319:udp,25623\ntcpflags = syn\nopen = 80/tcp\nopen_for = 2s\n";

/// A server with the daemon, and its guest.
struct Scene {
    lab: Lab,
    daemon: Daemon,
}

impl Scene {
    fn new() -> io::Result<Self> {
        let lab = Lab::pair()?;
        let config = format!("[options]\nInterface = eth0\n{DOORS}");
        let daemon = Daemon::of(lab::binary("knockd")?).config(config).start(lab.server())?;
        Ok(Self { lab, daemon })
    }

    fn server(&self) -> &Host {
        self.lab.server()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
        command
            .arg("-s")
            .arg(self.daemon.directory().path().join("knockd.sock"))
            .args(arguments.split_whitespace());
        command
    }

    fn top(&self) -> io::Result<Screen> {
        let screen = Screen::start(self.server(), &self.command("top"), 80, 24)?;
        screen.wait_for("Knocking 0")?;
        screen.wait_for("q quit")?;
        Ok(screen)
    }

    fn knock(&self, ports: &str) -> io::Result<()> {
        self.lab.client().knock(self.server().ip4(), ports)
    }
}

#[test]
fn what_is_open_appears_and_vanishes() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut screen = scene.top()?;
    screen.wait_for("nothing")?;
    scene.knock("17142,8319:udp")?;
    screen.wait_for("●●○  2/3")?;
    screen.wait_for("knock 2 of 3 was right")?;
    scene.knock("15623")?;
    screen.wait_for("Open 1")?;
    screen.wait_for("ssh  10.9.1.1  22/tcp  ━")?;
    screen.wait_for("opened for 5 min")?;
    screen.wait_for("Knocking 0")?;
    scene.knock("27142,18319:udp,25623")?;
    screen.wait_for("Open 2")?;
    screen.wait_for("closed: its time is over")?;
    screen.wait_for("Open 1")?;
    let text = screen.text();
    for secret in ["17142", "8319", "15623", "27142"] {
        assert!(!text.contains(secret), "{text}");
    }
    screen.key("q")?;
    assert_eq!(screen.wait_exit()?.code(), Some(0));
    Ok(())
}

#[test]
fn what_is_chosen_is_closed() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut screen = scene.top()?;
    scene.knock("17142,8319:udp,15623")?;
    scene.lab.client().knock(scene.server().ip6(), "17142,8319:udp,15623")?;
    screen.wait_for("Open 2")?;
    // The second, by its arrow.
    screen.key("\u{1b}[B\u{1b}[B")?;
    screen.wait_for("▶")?;
    screen.key("c")?;
    screen.wait_for("Close ssh for fd09::1:1?")?;
    screen.key("n")?;
    screen.wait_for("q quit")?;
    screen.wait_for("Open 2")?;
    screen.key("cy")?;
    screen.wait_for("Open 1")?;
    screen.wait_for("closed: by an administrator")?;
    screen.key("/")?;
    screen.wait_for("filter:")?;
    screen.key("10.9.1.2\r")?;
    screen.wait_for("Open 0")?;
    screen.key("\u{1b}")?;
    screen.wait_for("Open 1")?;
    let grants = scene.server().output(&mut scene.command("grants"))?;
    let grants = String::from_utf8_lossy(&grants.stdout).into_owned();
    assert!(grants.contains("10.9.1.1") && !grants.contains("fd09::1:1"), "{grants}");
    Ok(())
}

/// As it was: the attributes, the screen before, the cursor.
fn is_given_back(screen: &Screen) -> io::Result<()> {
    let attributes = screen.attributes()?;
    assert!(attributes.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    assert!(attributes.output_modes.contains(OutputModes::OPOST));
    wait_until("the terminal is given back", SOON, || {
        screen.look(|screen| {
            !screen.alternate_screen() && !screen.hide_cursor() && screen.contents().trim().is_empty()
        })
    })
}

#[test]
fn the_terminal_is_given_back() -> io::Result<()> {
    let scene = Scene::new()?;
    for end in ["q", "\u{3}"] {
        let mut screen = scene.top()?;
        assert!(!screen.attributes()?.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO));
        assert!(screen.look(|screen| screen.alternate_screen() && screen.hide_cursor()));
        screen.key(end)?;
        assert_eq!(screen.wait_exit()?.code(), Some(0));
        is_given_back(&screen)?;
    }
    for signal in [Signal::TERM, Signal::HUP] {
        use std::os::unix::process::ExitStatusExt as _;
        let mut screen = scene.top()?;
        screen.signal(signal)?;
        assert_eq!(screen.wait_exit()?.signal(), Some(signal.as_raw()));
        is_given_back(&screen)?;
    }
    Ok(())
}

#[test]
fn it_can_be_stopped_and_goes_on() -> io::Result<()> {
    let scene = Scene::new()?;
    // A shell that minds the stopped one, as the user's does.
    let line = format!("{:?}", scene.command("top")).replace('"', "");
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("set -m; {line}; echo stopped; read x; fg >/dev/null; echo stopped; read x; fg >/dev/null; echo over")]);
    let mut screen = Screen::start(scene.server(), &shell, 80, 24)?;
    screen.wait_for("q quit")?;
    for round in 0..2 {
        if round == 0 {
            screen.key("\u{1a}")?;
        } else {
            // The shell's child, whoever it is.
            let shell = screen.id();
            scene.server().sh(&format!("kill -TSTP $(cat /proc/{shell}/task/{shell}/children)"))?;
        }
        screen.wait_for("stopped")?;
        screen.key("\r")?;
        screen.wait_for("q quit")?;
    }
    scene.knock("17142,8319:udp,15623")?;
    screen.wait_for("Open 1")?;
    screen.key("q")?;
    screen.wait_for("over")?;
    assert_eq!(screen.wait_exit()?.code(), Some(0));
    Ok(())
}

#[test]
fn it_fits_every_size() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.knock("17142,8319:udp,15623")?;
    let mut screen = scene.top()?;
    screen.wait_for("Open 1")?;
    for (columns, rows) in [(120, 40), (40, 10), (7, 3), (1, 1), (80, 24)] {
        screen.resize(columns, rows)?;
        let last =
            |screen: &vt100::Screen| screen.rows(0, columns).nth(usize::from(rows) - 1).unwrap_or_default();
        let keys: String = " q quit  p pause  arrows".chars().take(usize::from(columns)).collect();
        wait_until("the last line is at the bottom", SOON, || {
            screen.look(|screen| last(screen).starts_with(keys.trim_end()))
        })?;
    }
    screen.wait_for("22/tcp  ━")?;
    Ok(())
}

#[test]
fn a_daemon_that_is_gone_is_waited_for() -> io::Result<()> {
    let mut scene = Scene::new()?;
    let screen = scene.top()?;
    scene.knock("17142,8319:udp,15623")?;
    screen.wait_for("Open 1")?;
    scene.daemon.kill()?;
    screen.wait_for("is gone, waiting for it")?;
    screen
        .wait("nothing is said to be open", |text| text.contains("not known") && !text.contains("22/tcp"))?;
    scene.daemon.start_again(scene.lab.server())?;
    // What was open is, for it stands in the journal.
    screen.wait_for("Open 1")?;
    // And it is heard again. A knock may come before that.
    screen.wait("word of a knock", |text| {
        let _ = scene.knock("27142");
        text.contains("knock 1 of 3 was right")
    })
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() -> io::Result<()> {
    let scene = Scene::new()?;
    let has_colours = |screen: &Screen| {
        screen.look(|screen| {
            let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
            let mut cells = cells.filter_map(|(row, column)| screen.cell(row, column));
            cells.any(|cell| {
                cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
            })
        })
    };
    assert!(has_colours(&scene.top()?));
    let mut command = scene.command("top");
    let screen = Screen::start(scene.server(), command.env("NO_COLOR", "1"), 80, 24)?;
    screen.wait_for("q quit")?;
    assert!(!has_colours(&screen));
    let mut screen = Screen::start(scene.server(), command.env("TERM", "dumb"), 80, 24)?;
    screen.wait_for("cannot be drawn on")?;
    assert_eq!(screen.wait_exit()?.code(), Some(1));
    Ok(())
}

#[test]
fn without_a_terminal_it_prints_once() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.knock("17142,8319:udp,15623")?;
    scene.daemon.wait_for_line("ssh: OPEN", SOON)?;
    let mut command = scene.command("top --once");
    let output = scene.server().output(command.env("LC_ALL", "C").stdin(Stdio::null()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.is_ascii() && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains("-- Open 1 --") && text.contains("ssh  10.9.1.1  22/tcp  ==="), "{text}");
    for (arguments, why) in [("top", "no terminal"), ("top --once --json", "no JSON")] {
        let output = scene.server().output(&mut scene.command(arguments))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(why), "{told}");
    }
    Ok(())
}

/// Whoever knocks without end does not keep the administrator from looking.
#[test]
fn a_flood_leaves_it_usable() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut screen = scene.top()?;
    let mut flood = Flood::open(scene.lab.client(), "eth0", scene.server(), "eth0")?;
    let traffic = Traffic { sources: Sources::Random, targets: vec![(Packet::Syn, 17142)] };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            flood.run(&traffic, Some(5_000), |time| Ok(!over.load(Ordering::Relaxed) && time < 3 * SOON))
        });
        let looked = (|| {
            screen.wait_for("knock 1 of 3 was right")?;
            screen.wait("very many who knock", |text| {
                let number = text
                    .split("Knocking ")
                    .nth(1)
                    .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
                number.is_some_and(|number: u32| number > 5_000)
            })?;
            scene.knock("17142,8319:udp,15623")?;
            screen.wait_for("Open 1")?;
            screen.key("\u{1b}[Bcy")?;
            screen.wait_for("Open 0")?;
            screen.key("q")?;
            screen.wait_exit()
        })();
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap()?;
        assert_eq!(looked?.code(), Some(0));
        is_given_back(&screen)
    })
}

/// It sleeps between one second and the next.
#[test]
fn it_costs_next_to_nothing() -> io::Result<()> {
    let scene = Scene::new()?;
    let screen = scene.top()?;
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", screen.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>();
        io::Result::Ok(ticks)
    };
    let before = used()?;
    let uptime =
        |text: &str| text.split("up ").nth(1).and_then(|rest| rest.split(" s").next()?.parse::<u64>().ok());
    let begin = uptime(&screen.text()).unwrap_or_default();
    screen.wait("four seconds", |text| uptime(text).is_some_and(|now| now >= begin + 4))?;
    // A loop without sleep would use four hundred.
    assert!(used()? - before < 100, "{} ticks in four seconds", used()? - before);
    Ok(())
}

#[test]
fn where_nobody_answers_it_says_so_at_once() -> io::Result<()> {
    let lab = Lab::pair()?;
    let directory = TempDir::new()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.arg("-s").arg(directory.path().join("nothing")).arg("top");
    let mut screen = Screen::start(lab.server(), &command, 80, 24)?;
    screen.wait_for("knockd is not running")?;
    assert_eq!(screen.wait_exit()?.code(), Some(1));
    is_given_back_after_words(&screen)
}

fn is_given_back_after_words(screen: &Screen) -> io::Result<()> {
    assert!(screen.attributes()?.local_modes.contains(LocalModes::ICANON));
    assert!(!screen.look(vt100::Screen::alternate_screen));
    Ok(())
}
