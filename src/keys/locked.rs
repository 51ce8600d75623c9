//! Memory for key-encryption keys: a page of its own that is not swapped, not in a core dump, and wiped when dropped.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::Once;

use zeroize::Zeroize;

use crate::error::{Error, Result};

const LENGTH: usize = 32;

static NOT_LOCKED: Once = Once::new();

/// 32 secret bytes.
pub struct LockedBytes {
    /// The start of a private mapping of one page, which this value owns.
    page: NonNull<[u8; LENGTH]>,
}

// SAFETY: the mapping belongs to this value alone; shared references only read it
unsafe impl Send for LockedBytes {}
// SAFETY: as above
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// Copies the bytes. A system that does not let the process lock a page (RLIMIT_MEMLOCK) is reported once in the
    /// log, and the key works all the same.
    pub fn new(bytes: &[u8; LENGTH]) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: asks for a new mapping anywhere, which no other value can point into
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), LENGTH, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        let failed = || Error::internal("there is no memory for a key", io::Error::last_os_error());
        if page == libc::MAP_FAILED {
            return Err(failed());
        }
        let page = NonNull::new(page.cast::<[u8; LENGTH]>()).ok_or_else(failed)?;
        // SAFETY: both calls name the page that was mapped above
        let locked = unsafe {
            libc::madvise(page.as_ptr().cast(), LENGTH, libc::MADV_DONTDUMP);
            libc::mlock(page.as_ptr().cast(), LENGTH) == 0
        };
        if !locked {
            let error = io::Error::last_os_error();
            NOT_LOCKED.call_once(|| {
                tracing::warn!(%error, "the unlock key may be written to swap: raise the limit of locked memory (LimitMEMLOCK, ulimit -l) to 64 KiB or more");
            });
        }
        // SAFETY: the page is mapped, writable, aligned, longer than the array, and nobody else has a pointer to it
        unsafe { page.as_ptr().write(*bytes) };
        Ok(LockedBytes { page })
    }

    pub fn bytes(&self) -> &[u8; LENGTH] {
        // SAFETY: mapped and initialised by `new`, unmapped by `drop` alone
        unsafe { self.page.as_ref() }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        // SAFETY: the last use of the mapping; unmapping unlocks it
        unsafe {
            self.page.as_mut().zeroize();
            libc::munmap(self.page.as_ptr().cast(), LENGTH);
        }
    }
}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedBytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_and_each_value_has_its_own_page() {
        let (one, two) = (LockedBytes::new(&[1; 32]).unwrap(), LockedBytes::new(&[2; 32]).unwrap());
        assert_eq!((one.bytes(), two.bytes()), (&[1; 32], &[2; 32]));
        assert_ne!(one.page, two.page);
        assert_eq!(format!("{one:?}"), "LockedBytes");
        drop(one);
        assert_eq!(two.bytes(), &[2; 32]);
    }
}
