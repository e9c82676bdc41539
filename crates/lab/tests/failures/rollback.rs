//! A configuration that nobody confirms: the one from before comes back, whatever has happened meanwhile.

use std::io;

use crate::support::{SOON, Scene, TO_SSH, ask, config, ssh_door, web_door};

/// What the administrator asks for, who is to confirm within a moment.
const RELOAD: &str = r#"{"request":"reload","confirm_seconds":0.3}"#;

#[test]
fn comes_back_although_a_file_of_its_is_gone() -> io::Result<()> {
    let scene = Scene::new()?;
    let once = "[once]\none_time_sequences = {dir}/seqs\ncommand = true\n".to_owned();
    let setup = lab::Daemon::of(lab::binary("knockd")?).config(config(&[ssh_door("60s"), web_door("2")]));
    let daemon = setup.start(scene.server())?;
    daemon.directory().write("seqs", " 9001,9002,9003\n")?;
    daemon.write_config(&config(&[ssh_door("60s"), once]))?;
    assert_eq!(ask(&daemon, r#"{"request":"reload"}"#)?["answer"], "done");
    daemon.write_config(&config(&[web_door("2")]))?;
    assert_eq!(ask(&daemon, RELOAD)?["answer"], "done");
    std::fs::remove_file(daemon.directory().path().join("seqs"))?;
    daemon.wait_for_line("was not confirmed in time", SOON)?;
    scene.assert_shut();
    scene.knock(TO_SSH)?;
    daemon.wait_for_line("ssh: opened 22/tcp", SOON)?;
    assert!(scene.gets_in());
    Ok(())
}

#[test]
fn is_tried_again_until_it_is_back() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[ssh_door("60s")]))?;
    daemon.write_config(&config(&[web_door("2")]))?;
    assert_eq!(ask(&daemon, RELOAD)?["answer"], "done");
    // Somebody takes the name of the table just now.
    scene.server().nft("table inet knockd { chain mine { accept; }; }")?;
    daemon.wait_for_line("cannot be put in force, trying anew", SOON)?;
    scene.server().nft("delete table inet knockd")?;
    daemon.wait_for_line("was not confirmed in time", SOON)?;
    scene.assert_shut();
    scene.knock(TO_SSH)?;
    daemon.wait_for_line("ssh: opened 22/tcp", SOON)?;
    Ok(())
}

#[test]
fn table_is_gone_with_the_last_native_door_and_back_with_the_first() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&config(&[web_door("2")]))?;
    let is_there = || scene.server().sh("nft list tables").is_ok_and(|tables| tables.contains("inet knockd"));
    assert!(!is_there());
    daemon.write_config(&config(&[ssh_door("60s"), web_door("2")]))?;
    assert_eq!(ask(&daemon, &RELOAD.replace("0.3", "4"))?["answer"], "done");
    assert!(is_there());
    daemon.wait_for_line("was not confirmed in time", SOON)?;
    assert!(!is_there());
    assert!(scene.gets_in());
    Ok(())
}
