//! What a packet must look like to be a knock: the rules of `docs/threat-model.md`, each with frames on a wire and the
//! daemon at its end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use lab::{Daemon, Extension, Frame, Lab, Sender, TcpFlags};

use crate::support::{SOON, start};

/// One knock opens each, so that one frame is a case: the same port for all SYNs and for plain ones, a port for every
/// segment, and one for datagrams.
const DOORS: &str = "
[syn]
sequence = 7142
tcpflags = syn
[plain]
sequence = 7142
tcpflags = syn,!ack,!rst,!fin
[segment]
sequence = 7143
[datagram]
sequence = 8319:udp
[sentinel]
sequence = 5555
";
/// What a plain SYN to the first port opens.
const BOTH: &[&str] = &["syn", "plain"];
const DATAGRAM: &[&str] = &["datagram"];
const NOTHING: &[&str] = &[];

/// Where the parts of a frame begin, from its first byte on.
const NETWORK: usize = 14;
const BEHIND_IPV6: usize = NETWORK + 40;

/// A daemon at the end of a wire.
struct Ear {
    lab: Lab,
    daemon: Daemon,
    sender: Sender,
    /// The next frame's source port: no two are alike.
    port: AtomicU16,
}

impl Ear {
    fn new() -> io::Result<Self> {
        Self::on("eth0")
    }

    /// One that listens on these interfaces.
    fn on(interfaces: &str) -> io::Result<Self> {
        let lab = Lab::pair()?;
        let daemon = start(lab.server(), &format!("[options]\ninterface = {interfaces}\n{DOORS}"))?;
        let sender = Sender::open(lab.client(), "eth0", lab.server(), "eth0")?;
        Ok(Self { lab, daemon, sender, port: AtomicU16::new(20_000) })
    }

    /// The client's address of this family with a port of its own, and the server's with this port.
    fn ends(&self, v6: bool, port: u16) -> (SocketAddr, SocketAddr) {
        let (client, server) = (self.lab.client(), self.lab.server());
        let own = self.port.fetch_add(1, Ordering::Relaxed);
        if v6 { (client.at6(own), server.at6(port)) } else { (client.at4(own), server.at4(port)) }
    }

    fn syn4(&self) -> Frame {
        let (source, destination) = self.ends(false, 7142);
        Frame::tcp(source, destination)
    }

    fn syn6(&self) -> Frame {
        let (source, destination) = self.ends(true, 7142);
        Frame::tcp(source, destination)
    }

    fn datagram4(&self) -> Frame {
        let (source, destination) = self.ends(false, 8319);
        Frame::udp(source, destination)
    }

    fn datagram6(&self) -> Frame {
        let (source, destination) = self.ends(true, 8319);
        Frame::udp(source, destination)
    }

    /// A SYN of the same family between any addresses.
    fn syn(&self, source: &str, destination: IpAddr) -> io::Result<Frame> {
        let source: IpAddr = source.parse().map_err(io::Error::other)?;
        let (own, _) = self.ends(source.is_ipv6(), 0);
        Ok(Frame::tcp((source, own.port()).into(), (destination, 7142).into()))
    }

    fn bytes(&self, frame: &Frame) -> Vec<u8> {
        let (from, to) = self.sender.hardware_addresses();
        frame.bytes(from, to)
    }

    fn fragments(&self, frame: &Frame, size: usize) -> Vec<Vec<u8>> {
        let (from, to) = self.sender.hardware_addresses();
        frame.fragments(size, from, to)
    }

    fn fragment(&self, frame: &Frame, bytes: std::ops::Range<usize>) -> Vec<u8> {
        let (from, to) = self.sender.hardware_addresses();
        frame.fragment(bytes, from, to)
    }

