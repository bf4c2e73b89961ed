//! Responsible for what a script may do: it keeps only the capabilities that installing packages
//! takes, and calls that need more users than there are succeed without effect.
//!
//! Owners in an image mean nothing to the users of a container, so that a call that changes an
//! owner has nothing to do. A call that waits until bytes are on disk has nothing to do either,
//! since the directory is temporary.

use std::collections::BTreeMap;

use anyhow::Context;
use caps::{CapSet, Capability};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Capabilities that a script keeps.
const KEPT: [Capability; 11] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// Calls that succeed without effect.
const WITHOUT_EFFECT: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
];

/// Calls that make a device, each with the position of the argument that says so.
const DEVICES: &[(libc::c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];

/// Requests to a terminal that act as its user: `TIOCSTI` types a character, `TIOCLINUX` pastes.
/// Their type depends on the C library.
const OF_TERMINALS: [u64; 2] = [0x5412, 0x541c];

/// Restricts this process and all that it starts.
pub(super) fn restrict() -> anyhow::Result<()> {
    for capability in caps::all() {
        // A kernel may not know the newest capabilities.
        if !KEPT.contains(&capability)
            && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
        {
            caps::drop(None, CapSet::Bounding, capability)
                .context("cannot give up a capability")?;
        }
    }
    for (rules, errno) in [(refused()?, libc::EPERM), (without_effect()?, 0)] {
        let program = program(rules, errno).context("cannot make the filter of system calls")?;
        seccompiler::apply_filter(&program).context("cannot set the filter of system calls")?;
    }
    Ok(())
}

/// Calls with the conditions under which a rule is for them.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn program(rules: Rules, errno: libc::c_int) -> anyhow::Result<BpfProgram> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    Ok(filter.try_into()?)
}

fn refused() -> anyhow::Result<Rules> {
    let rule = |request: u64| {
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(1, length, SeccompCmpOp::Eq, request)?;
        SeccompRule::new(vec![condition])
    };
    let made: Result<Vec<_>, _> = OF_TERMINALS.into_iter().map(rule).collect();
    Ok(BTreeMap::from([(libc::SYS_ioctl, made?)]))
}

fn without_effect() -> anyhow::Result<Rules> {
    let mut rules = Rules::new();
    for call in WITHOUT_EFFECT {
        rules.insert(*call, Vec::new());
    }
    for (call, argument) in DEVICES {
        let kinds = [libc::S_IFCHR, libc::S_IFBLK];
        let rule = |kind: libc::mode_t| {
            let is_kind = SeccompCmpOp::MaskedEq(libc::S_IFMT.into());
            let length = SeccompCmpArgLen::Dword;
            let condition = SeccompCondition::new(*argument, length, is_kind, kind.into())?;
            SeccompRule::new(vec![condition])
        };
        let made: Result<Vec<_>, _> = kinds.into_iter().map(rule).collect();
        rules.insert(*call, made?);
    }
    Ok(rules)
}
