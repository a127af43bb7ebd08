//! Memory that crosses the border: what C frees, and what it hands us to keep objects in, comes from the allocator that the
//! program has chosen, or the C library's.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::size_t;

type Malloc = unsafe extern "C-unwind" fn(size_t) -> *mut c_void;
type Realloc = unsafe extern "C-unwind" fn(*mut c_void, size_t) -> *mut c_void;
type Free = unsafe extern "C-unwind" fn(*mut c_void);

// Null is the C library's. Programs set them before anything else, and libevent does not lock them either.
static MALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static REALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static FREE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn event_set_mem_functions(
    malloc: Option<Malloc>,
    realloc: Option<Realloc>,
    free: Option<Free>,
) {
    // Relaxed: C4, and nothing else is published with them.
    MALLOC.store(malloc.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
    REALLOC.store(realloc.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
    FREE.store(free.map_or(ptr::null_mut(), |f| f as *mut c_void), Ordering::Relaxed);
}

/// `len` bytes, or null. Nothing is asked for 0 bytes.
pub(super) fn allocate(len: usize) -> *mut c_void {
    if len == 0 {
        return ptr::null_mut();
    }
    let chosen = MALLOC.load(Ordering::Relaxed);
    if chosen.is_null() {
        // SAFETY: malloc takes any size.
        return unsafe { libc::malloc(len) };
    }
    // SAFETY: only `event_set_mem_functions` stores here, and it stores a `Malloc`.
    let chosen = unsafe { std::mem::transmute::<*mut c_void, Malloc>(chosen) };
    // SAFETY: C3.
    unsafe { chosen(len) }
}

/// Frees what [`allocate`] gave; null is nothing.
///
/// # Safety
///
/// - `memory` is null or came from [`allocate`], and is not used again.
pub(super) unsafe fn free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    let chosen = FREE.load(Ordering::Relaxed);
    if chosen.is_null() {
        // SAFETY: the caller's promise; without functions of the program's it came from malloc.
        return unsafe { libc::free(memory) };
    }
    // SAFETY: only `event_set_mem_functions` stores here, and it stores a `Free`.
    let chosen = unsafe { std::mem::transmute::<*mut c_void, Free>(chosen) };
    // SAFETY: C3, and the caller's promise.
    unsafe { chosen(memory) }
}

/// A copy of `bytes` with a zero byte behind it, for C to free; null if there is no memory.
pub(super) fn allocate_text(bytes: &[u8]) -> *mut std::ffi::c_char {
    let memory = allocate(bytes.len() + 1).cast::<u8>();
    if memory.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the block has room for the bytes and one more, and is nobody else's.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
    // SAFETY: as above; this is the one more.
    let end = unsafe { memory.add(bytes.len()) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    memory.cast()
}