    /// Sends frames, and sees which doors they have opened once a knock behind them was heard.
    fn assert_hears(&self, what: &str, expected: &[&str], frames: &[Vec<u8>]) -> io::Result<()> {
        let mark = self.daemon.mark();
        frames.iter().try_for_each(|frame| self.sender.send_bytes(frame))?;
        let (source, destination) = self.ends(false, 5555);
        self.sender.send(&Frame::tcp(source, destination))?;
        self.daemon.wait_for_line_after(mark, ": sentinel: OPEN SESAME", SOON)?;
        let lines = self.daemon.lines();
        let told = |door: &&&str| lines[mark..].iter().any(|line| line.text.contains(&opened(door)));
        let heard: Vec<_> = ["syn", "plain", "segment", "datagram"].iter().filter(told).copied().collect();
        assert_eq!(heard, expected, "{what}");
        Ok(())
    }

    fn assert_knocks(&self, what: &str, expected: &[&str], frame: &Frame) -> io::Result<()> {
        self.assert_hears(what, expected, &[self.bytes(frame)])
    }

    fn assert_silent(&self, what: &str, frame: &Frame) -> io::Result<()> {
        self.assert_knocks(what, NOTHING, frame)
    }
}

fn opened(door: &str) -> String {
    format!(": {door}: OPEN SESAME")
}

/// The bytes with some of them changed.
fn with(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        assert_ne!(bytes[*at], *byte, "no change at {at}");
        bytes[*at] = *byte;
    }
    bytes
}

#[test]
fn frames_that_are_cut_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    for (what, frame, expected) in [
        ("a SYN by IPv4", ear.syn4(), BOTH),
        ("a SYN by IPv6", ear.syn6(), BOTH),
        ("a datagram by IPv4", ear.datagram4(), DATAGRAM),
        ("a datagram by IPv6", ear.datagram6(), DATAGRAM),
    ] {
        let whole = ear.bytes(&frame);
        let cut: Vec<_> = (NETWORK + 1..whole.len()).map(|length| whole[..length].to_vec()).collect();
        ear.assert_hears(&format!("{what}, cut"), NOTHING, &cut)?;
        ear.assert_hears(what, expected, &[whole])?;
    }
    Ok(())
}

#[test]
fn lengths_that_lie_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    for (what, frame) in [
        ("an IPv4 header of 16 bytes", ear.syn4().say_header_words(4)),
        ("an IPv4 header beyond its packet", ear.syn4().say_header_words(15)),
        ("an IPv4 packet of no bytes", ear.syn4().say_packet_length(0)),
        ("an IPv4 packet that ends in its header", ear.syn4().say_packet_length(19)),
        ("an IPv4 packet that ends in the next", ear.syn4().say_packet_length(39)),
        ("an IPv4 packet longer than its frame", ear.syn4().say_packet_length(41)),
        ("an IPv6 packet of no bytes", ear.syn6().say_packet_length(0)),
        ("an IPv6 packet that ends in the TCP header", ear.syn6().say_packet_length(19)),
        ("an IPv6 packet longer than its frame", ear.syn6().say_packet_length(21)),
        ("a TCP header of 16 bytes", ear.syn4().say_tcp_header_words(4)),
        ("a TCP header beyond its packet", ear.syn6().say_tcp_header_words(6)),
        ("a datagram longer than its packet", ear.datagram4().say_datagram_length(9)),
        ("a datagram longer than its packet", ear.datagram6().say_datagram_length(9)),
    ] {
        ear.assert_silent(what, &frame)?;
    }
    ear.assert_knocks("the truth", BOTH, &ear.syn4().say_header_words(5).say_packet_length(40))
}

#[test]
fn datagrams_shorter_than_their_header_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    for length in [0, 1, 7] {
        ear.assert_silent("by IPv4", &ear.datagram4().say_datagram_length(length))?;
        ear.assert_silent("by IPv6", &ear.datagram6().say_datagram_length(length))?;
    }
    ear.assert_knocks("one without data", DATAGRAM, &ear.datagram4())
}

/// They are skipped over as a whole, whatever stands in them.
#[test]
fn options_that_run_over_are_not_read() -> io::Result<()> {
    let ear = Ear::new()?;
    ear.assert_knocks("of IPv4", BOTH, &ear.syn4().ip_options(&[7, 255, 4]))?;
    ear.assert_knocks("of TCP", BOTH, &ear.syn4().tcp_options(&[2, 255, 5]))?;
    let header = ear.bytes(&ear.syn6().extension(Extension::DestinationOptions(1)));
    ear.assert_hears("of IPv6", BOTH, &[with(header, &[(BEHIND_IPV6 + 3, 255)])])
}

