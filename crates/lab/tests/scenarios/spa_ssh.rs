//! OpenSSH's own `ssh`, `sshd` and `ssh-agent`, and a door that the very key of the login opens: what `knockctl enroll` and
//! `knock add` say is all that anybody types.

use std::io;

use knock_core::spa::Enrolment;
use lab::PortState;

use crate::ssh::{Scene, knock_key};
use crate::support::{SOON, count};

const DOOR: &str = "[options]\nhost_key = {dir}/host_key\n[ssh]\nauthorized_keys = {dir}/authorized_keys\n\
    open = 22/tcp\nopen_for = 3\n";
/// What `knock add` says.
const CLIENT: &str = "Host mine\n    ProxyCommand knock --proxy %h %p\n";

/// The server, and its line for the client.
fn scene() -> io::Result<Option<(Scene, String)>> {
    let Some(scene) = Scene::new(DOOR, CLIENT)? else { return Ok(None) };
    let line = Enrolment {
        host: "10.9.0.1".into(),
        port: 62_201,
        doors: vec!["ssh".into()],
        host_key: knock_key().public().clone(),
        verify: Some(22),
        key: None,
    };
    let add = format!("knock add --name mine '{line}'");
    Ok(Some((scene, add)))
}

/// A shell line in whose course an agent has the user's key, and no file has it.
fn with_agent(script: &str) -> String {
    format!(
        "ssh-agent bash -ec 'ssh-add -q user; mv user user.away; {script}'; code=$?; mv user.away user; exit $code"
    )
}

#[test]
fn the_key_of_the_login_opens_the_door_at_the_first_try() -> io::Result<()> {
    let Some((scene, add)) = scene()? else { return Ok(()) };
    let port = scene.lab.server().at4(22);
    scene.run(&format!("{add} --identity user"))?;
    assert_eq!(scene.lab.client().probe(port), PortState::Filtered);
    assert_eq!(scene.run("ssh mine echo hi")?, "hi\n");
    scene.assert_opened_once()?;
    // Each knock is another one, so the next is as good.
    scene.lab.client().wait_until_closed(port, SOON)?;
    assert_eq!(scene.run("ssh mine echo hi")?, "hi\n");
    assert_eq!(count(&scene.daemon, "OPEN SESAME"), 2, "{}", scene.daemon.text());
    Ok(())
}

#[test]
fn an_agent_that_has_the_key_is_enough() -> io::Result<()> {
    let Some((scene, add)) = scene()? else { return Ok(()) };
    scene.run(&with_agent(&format!(
        "{} && command ssh -F ssh_config mine echo hi >said",
        add.replace('\'', "\"").replace("knock add", "knock add --identity user.pub")
    )))?;
    assert_eq!(scene.directory.read("said"), "hi\n");
    scene.assert_opened_once()
}

#[test]
fn a_knock_verifies_and_tells_how_long_it_took() -> io::Result<()> {
    let Some((scene, add)) = scene()? else { return Ok(()) };
    scene.run(&format!("{add} --identity user"))?;
    let told = scene.run("knock mine")?;
    assert!(told.starts_with("10.9.0.1:22 is open, ") && told.ends_with(" ms after the knock\n"), "{told}");
    scene.assert_opened_once()
}

#[test]
fn a_strangers_key_opens_nothing() -> io::Result<()> {
    let Some((scene, add)) = scene()? else { return Ok(()) };
    let script = format!(
        "ssh-keygen -q -t ed25519 -N \"\" -f other && {add} --identity other && knock --timeout 1 mine"
    );
    let output = scene.output(&script)?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("10.9.0.1:22 did not open: no answer"), "{told}");
    assert!(told.contains("the server's door \"ssh\" may not know the key"), "{told}");
    assert_eq!(scene.lab.client().probe(scene.lab.server().at4(22)), PortState::Filtered);
    assert_eq!(count(&scene.daemon, "OPEN SESAME"), 0, "{}", scene.daemon.text());
    Ok(())
}
