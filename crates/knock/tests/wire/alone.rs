//! What knock 0.8 cannot do.

use std::fs;
use std::io;
use std::path::Path;

use crate::net::{Net, Outcome};

fn knock(net: &Net, line: &str) -> io::Result<Outcome> {
    net.run(Path::new(env!("CARGO_BIN_EXE_knock")), line)
}

#[test]
fn one_syn_whatever_the_port_does_and_nothing_left_that_could_send_another() -> io::Result<()> {
    let net = Net::new()?;
    // Long enough for a socket that is still open to send its SYN again, which Linux does after a second.
    for (kind, port) in [("open", 7100), ("refused", 7000), ("filtered", 7200)] {
        let ended = knock(&net, &format!("-d 1300 10.9.0.1 {port} 9:udp"))?;
        let expected = [format!("tcp 10.9.0.1:{port} SYN"), "udp 10.9.0.1:9 \"\\x00\"".into()];
        assert_eq!(ended.knocks, expected, "{kind}");
        assert_eq!(waiting_for_an_answer(&net)?, 0, "{kind}");
    }
    Ok(())
}

/// Sockets in the state SYN-SENT.
fn waiting_for_an_answer(net: &Net) -> io::Result<usize> {
    const SYN_SENT: &str = "02";
    let table = net.on_client("cat /proc/net/tcp /proc/net/tcp6")?;
    Ok(table.lines().filter(|line| line.split_whitespace().nth(3) == Some(SYN_SENT)).count())
}

#[test]
fn both_families_hear_the_whole_sequence() -> io::Result<()> {
    let ended = knock(&Net::new()?, "--both both.lab 7000 8000:udp")?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let (four, six): (Vec<_>, Vec<_>) =
        ended.knocks.into_iter().partition(|knock| knock.contains("10.9.0.1"));
    assert_eq!(four, ["tcp 10.9.0.1:7000 SYN", "udp 10.9.0.1:8000 \"\\x00\""]);
    assert_eq!(six, ["tcp [fd09::1]:7000 SYN", "udp [fd09::1]:8000 \"\\x00\""]);
    Ok(())
}

#[test]
fn a_family_that_cannot_be_reached_does_not_spoil_the_other() -> io::Result<()> {
    let net = Net::new()?;
    let ended = knock(&net, "-v --both half.lab 7000 8000")?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.knocks, ["tcp [fd09::1]:7000 SYN", "tcp [fd09::1]:8000 SYN"]);
    assert!(ended.stderr.starts_with("knock: note: tcp 10.8.0.1:7000 (knock 1 of 2)"), "{}", ended.stderr);
    assert_eq!(knock(&net, "--both 10.8.0.1 7000")?.code, Some(3));
    Ok(())
}

#[test]
fn says_which_knock_could_not_be_sent_and_why() -> io::Result<()> {
    let net = Net::new()?;
    let ended = knock(&net, "10.9.0.1 7000 7300:udp 7001")?;
    assert_eq!((ended.code, ended.knocks.as_slice()), (Some(3), &["tcp 10.9.0.1:7000 SYN".to_owned()][..]));
    let begin = "knock: udp 10.9.0.1:7300 (knock 2 of 3) could not be sent: ";
    assert!(ended.stderr.starts_with(begin) && ended.stderr.contains("firewall"), "{}", ended.stderr);
    let ended = knock(&net, "10.8.0.1 7000")?;
    assert_eq!((ended.code, ended.knocks.len()), (Some(3), 0), "{}", ended.stderr);
    Ok(())
}

#[test]
fn sends_from_a_second_address() -> io::Result<()> {
    let net = Net::new()?;
    net.on_client("ip address add 10.9.3.3/16 dev eth0")?;
    net.on_client("nft add rule inet wire leaving ip saddr != 10.9.3.3 tcp dport 7000 drop")?;
    assert_eq!(knock(&net, "10.9.0.1 7000")?.knocks.len(), 0);
    assert_eq!(knock(&net, "-s 10.9.3.3 10.9.0.1 7000")?.knocks, ["tcp 10.9.0.1:7000 SYN"]);
    assert_eq!(knock(&net, "-s 10.9.3.3 both.lab 7000")?.knocks, ["tcp 10.9.0.1:7000 SYN"]);
    Ok(())
}

#[test]
fn a_line_that_was_sent_in_part_stays_unused() -> io::Result<()> {
    let net = Net::new()?;
    let file = net.file("one-time", "7000,7300:udp\n7000:udp\n")?;
    let ended = knock(&net, &format!("--one-time {} 10.9.0.1", file.display()))?;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&file)?, "7000,7300:udp\n7000:udp\n");
    net.on_client("nft flush chain inet wire leaving")?;
    assert_eq!(knock(&net, &format!("--one-time {} 10.9.0.1", file.display()))?.code, Some(0));
    assert_eq!(fs::read_to_string(&file)?, "#000,7300:udp\n7000:udp\n");
    Ok(())
}