#[test]
fn chains_of_headers_that_lead_nowhere_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    let chain = || ear.bytes(&ear.syn6().extension(Extension::DestinationOptions(1)));
    ear.assert_hears("a chain", BOTH, &[chain()])?;
    for (what, next) in [("IPv6 in IPv6", 41), ("encryption", 50), ("no next header", 59), ("nobody's", 253)]
    {
        ear.assert_hears(what, NOTHING, &[with(chain(), &[(BEHIND_IPV6, next)])])?;
    }
    for length in [3, 31, 255] {
        ear.assert_hears("a header that runs over", NOTHING, &[with(chain(), &[(BEHIND_IPV6 + 1, length)])])?;
    }
    let long = (0..18).fold(ear.syn6(), |frame, _| frame.extension(Extension::DestinationOptions(1)));
    ear.assert_silent("eighteen headers", &long)?;
    ear.assert_silent("segments left to go", &ear.syn6().extension(Extension::RoutingOn(1)))
}

#[test]
fn jumbograms_do_not_knock() -> io::Result<()> {
    const JUMBO: u8 = 0xc2;
    let ear = Ear::new()?;
    let option = ear.syn6().extension(Extension::HopByHop(1));
    ear.assert_knocks("an option", BOTH, &option)?;
    let option = option.say_packet_length(0);
    let jumbogram = with(ear.bytes(&option), &[(BEHIND_IPV6 + 2, JUMBO), (BEHIND_IPV6 + 5, 1)]);
    ear.assert_hears("a jumbogram", NOTHING, &[jumbogram])
}

/// Those that hold the whole header knock, see `first_fragments_knock_and_later_ones_do_not`.
#[test]
fn fragments_without_the_whole_header_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    for size in [8, 16] {
        ear.assert_hears("by IPv4", NOTHING, &ear.fragments(&ear.syn4(), size))?;
        ear.assert_hears("by IPv6", NOTHING, &ear.fragments(&ear.syn6(), size))?;
    }
    let options = ear.syn4().tcp_options(&[1; 20]).payload([b'x'; 20]);
    ear.assert_hears("a header in two pieces", NOTHING, &ear.fragments(&options, 24))?;
    ear.assert_hears("a whole one", BOTH, &ear.fragments(&options, 40))
}

/// A later fragment does not change what the first has said, wherever it is laid over it.
#[test]
fn fragments_that_overlap_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    for v6 in [false, true] {
        let (source, destination) = ear.ends(v6, 7142);
        let syn = Frame::tcp(source, destination).payload([b'x'; 60]);
        let harmless = ear.fragment(&syn.clone().flags(TcpFlags::ACK), 0..32);
        // From the sequence number's end on: flags and all that follows.
        let over = ear.fragment(&syn, 8..80);
        ear.assert_hears("laid over it", NOTHING, &[harmless.clone(), over.clone()])?;
        ear.assert_hears("laid under it", NOTHING, &[over.clone(), harmless])?;
        ear.assert_hears("behind a knock", BOTH, &[ear.fragment(&syn, 0..32), over])?;
    }
    Ok(())
}

