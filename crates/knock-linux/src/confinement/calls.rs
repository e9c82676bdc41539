//! Few system calls (`seccomp(2)`): to take packets, to ask about sockets, to write to one descriptor, and to have
//! memory that is no code. Any other ends the process.

use knock_core::control::Layer;

use super::{Left, off};

pub(super) const NAME: &str = "seccomp";

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) fn forbid(_: &Left) -> Layer {
    off(NAME, "not written for this kind of processor")
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(super) fn forbid(left: &Left) -> Layer {
    match filter::apply(left) {
        Ok(count) => super::on(NAME, format!("{count} system calls; any other ends the process")),
        Err(error) => off(NAME, error.to_string()),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filter {
    use std::collections::BTreeMap;
    use std::os::fd::RawFd;

    use seccompiler::{
        BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
        SeccompFilter, SeccompRule, apply_filter,
    };

    use super::Left;

    /// Calls that may have any arguments.
    const FREE: [libc::c_long; 21] = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getrandom,
        libc::SYS_lseek,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_ppoll,
        libc::SYS_read,
        libc::SYS_recvfrom,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_timerfd_settime,
    ];

    /// Newer processors do without it.
    #[cfg(target_arch = "x86_64")]
    const OLD: [libc::c_long; 1] = [libc::SYS_poll];
    #[cfg(not(target_arch = "x86_64"))]
    const OLD: [libc::c_long; 0] = [];

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Puts the filter in force; how many calls it leaves.
    pub(super) fn apply(left: &Left) -> Result<usize, Error> {
        let rules = rules(left)?;
        let count = rules.len();
        let processor = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, processor)?;
        let program: BpfProgram = filter.try_into()?;
        apply_filter(&program)?;
        Ok(count)
    }

    fn rules(left: &Left) -> Result<Rules, BackendError> {
        let mut rules: Rules = FREE.iter().chain(&OLD).map(|call| (number(*call), Vec::new())).collect();
        // The packet socket would send as well as receive.
        rules.insert(number(libc::SYS_write), vec![on_descriptor(left.channel)?]);
        if let Some(sockets) = left.sockets {
            rules.insert(number(libc::SYS_sendto), vec![on_descriptor(sockets)?]);
        }
        rules.insert(number(libc::SYS_getsockopt), vec![of_lost_packets()?]);
        // Shared memory would not count for the limits.
        let private = has_none_of(3, libc::MAP_SHARED)?;
        rules.insert(number(libc::SYS_mmap), vec![SeccompRule::new(vec![no_code()?, private])?]);
        rules.insert(number(libc::SYS_mprotect), vec![SeccompRule::new(vec![no_code()?])?]);
        Ok(rules)
    }

    /// Call numbers are as wide as a register.
    #[allow(clippy::useless_conversion, reason = "c_long is no i64 everywhere")]
    fn number(call: libc::c_long) -> i64 {
        i64::from(call)
    }

    /// The first argument is this descriptor.
    fn on_descriptor(descriptor: RawFd) -> Result<SeccompRule, BackendError> {
        SeccompRule::new(vec![is(0, descriptor)?])
    }

    /// How many packets found no room is asked, and nothing else: other options hand out descriptors.
    fn of_lost_packets() -> Result<SeccompRule, BackendError> {
        SeccompRule::new(vec![is(1, libc::SOL_PACKET)?, is(2, libc::PACKET_STATISTICS)?])
    }

    /// The third argument does not ask for memory that can be executed.
    fn no_code() -> Result<SeccompCondition, BackendError> {
        has_none_of(2, libc::PROT_EXEC)
    }

    fn is(argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    }

    fn has_none_of(argument: u8, bits: libc::c_int) -> Result<SeccompCondition, BackendError> {
        let bits = u64::from(bits.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)
    }
}
