//! What the operating system lets the process have, what it lets others see of the process, and what memory goes back.

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

/// Blocks that are larger are mapped by themselves and go back to the system when they are freed. glibc moves this
/// limit up with each such block that is freed, to 32 MiB at most: the 19 MiB of a password would then stay with the
/// thread that hashed it, and a flood of sign-ins would leave a gigabyte behind.
const MAPPED_FROM: libc::c_int = 1 << 20;

/// Keeps the allocator from holding on to large blocks. Other libraries than glibc have a fixed limit anyway.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt sets a number of the allocator, at the start, before other threads run
        let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM) };
        if set != 1 {
            tracing::debug!("the allocator keeps its own limit of mapped blocks");
        }
    }
}

/// Gives the free memory between what is in use back to the system.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the locks of the allocator itself and moves nothing that is in use
    unsafe {
        libc::malloc_trim(0);
    }
}
