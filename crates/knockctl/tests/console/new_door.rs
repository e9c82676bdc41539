//! A door that is made, opened and taken along.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use lab::{Daemon, Host, Lab, PortState, Service, TempDir};
use serde_json::Value;

use crate::screen::{SOON, Screen};

/// As somebody has written it, with all their care.
const BEFORE: &str = "\u{feff}# éa\r\n[options]\n\tInterface = eth0   \n\n[other]\n  Sequence=17142 , 8319:udp,15623\n open = 80/tcp\n\
     open_for=2s\n# the end, without a line's end";

pub(crate) fn knockctl(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.args(arguments.split_whitespace()).env_remove("SSH_CONNECTION");
    command
}

pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The lines that are to be typed behind a heading that contains this.
fn typed<'a>(told: &'a str, heading: &str) -> Vec<&'a str> {
    let behind = told.lines().skip_while(|line| !line.contains(heading)).skip(1);
    let lines = behind.skip_while(|line| line.trim().is_empty());
    lines.take_while(|line| line.starts_with("    ")).map(str::trim).collect()
}

/// Runs a line as it was printed, where the programs are those under test and `sudo` and `ssh` do no more than they must.
fn run_typed(host: &Host, line: &str, directory: &Path) -> io::Result<Output> {
    let programs = lab::binary("knockd")?.parent().unwrap().display().to_string();
    let own = Path::new(env!("CARGO_BIN_EXE_knockctl")).parent().unwrap().display().to_string();
    let path = format!("{}:{own}:{programs}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display());
    host.output(Command::new("sh").args(["-c", line]).env("PATH", path).env_remove("SSH_CONNECTION"))
}

#[test]
fn from_nothing_to_a_door_that_opens() -> io::Result<()> {
    let lab = Lab::pair()?;
    let (server, client) = (lab.server(), lab.client());
    let _ssh = Service::start(server, 22)?;
    let daemon = Daemon::of(lab::binary("knockd")?).config(BEFORE).start(server)?;
    let directory = daemon.directory().path();
    let (config, socket) = (directory.join("knockd.conf"), directory.join("knockd.sock"));
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640))?;
    client.wait_until_port(server.at4(22), PortState::Open, SOON)?;

    // Where the configuration is, the daemon says.
    let mut make = knockctl("new-door office --open 22/tcp --open-for 2s --server 10.9.0.1 -s");
    let output = server.output(make.arg(&socket).env("SSH_CONNECTION", "10.9.1.1 50000 10.9.0.1 22"))?;
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("new connections to it need the knock of office"), "{told}");
    let after = fs::read_to_string(&config)?;
    assert!(after.starts_with(BEFORE) && after.contains("[office]"), "{after}");
    assert_eq!(fs::metadata(&config)?.mode() & 0o7777, 0o640);
    assert_eq!(client.probe(server.at4(22)), PortState::Open, "nothing is in force yet");

    let reload = typed(&told, "On this server");
    assert_eq!(reload.len(), 1, "{told}");
    let reloaded = run_typed(server, reload[0], directory)?;
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    client.wait_until_closed(server.at4(22), SOON)?;

    // `ssh` is one that tries whether it gets in, and does on the server what it is told.
    let tools = TempDir::new()?;
    let ssh = format!(
        "#!/bin/bash\nset -e\n[ \"$1\" != -t ] || shift\nexec 3<>/dev/tcp/$1/22\nshift\n[ $# = 0 ] || exec nsenter --net={} \"$@\"\n",
        server.path()
    );
    for (name, script) in [("ssh", ssh.as_str()), ("sudo", "#!/bin/sh\nexec \"$@\"\n")] {
        let path = tools.write(name, script)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let confirm = typed(&told, "On the client within");
    let confirmed = run_typed(client, confirm[0], tools.path())?;
    assert!(confirmed.status.success(), "{}: {}", confirm[0], text(&confirmed));
    assert!(
        text(&confirmed).contains("confirmed") || text(&confirmed).contains("stays"),
        "{}",
        text(&confirmed)
    );
    client.wait_until_closed(server.at4(22), SOON)?;
    let from_then_on = typed(&told, "From then on");
    let opened = run_typed(client, from_then_on[0], tools.path())?;
    assert!(opened.status.success(), "{}: {}", from_then_on[0], text(&opened));
    // The sequence is told to nobody but who asked.
    let sequence = after.lines().rfind(|line| line.contains("sequence")).unwrap();
    let first = sequence.split(['=', ',', ':']).nth(1).unwrap().trim();
    assert!(!daemon.text().contains(first), "{first}: {}", daemon.text());
    Ok(())
}

