//! What somebody at a terminal sees who enrolls a key, or makes another host key.

use std::fs;
use std::io;
use std::process::Command;

use knock_core::spa::Enrolment;
use lab::{Lab, TempDir};
use serde_json::Value;

use crate::new_door::{knockctl, picture, read_code, text};
use crate::screen::Screen;

fn server() -> io::Result<TempDir> {
    let directory = TempDir::new()?;
    let place = directory.path().display();
    let config = format!(
        "[options]\nhost_key = {place}/host_key\n[ssh]\nauthorized_keys = {place}/keys\nopen = 22/tcp\n"
    );
    directory.write("knockd.conf", config)?;
    Ok(directory)
}

fn command(directory: &TempDir, arguments: &str) -> Command {
    let mut command = knockctl(arguments);
    command.args(["-s", "/nowhere", "-c"]).arg(directory.path().join("knockd.conf"));
    command
}

#[test]
fn a_camera_reads_the_line() -> io::Result<()> {
    if !lab::has_tool("zbarimg") {
        eprintln!("skipped: there is no zbarimg here");
        return Ok(());
    }
    let (lab, directory) = (Lab::pair()?, server()?);
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.path().join("alice"));
    assert!(keygen.status()?.success());
    let line = format!("enroll alice {}/alice.pub --host server.example.org", directory.path().display());
    let mut screen = Screen::start(lab.server(), &command(&directory, &line), 120, 80)?;
    screen.wait_exit()?;
    screen.wait("the whole code", |text| {
        text.lines().skip_while(|line| !line.contains("camera")).count() > 28
    })?;
    let picture = screen.look(|screen| picture(screen, [0, 220]));

    let output = command(&directory, "enroll alice --again --host server.example.org --json").output()?;
    let told: Value = serde_json::from_slice(&output.stdout).map_err(|_| io::Error::other(text(&output)))?;
    let read = read_code(&picture)?;
    assert_eq!(read, told["line"].as_str().unwrap());
    assert!(read.parse::<Enrolment>().is_ok());
    Ok(())
}

#[test]
fn another_host_key_is_made_only_if_that_is_meant() -> io::Result<()> {
    let (lab, directory) = (Lab::pair()?, server()?);
    assert!(command(&directory, "host-key").output()?.status.success());
    let key = || fs::read_to_string(directory.path().join("host_key"));
    let before = key()?;
    for (answer, changes) in [("\r", false), ("n\r", false), ("yes\r", true)] {
        let mut screen = Screen::start(lab.server(), &command(&directory, "host-key --new"), 160, 24)?;
        screen.wait_for("[y/N]")?;
        screen.key(answer)?;
        screen.wait_exit()?;
        assert_eq!(key()? != before, changes, "{answer:?}");
    }
    Ok(())
}