#[test]
fn checksums_are_verified_where_they_can_be() -> io::Result<()> {
    let ear = Ear::new()?;
    let last = |bytes: Vec<u8>| with(bytes.clone(), &[(bytes.len() - 1, bytes[bytes.len() - 1] ^ 1)]);
    for (what, frame) in [
        ("a SYN by IPv4", ear.syn4().payload("ab")),
        ("a SYN by IPv6", ear.syn6().payload("ab")),
        ("a datagram by IPv4", ear.datagram4().payload("ab")),
        ("a datagram by IPv6", ear.datagram6().payload("ab")),
    ] {
        ear.assert_hears(what, NOTHING, &[last(ear.bytes(&frame))])?;
    }
    let header = ear.bytes(&ear.syn4());
    let wrong = header[NETWORK + 10] ^ 1;
    ear.assert_hears("the IPv4 header's", NOTHING, &[with(header, &[(NETWORK + 10, wrong)])])?;
    // Above what is captured of a packet.
    let long = ear.bytes(&ear.datagram4().payload([b'x'; 1200]));
    ear.assert_hears("a long one", DATAGRAM, &[last(long)])?;
    // None at all, which UDP has by IPv4 alone.
    let none = |bytes: Vec<u8>, at: usize| with(bytes, &[(at, 0), (at + 1, 0)]);
    let (v4, v6) = (ear.bytes(&ear.datagram4()), ear.bytes(&ear.datagram6()));
    ear.assert_hears("none by IPv4", DATAGRAM, &[none(v4, NETWORK + 20 + 6)])?;
    ear.assert_hears("none by IPv6", NOTHING, &[none(v6, BEHIND_IPV6 + 6)])
}

/// What a host sends leaves its checksums to the hardware, here to nobody.
#[test]
fn offloaded_checksums_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    let mark = ear.daemon.mark();
    ear.lab.client().knock(ear.lab.server().ip4(), "7142,8319:udp")?;
    for door in ["syn", "plain", "datagram"] {
        ear.daemon.wait_for_line_after(mark, &opened(door), SOON)?;
    }
    Ok(())
}

#[test]
fn syns_with_data_knock() -> io::Result<()> {
    const FAST_OPEN: [u8; 10] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let ear = Ear::new()?;
    ear.assert_knocks("data", BOTH, &ear.syn4().payload("hello"))?;
    let request = ear.syn4().tcp_options(&FAST_OPEN).payload("GET / HTTP/1.1\r\n");
    ear.assert_knocks("TCP Fast Open", BOTH, &request)?;
    ear.assert_knocks("a request for a cookie", BOTH, &ear.syn6().tcp_options(&FAST_OPEN[..2]))
}

/// Each door says which it takes. `syn` alone takes all that have it, and nothing said takes every segment, as with
/// knockd; the rest is on no host's mind but a scanner's.
#[test]
fn flags_are_the_door_s_to_choose() -> io::Result<()> {
    use TcpFlags as Is;
    let ear = Ear::new()?;
    for (flags, expected) in [
        (Is::SYN, &["syn", "plain", "segment"][..]),
        (Is::SYN | Is::ECE | Is::CWR, &["syn", "plain", "segment"]),
        (Is::SYN | Is::ACK, &["syn", "segment"]),
        (Is::SYN | Is::FIN, &["syn", "segment"]),
        (Is::SYN | Is::RST, &["syn", "segment"]),
        (Is::NONE, &["segment"]),
        (Is::FIN, &["segment"]),
        (Is::RST, &["segment"]),
        (Is::ACK, &["segment"]),
        (Is::FIN | Is::PSH | Is::URG, &["segment"]),
    ] {
        let (source, destination) = ear.ends(false, 7143);
        let segment = Frame::tcp(source, destination).flags(flags);
        let frames = [ear.bytes(&ear.syn4().flags(flags)), ear.bytes(&segment)];
        ear.assert_hears(&format!("'{flags}'"), expected, &frames)?;
    }
    Ok(())
}

#[test]
fn groups_and_broadcasts_are_not_knocked() -> io::Result<()> {
    let ear = Ear::new()?;
    let to = |address: &str| -> io::Result<Frame> {
        let destination: IpAddr = address.parse().map_err(io::Error::other)?;
        let client = ear.lab.client();
        let source = if destination.is_ipv6() { client.ip6() } else { client.ip4() };
        ear.syn(&source.to_string(), destination)
    };
    // In frames for this host, as nobody sends them.
    for address in ["224.0.0.1", "10.9.255.255", "255.255.255.255", "10.9.0.0", "ff02::1", "ff05::2"] {
        ear.assert_silent(address, &to(address)?)?;
    }
    // In frames of their own, and the host's address in frames that go to many.
    let (all, group4, group6) = ([0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]);
    ear.assert_silent("broadcast", &to("10.9.255.255")?.to_hardware(all))?;
    ear.assert_silent("a group of IPv4", &to("224.0.0.1")?.to_hardware(group4))?;
    ear.assert_silent("a group of IPv6", &to("ff02::1")?.to_hardware(group6))?;
    ear.assert_silent("a frame for all", &ear.syn4().to_hardware(all))?;
    ear.assert_silent("a frame for a group of IPv4", &ear.syn4().to_hardware(group4))?;
    ear.assert_silent("a frame for a group of IPv6", &ear.syn6().to_hardware(group6))?;
    ear.assert_knocks("a frame for this host", BOTH, &to("10.9.0.1")?)
}