#[test]
fn a_file_that_cannot_be_used_stays_as_it_is() -> io::Result<()> {
    let directory = TempDir::new()?;
    for (content, arguments, why) in [
        ("[a]\nsequenze = 1\n", "b --open 22", "has mistakes already: nothing was written"),
        ("[a]\nsequence = 1,2,3\nopen = 22/tcp\n", "a --open 23", "there is a door \"a\" already"),
        ("[a]\nsequence = 1,2,3\nopen = 22/tcp\n", "b --open 20-30", "opens 22/tcp already"),
    ] {
        let path = directory.write("knockd.conf", content)?;
        let output = knockctl(&format!("new-door {arguments} -s /nowhere -c")).arg(&path).output()?;
        assert!(output.status.code() == Some(1) && text(&output).contains(why), "{}", text(&output));
        assert!(output.stdout.is_empty());
        assert_eq!(fs::read_to_string(&path)?, content);
    }
    let broken = directory.write("knockd.conf", "[a]\nsequenze = 1\n")?;
    let output = knockctl("new-door b --open 22 -s /nowhere -c").arg(&broken).output()?;
    assert!(text(&output).contains("knockd.conf:2:1"), "the mistake is shown: {}", text(&output));
    for wrong in [
        "new-door",
        "new-door a",
        "new-door a --open 22/icmp",
        "new-door a]b --open 22",
        "new-door a --open 22 --ports 3",
    ] {
        assert_eq!(knockctl(wrong).output()?.status.code(), Some(2), "{wrong}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_made() -> io::Result<()> {
    let directory = TempDir::new()?;
    let path = directory.path().join("knockd.conf");
    let output = knockctl("new-door ssh --open 22 --ports 7 -s /nowhere -c").arg(&path).output()?;
    let told = text(&output);
    assert!(output.status.success() && told.contains("knockd does not run"), "{told}");
    assert_eq!(fs::metadata(&path)?.mode() & 0o7777, 0o600);
    let check = Command::new(lab::binary("knockd")?).arg("--check").arg("-c").arg(&path).output()?;
    assert!(check.status.success() && text(&check).contains("0 warnings"), "{}", text(&check));
    let written = fs::read_to_string(&path)?;
    let sequence = written.lines().find(|line| line.contains("sequence")).unwrap();
    assert_eq!(sequence.split(',').count(), 7);
    Ok(())
}

#[test]
fn what_is_printed_is_not_written() -> io::Result<()> {
    let directory = TempDir::new()?;
    let path = directory.write("knockd.conf", "[options]\nstrict = no\n")?;
    let output = knockctl("new-door ssh --open 22 --print -s /nowhere -c").arg(&path).output()?;
    let section = String::from_utf8(output.stdout).unwrap();
    assert!(section.starts_with("[ssh]\n") && section.ends_with("open_for    = 30s\n"), "{section}");
    let sequence = section.lines().find(|line| line.contains("sequence")).unwrap();
    assert_eq!(sequence.split(',').count(), 6, "where a scan may open the door it is longer");
    let output =
        knockctl("new-door ssh --open 22 --print --json --server s -s /nowhere -c").arg(&path).output()?;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let knock = told["knock"].as_str().unwrap();
    assert!(knock.starts_with("knock -d 100 s ") && told["config"].is_null(), "{told}");
    assert_eq!(fs::read_to_string(&path)?, "[options]\nstrict = no\n");
    Ok(())
}

#[test]
fn who_makes_doors_at_the_same_time_waits() -> io::Result<()> {
    const MANY: usize = 12;
    let directory = TempDir::new()?;
    let path = directory.write("knockd.conf", BEFORE)?;
    let outputs = thread::scope(|scope| {
        let path = &path;
        let make = move |number| {
            let line = format!("new-door d{number} --open {} -s /nowhere -c", 1000 + number);
            knockctl(&line).arg(path).output()
        };
        let makers: Vec<_> = (0..MANY).map(|number| scope.spawn(move || make(number))).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect::<io::Result<Vec<_>>>()
    })?;
    for output in outputs {
        assert!(output.status.success(), "{}", text(&output));
    }
    let after = fs::read_to_string(&path)?;
    assert!(after.starts_with(BEFORE));
    let config = knock_core::config::parse("", after.as_bytes()).config.unwrap();
    assert_eq!(config.doors.len(), 1 + MANY);
    assert_eq!(fs::read_dir(directory.path())?.count(), 1, "nothing is left over");
    Ok(())
}

/// The client takes what it is told to.
#[test]
fn the_client_s_file_can_be_used() -> io::Result<()> {
    let lab = Lab::pair()?;
    let server = lab.server();
    let _ssh = Service::start(server, 22)?;
    let daemon = Daemon::of(lab::binary("knockd")?).config(BEFORE).start(server)?;
    let mut make = knockctl("new-door of.fice --open 22/tcp --server 10.9.0.1 --json -s");
    let output = server.output(make.arg(daemon.directory().path().join("knockd.sock")))?;
    let told: Value = serde_json::from_slice(&output.stdout).map_err(|_| io::Error::other(text(&output)))?;
    let entry = told["client"].as_str().unwrap();
    let name = entry.lines().next().unwrap().trim_matches(['[', ']', '"']);
    let home = TempDir::new()?;
    let file = home.write("config.toml", entry)?;
    daemon.reload(SOON)?;
    lab.client().wait_until_closed(server.at4(22), SOON)?;
    let mut knock = Command::new(lab::binary("knock")?);
    let output = lab.client().output(knock.arg("--config").arg(file).arg(name))?;
    assert!(output.status.success(), "{entry}: {}", text(&output));
    lab.client().wait_until_port(server.at4(22), PortState::Open, SOON)
}

/// Read off the terminal by a reader that others have written.
#[test]
fn a_camera_reads_the_code() -> io::Result<()> {
    if !lab::has_tool("zbarimg") {
        eprintln!("skipped: there is no zbarimg here");
        return Ok(());
    }
    let lab = Lab::pair()?;
    let directory = TempDir::new()?;
    for (name, theme) in [("dark", [0_u8, 220]), ("light", [255, 30])] {
        for no_colour in [false, true] {
            // Text without colours is made for light letters on dark ground.
            if no_colour && name == "light" {
                continue;
            }
            let path = directory.path().join(format!("{name}-{no_colour}.conf"));
            let mut command =
                knockctl("new-door ssh --open 22/tcp --server server.example.org -s /nowhere -c");
            command.arg(&path);
            if no_colour {
                command.env("NO_COLOR", "1");
            }
            let mut screen = Screen::start(lab.server(), &command, 100, 80)?;
            screen.wait_exit()?;
            screen.wait_for("camera")?;
            // What is written last may come last.
            screen.wait("the whole code", |text| {
                let lines: Vec<_> = text.lines().skip_while(|line| !line.contains("camera")).collect();
                lines.len() > 18
            })?;
            let knock = screen
                .text()
                .lines()
                .find_map(|line| line.trim().strip_suffix(" && ssh server.example.org").map(str::to_owned));
            let picture = screen.look(|screen| picture(screen, theme));
            assert_eq!(read_code(&picture)?, knock.unwrap_or_default(), "{name}, no colours: {no_colour}");
        }
    }
    Ok(())
}

/// What a terminal shows, each half of a cell a square of pixels, as a grey map (pgm(5)).
pub(crate) fn picture(screen: &vt100::Screen, [ground, letter]: [u8; 2]) -> Vec<u8> {
    const PIXELS: usize = 4;
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let first = screen.rows(0, columns).position(|row| row.contains("camera")).unwrap() + 1;
    let shade = |color: vt100::Color, usual| match color {
        vt100::Color::Idx(16) => 0,
        vt100::Color::Idx(231) => 255,
        vt100::Color::Default => usual,
        other => panic!("{other:?}"),
    };
    let mut pixels = Vec::new();
    for row in first..usize::from(rows) {
        for upper in [true, false] {
            let mut line = Vec::new();
            for column in 0..columns {
                let cell = screen.cell(u16::try_from(row).unwrap(), column).unwrap();
                let (front, back) = (shade(cell.fgcolor(), letter), shade(cell.bgcolor(), ground));
                let drawn = match cell.contents() {
                    "█" => true,
                    "▀" => upper,
                    "▄" => !upper,
                    _ => false,
                };
                line.extend([if drawn { front } else { back }; PIXELS]);
            }
            pixels.extend(std::iter::repeat_n(line, PIXELS).flatten());
        }
    }
    let width = usize::from(columns) * PIXELS;
    let mut map = format!("P5 {width} {} 255\n", pixels.len() / width).into_bytes();
    map.extend(pixels);
    map
}

pub(crate) fn read_code(picture: &[u8]) -> io::Result<String> {
    let mut reader = Command::new("zbarimg");
    reader.args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", "PGM:-"]);
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    reader.stdin.take().unwrap().write_all(picture)?;
    let output = reader.wait_with_output()?;
    assert!(output.status.success(), "{}", text(&output));
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
