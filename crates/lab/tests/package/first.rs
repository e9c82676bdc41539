//! The first installation, and the way back to Debian's knockd.

use std::io;
use std::process::Command;

use lab::Host;

use crate::machine::{Init, Machine, Prepared};
use crate::scene::{assert_nothing_was_asked, left_over};

#[test]
fn makes_a_door_of_its_own_and_stays_off() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let (one, other) = (first(&prepared)?, first(&prepared)?);
    assert_ne!(one, other, "two machines have the same sequence");
    Ok(())
}

/// Installs it, and returns the sequence.
fn first(prepared: &Prepared) -> io::Result<String> {
    let host = Host::new("machine")?;
    let machine = Machine::boot(prepared, &host, Init::Systemd)?;
    assert_nothing_was_asked(&machine.install("/srv/toctoc.deb")?);

    assert_eq!(machine.mode("/etc/knockd.conf")?, 0o640);
    assert_eq!(machine.sh("stat -c %U:%G /etc/knockd.conf")?.trim(), "root:root");
    machine.sh("knockd --check")?;
    assert_eq!(machine.mode("/etc/knockd/host_key")?, 0o600);
    assert_eq!(machine.sh("knockctl host-key")?.trim().len(), 43);
    let config = machine.read("/etc/knockd.conf")?;
    let sequence = sequence(&config);
    assert!(sequence.split(',').count() >= 4, "{config}");
    assert!(sequence.contains("udp"), "{config}");

    assert_eq!(machine.daemon()?, None);
    assert!(!machine.output("systemctl is-enabled knockd")?.status.success());
    assert!(machine.read("/etc/default/knockd")?.contains("\nSTART_KNOCKD=0\n"));
    assert!(machine.has("/etc/logrotate.d/knockd"));
    machine.sh("logrotate --debug /etc/logrotate.conf")?;
    let user = machine.sh("getent passwd knockd")?;
    assert!(user.contains(":/nonexistent:") && user.trim_end().ends_with("/nologin"), "{user}");
    Ok(sequence)
}

#[test]
fn is_as_debian_wants_packages() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on=error,warning"]).arg(prepared.package());
    let output = lintian.output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn sequence(config: &str) -> String {
    let value = config.lines().find_map(|line| line.trim().strip_prefix("sequence"));
    value.unwrap_or_default().trim_start_matches([' ', '=']).replace(' ', "")
}

#[test]
fn leaves_a_log_alone_that_somebody_rotates_already() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let host = Host::new("machine")?;
    let machine = Machine::boot(&prepared, &host, Init::Scripts)?;
    machine.write("/etc/logrotate.d/mine", "/var/log/knockd.log {\n    daily\n}\n")?;
    machine.write("/etc/knockd.conf", "[mine]\nsequence = 7142,8319:udp,5623\n")?;
    assert_nothing_was_asked(&machine.install("/srv/toctoc.deb")?);
    assert!(!machine.has("/etc/logrotate.d/knockd"));
    assert!(machine.read("/etc/knockd.conf")?.starts_with("[mine]"), "a file that was there is written over");

    let host_key = machine.read("/etc/knockd/host_key")?;
    // What the administrator has deleted does not come back by an upgrade.
    machine.sh("rm /etc/knockd.conf")?;
    let newer = machine.make_newer("99.1")?;
    machine.install(&newer)?;
    assert!(!machine.has("/etc/knockd.conf"));
    assert_eq!(machine.read("/etc/knockd/host_key")?, host_key, "clients know the key that was there");

    // Back to knockd, and away with what the package has left: what is now knockd's stays.
    machine.install("/srv/knockd.deb")?;
    machine.sh("dpkg --purge toctoc")?;
    for file in ["/etc/default/knockd", "/etc/init.d/knockd", "/usr/sbin/knockd", "/etc/rc2.d/S01knockd"] {
        assert!(machine.has(file), "{file} is gone");
    }
    let scripts = machine.sh("/etc/init.d/knockd start")?;
    assert!(scripts.contains("disabled"), "{scripts}");
    machine.sh("dpkg --purge knockd")?;
    assert_eq!(left_over(&machine)?, "");
    Ok(())
}
