//! Others who use the same names: another knockd, and a table of the administrator's own.

use std::io;

use crate::support::{SOON, Scene, TO_SSH, config, knockd, ssh_door, web_door};

/// A door of commands that lets in by a table of the administrator's, which is called as ours.
const OWN_TABLE: &str = "table inet knockd { set allowed { type ipv4_addr; }; }";

#[test]
fn table_of_the_administrator_s_own_is_left_alone() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(OWN_TABLE)?;
    let mut daemon = scene.knockd(&config(&[web_door("2")]))?;
    assert!(scene.server().sh("nft list set inet knockd allowed")?.contains("allowed"));
    daemon.kill()?;
    // A native door would need the name.
    let mut refused = knockd()?.config(config(&[ssh_door("5s")])).spawn(scene.server())?;
    assert_eq!(refused.wait_exit(SOON)?.code(), Some(1));
    assert!(refused.text().contains("no knockd has made it"), "{}", refused.text());
    assert!(scene.server().sh("nft list set inet knockd allowed")?.contains("allowed"));
    Ok(())
}

#[test]
fn second_daemon_with_native_doors_does_not_take_the_table() -> io::Result<()> {
    let scene = Scene::new()?;
    let first = scene.knockd(&config(&[ssh_door("60s")]))?;
    let mut second = knockd()?.config(config(&[ssh_door("60s")])).spawn(scene.server())?;
    assert_eq!(second.wait_exit(SOON)?.code(), Some(1));
    assert!(second.text().contains("another knockd"), "{}", second.text());
    scene.assert_shut();
    scene.knock(TO_SSH)?;
    first.wait_for_line("ssh: opened 22/tcp", SOON)?;
    assert!(scene.gets_in());
    Ok(())
}

#[test]
fn second_daemon_with_doors_of_commands_leaves_the_table_of_the_first() -> io::Result<()> {
    let scene = Scene::new()?;
    let first = scene.knockd(&config(&[ssh_door("60s")]))?;
    let second = scene.knockd(&config(&[web_door("2")]))?;
    scene.assert_shut();
    scene.open_web(&second)?;
    scene.knock(TO_SSH)?;
    first.wait_for_line("ssh: opened 22/tcp", SOON)?;
    assert!(scene.gets_in());
    assert_eq!(crate::support::count(&first, "put back"), 0, "{}", first.text());
    Ok(())
}

#[test]
fn somebody_else_who_has_the_owner_s_name_keeps_no_port_open() -> io::Result<()> {
    let scene = Scene::new()?;
    let script = "import os, socket, time\n\
                  taken = socket.socket(socket.AF_UNIX)\n\
                  os.setuid(65534)\n\
                  taken.bind('\\0knockd: table inet knockd')\n\
                  taken.listen(0)\n\
                  full = [socket.socket(socket.AF_UNIX) for _ in range(4)]\n\
                  [one.setblocking(False) or one.connect_ex('\\0knockd: table inet knockd') for one in full]\n\
                  print('taken', flush=True)\n\
                  time.sleep(60)\n";
    let mut squatter = std::process::Command::new("python3");
    squatter.args(["-c", script]).stdout(std::process::Stdio::piped());
    let mut squatter = scene.server().spawn(&mut squatter)?;
    let mut taken = [0; 5];
    if let Some(output) = squatter.child().stdout.as_mut() {
        io::Read::read_exact(output, &mut taken)?;
    }
    assert_eq!(&taken, b"taken");
    let _daemon = scene.knockd(&config(&[ssh_door("60s")]))?;
    scene.assert_shut();
    Ok(())
}
