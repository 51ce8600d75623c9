//! What the operating system lets the process have, and what it lets others see of the process.

/// No core dump and no other process of this user that reads our memory: keys stand in it. Called before the first key
/// is read.
pub fn hide_memory() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: neither call touches memory of ours but the struct that it is given, which outlives it
    let outcomes = unsafe { [libc::setrlimit(libc::RLIMIT_CORE, &none), libc::prctl(libc::PR_SET_DUMPABLE, 0)] };
    if outcomes != [0, 0] {
        tracing::debug!("the memory of the process can be dumped");
    }
}

/// As many open files as the system allows: the usual soft limit of 1024 is less than the connections that a
/// listener takes. A system that refuses leaves it as it is.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one struct that they are given, which outlives them
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::debug!("the limit of open files stays as it is");
    }
}
