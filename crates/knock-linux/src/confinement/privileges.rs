//! Limits, the user, and capabilities (`setrlimit(2)`, `credentials(7)`, `capabilities(7)`).

use std::fs;
use std::io;

use knock_core::control::Layer;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, getuid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::{User, off, on};

pub(super) const LIMITS: &str = "limits";
pub(super) const USER: &str = "user";
pub(super) const CAPABILITIES: &str = "capabilities";

/// The most memory, in bytes: many times what attempts take.
const MEMORY: u64 = 256 << 20;

/// No further process, no file that grows, no core that holds sequences, and memory within reason; where the machine has
/// none left this process ends before others.
pub(super) fn limit() -> Layer {
    // Without /proc it is like all others.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let limits = [(Resource::Nproc, 0), (Resource::Fsize, 0), (Resource::Core, 0), (Resource::As, MEMORY)];
    let outcome = limits.into_iter().try_for_each(|(resource, limit)| {
        // What is lower already cannot be raised.
        let limit = getrlimit(resource).maximum.map_or(limit, |lower| lower.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
    });
    match outcome {
        Ok(()) => on(LIMITS, "no process, no file, no core, 256 MiB of memory"),
        Err(error) => off(LIMITS, format!("the kernel does not set them: {error}")),
    }
}

/// Becomes another user, without any group beside its own.
pub(super) fn become_user(user: Option<User>) -> Layer {
    let own = getuid();
    let Some(user) = user else {
        return if own.is_root() {
            off(USER, "root still: there is neither a user knockd nor a user nobody")
        } else {
            on(USER, format!("{}, as the daemon", own.as_raw()))
        };
    };
    match switch_to(user) {
        Ok(()) if getuid().as_raw() == user.id => on(USER, user.id.to_string()),
        Ok(()) => off(USER, "the kernel has it that this is another user still"),
        Err(error) if own.is_root() => {
            off(USER, format!("root still: {error}; CAP_SETUID and CAP_SETGID are needed"))
        }
        Err(_) => on(USER, format!("{}, as the daemon", own.as_raw())),
    }
}

fn switch_to(User { id, group }: User) -> io::Result<()> {
    // The bounding set can be emptied only by who still has a capability for it.
    empty_bounding_set();
    let (id, group) = (Uid::from_raw(id), Gid::from_raw(group));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    Ok(set_thread_res_uid(id, id, id)?)
}

fn empty_bounding_set() {
    for capability in CapabilitySet::all().iter() {
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            // Without CAP_SETPCAP it stays; nothing can be gained by it, since no program can be started.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
}

/// Keeps no capability and no way to gain one; nobody else's process looks into this one.
pub(super) fn drop_capabilities() -> Layer {
    empty_bounding_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let dropped = set_capabilities(None, none).and_then(|()| capabilities(None));
    let guarded = set_no_new_privs(true)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .and_then(|()| set_parent_process_death_signal(Some(Signal::KILL)));
    match (dropped, guarded) {
        (Ok(left), Ok(())) if left.permitted.is_empty() => on(CAPABILITIES, "none, and none to be gained"),
        (Ok(left), Ok(())) => off(CAPABILITIES, format!("still {:?}", left.permitted)),
        (Err(error), _) | (_, Err(error)) => {
            off(CAPABILITIES, format!("the kernel does not take them away: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use knock_core::control::LayerState;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

    use super::*;

    const NOBODY: User = User { id: 65_534, group: 65_534 };

    /// In a thread of its own: the others stay root.
    #[test]
    fn what_root_was_is_nobody_and_stays_it() {
        if !getuid().is_root() || !switch_is_possible() {
            eprintln!("skipped: not root");
            return;
        }
        let layers = thread::spawn(|| {
            let layers = [become_user(Some(NOBODY)), drop_capabilities()];
            assert!(File::open("/etc/shadow").is_err());
            let packets = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            assert_eq!(packets.unwrap_err(), rustix::io::Errno::PERM);
            let root = Uid::ROOT;
            assert_eq!(set_thread_res_uid(root, root, root).unwrap_err(), rustix::io::Errno::PERM);
            let all = CapabilitySets {
                effective: CapabilitySet::all(),
                permitted: CapabilitySet::all(),
                inheritable: CapabilitySet::empty(),
            };
            assert!(set_capabilities(None, all).is_err());
            assert!(!capability_is_in_bounding_set(CapabilitySet::SYS_ADMIN).unwrap());
            layers
        });
        for layer in layers.join().unwrap() {
            assert_eq!(layer.state, LayerState::On, "{layer:?}");
        }
        assert!(getuid().is_root());
    }

    /// A user namespace may have no other user.
    fn switch_is_possible() -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().nth(2).is_some_and(|count| count != "1")
    }
}