/// The host's own addresses, and those of its nets that no host has.
#[test]
fn forged_local_sources_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    let server = ear.lab.server();
    let mark = ear.daemon.mark();
    // The first is of an interface that is not listened on.
    server.ip("addr add 10.9.201.1/32 dev lo
         addr add 10.9.200.1/24 dev eth0
         addr add fd09::200:1/64 dev eth0 nodad")?;
    ear.daemon.wait_for_line_after(mark, "the address 10.9.200.1 is there", SOON)?;
    ear.daemon.wait_for_line_after(mark, "the address fd09::200:1 is there", SOON)?;
    for source in ["10.9.0.1", "10.9.200.1", "10.9.201.1"] {
        ear.assert_silent(source, &ear.syn(source, server.ip4())?)?;
    }
    for source in ["10.9.0.0", "10.9.255.255", "10.9.200.0", "10.9.200.255"] {
        ear.assert_silent(source, &ear.syn(source, server.ip4())?)?;
    }
    for source in ["fd09::1", "fd09::200:1"] {
        ear.assert_silent(source, &ear.syn(source, server.ip6())?)?;
    }
    let itself = Frame::tcp(server.at4(7142), server.at4(7142));
    ear.assert_silent("from the knocked port to itself", &itself)?;
    ear.assert_knocks("a neighbour", BOTH, &ear.syn("10.9.200.7", server.ip4())?)
}

/// Martians: what no host can have. Beside them, what looks odd and is good.
#[test]
fn sources_that_nobody_can_answer_do_not_knock() -> io::Result<()> {
    let ear = Ear::new()?;
    let server = ear.lab.server();
    let no_hosts = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.8.8.8",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
    ];
    for source in no_hosts {
        ear.assert_silent(source, &ear.syn(source, server.ip4())?)?;
    }
    for source in ["::", "::1", "ff02::1", "ff0e::7", "::ffff:192.0.2.7", "::192.0.2.7"] {
        ear.assert_silent(source, &ear.syn(source, server.ip6())?)?;
    }
    for source in ["169.254.7.7", "192.0.2.7", "223.255.255.254"] {
        ear.assert_knocks(source, BOTH, &ear.syn(source, server.ip4())?)?;
    }
    for source in ["fe80::7", "2001:db8::7", "64:ff9b::192.0.2.7"] {
        ear.assert_knocks(source, BOTH, &ear.syn(source, server.ip6())?)?;
    }
    Ok(())
}

#[test]
fn loopback_is_not_knocked_from_outside() -> io::Result<()> {
    let ear = Ear::on("any")?;
    let client = ear.lab.client();
    for (source, destination) in [(client.ip4(), "127.0.0.1"), (client.ip6(), "::1")] {
        let destination = destination.parse().map_err(io::Error::other)?;
        ear.assert_silent("loopback", &ear.syn(&source.to_string(), destination)?)?;
    }
    ear.assert_knocks("the host's address", BOTH, &ear.syn4())
}

#[test]
fn port_zero_and_no_time_to_live() -> io::Result<()> {
    let ear = Ear::new()?;
    for v6 in [false, true] {
        let (mut source, mut destination) = ear.ends(v6, 8319);
        ear.assert_knocks("no time to live", DATAGRAM, &Frame::udp(source, destination).hop_limit(0))?;
        source.set_port(0);
        ear.assert_knocks("from port 0", DATAGRAM, &Frame::udp(source, destination).payload("0"))?;
        destination.set_port(0);
        ear.assert_silent("to port 0", &Frame::udp(source, destination))?;
    }
    Ok(())
}
