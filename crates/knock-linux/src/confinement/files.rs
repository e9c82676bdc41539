//! No file, no connection, no signal to others (`landlock(7)`).

use knock_core::control::Layer;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetError, RulesetStatus, Scope,
};

use super::{off, on};

pub(super) const NAME: &str = "landlock";

/// The newest of the kernel's interfaces that this is written for.
const NEWEST: ABI = ABI::V6;

/// Forbids all that the kernel can forbid in this way.
pub(super) fn forbid() -> Layer {
    match restrict() {
        Ok(status) if status.ruleset == RulesetStatus::FullyEnforced => {
            on(NAME, "no file, no connection, no signal")
        }
        Ok(RestrictionStatus { ruleset: RulesetStatus::PartiallyEnforced, landlock, .. }) => on(
            NAME,
            format!("no file; what this kernel does not know is not forbidden ({})", known(landlock)),
        ),
        Ok(_) => off(NAME, "this kernel has none, or it was not switched on at boot (lsm=)"),
        Err(error) => off(NAME, error.to_string()),
    }
}

fn known(status: LandlockStatus) -> String {
    match status {
        LandlockStatus::Available { effective_abi, .. } => format!("{effective_abi}"),
        _ => "unknown".into(),
    }
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::thread;

    use knock_core::control::LayerState;

    use super::*;

    /// In a thread of its own: the others keep their files.
    #[test]
    fn no_file_and_no_connection_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hidden = SocketAddr::from_abstract_name(format!("knock-linux-{}", std::process::id())).unwrap();
        let _listens = UnixListener::bind_addr(&hidden).unwrap();
        assert!(TcpStream::connect(address).is_ok() && UnixStream::connect_addr(&hidden).is_ok());
        let confined = thread::spawn(move || {
            let layer = forbid();
            let denied = |kind: ErrorKind| assert_eq!(kind, ErrorKind::PermissionDenied);
            if layer.state == LayerState::On {
                denied(File::open("/etc/passwd").unwrap_err().kind());
                denied(File::create("/tmp/knock-linux-confined").unwrap_err().kind());
                denied(TcpListener::bind("127.0.0.1:0").unwrap_err().kind());
                denied(TcpStream::connect(address).unwrap_err().kind());
                denied(UnixStream::connect_addr(&hidden).unwrap_err().kind());
            }
            layer
        });
        let layer = confined.join().unwrap();
        if layer.state == LayerState::Off {
            eprintln!("skipped: {}", layer.message);
        }
        assert!(File::open("/etc/passwd").is_ok());
    }
}
