//! Functions with `...`, which stable Rust can call but not define: each is a trampoline that does what the compiler of C would, which is to
//! lay the argument registers down as a `va_list` wants them, and calls the form that takes the list.
//!
//! This is the System V ABI of x86_64. Elsewhere these names do not exist, and neither does the C ABI as a whole (`mod.rs`).

use std::ffi::{c_char, c_int};

/// `va_list` as a parameter: the address of where the next argument is.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub(super) struct VaList(*const Tag);

/// Where the next argument is: in the registers that were saved, or on the stack.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    general_offset: u32,
    vector_offset: u32,
    on_stack: *mut u8,
    saved: *mut u8,
}

const _: () = assert!(size_of::<Tag>() == 24);

mod c {
    use std::ffi::{c_char, c_int};

    unsafe extern "C" {
        pub(super) fn vsnprintf(
            target: *mut c_char,
            len: usize,
            format: *const c_char,
            arguments: *mut super::Tag,
        ) -> c_int;
    }
}

/// C's `vsnprintf`, for a copy of the list, so that the same list can be gone through again: how long the text is, of which `len - 1` bytes
/// and a zero byte are written to `target`.
///
/// # Safety
///
/// - C2 for the target and the format; the arguments are what it asks for, and whoever was called with them has not returned.
pub(super) unsafe fn vsnprintf(
    target: *mut c_char,
    len: usize,
    format: *const c_char,
    arguments: VaList,
) -> c_int {
    // SAFETY: the caller's promise; this is what `va_copy` does.
    let mut copy = unsafe { *arguments.0 };
    // SAFETY: the caller's promise.
    unsafe { c::vsnprintf(target, len, format, &mut copy) }
}

/// Defines `$name`, whose first `$named` arguments are named and are followed by `...`, as a call of `$target`, which takes the named
/// arguments and a `va_list`, in the register `$list`.
///
/// The frame is 216 bytes: the list (24), a gap (8), the registers (6 of 8 bytes, 8 of 16), a gap (8); with the return address it
/// keeps the stack aligned. `al` says whether vector registers carry arguments. The unwinder is told of the frame.
macro_rules! variadic {
    ($(#[$attribute:meta])* $name:ident, $named:literal, $list:literal => $target:path) => {
        $(#[$attribute])*
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C-unwind" fn $name() {
            std::arch::naked_asm!(
                ".cfi_startproc",
                "sub rsp, 216",
                ".cfi_adjust_cfa_offset 216",
                "mov [rsp + 32], rdi",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                "mov dword ptr [rsp], 8 * {named}",
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                concat!("mov ", $list, ", rsp"),
                "call {target}",
                "add rsp, 216",
                ".cfi_adjust_cfa_offset -216",
                "ret",
                ".cfi_endproc",
                named = const $named,
                target = sym $target,
            )
        }
    };
}
pub(super) use variadic;
