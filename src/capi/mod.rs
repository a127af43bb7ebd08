//! The C ABI: libevent 2.1's names and layouts over our reactor, buffers and engines, so that a program that was built
//! against libevent runs on zerovent unchanged.
//!
//! # The idea
//!
//! A C program owns more than a Rust one: its events lie in its own memory, it reads fields of ours, it calls from
//! any thread, and its callbacks may free whatever they like, throw, or leave by `longjmp`. So nothing here hands out what the engines
//! hold, and nothing that C has the address of is ever lent to one alone: what two threads and a callback may touch lies in cells, and each
//! such type says in numbered sentences who may look into them when. There are three kinds of object:
//!
//! ```text
//!   struct event        128 bytes of the caller's. While it is pending or active a reactor slot stands for it, whose owner's word is
//!                       its address; else it is plain memory that may be copied, zeroed or freed without telling anyone.
//!   struct event_base   ours: a lock, and behind it a `Core`: reactor, engines, and what the loop has been told (`base`).
//!   struct evbuffer     a handle: a buffer of its own, or the input or output of a bufferevent, which lives in the core's
//!                       engine and is looked up for each call (`buffer`).
//! ```
//!
//! # The contract
//!
//! What C promises by calling, which the safety comments of this room cite:
//!
//! - **C1**: A pointer to an object is null where its function allows null, and otherwise came from the function that makes such
//!   objects, and has not been given to the one that frees them. A `struct event` may also be any memory of its size that was
//!   zeroed or assigned.
//! - **C2**: A pointer to data is valid for as many bytes as the call says, for reading or writing as the name says, and for
//!   the length of the call. Strings end in a zero byte.
//! - **C3**: A function pointer has the type that the header gives it, and may be called with the argument that came with it for as long
//!   as the object lives that it was given to.
//! - **C4**: Without locks (none asked for, or `EVENT_BASE_FLAG_NOLOCK`) an object is used by one thread at a time.
//!
//! What this room keeps in return:
//!
//! - **K1**: A reference into a `Core` or a buffer lives only inside one function of ours, which calls nobody else's code while it does. The
//!   lock of the object, if it has one, is held for as long.
//! - **K2**: While a slot exists its owner's word is the address of a `struct event` whose fields say so; whoever makes the event neither
//!   pending nor active removes the slot first. The loop keeps one such slot in `Control::kept` while the callback of its event runs: of
//!   that the word is not looked at.
//! - **K3**: Memory that C is to free comes from `memory`, and from nowhere else.
//! - **K4**: Whatever is called of C's may throw, but for the functions of its locks, and whatever is exported may call something of C's, if only to log. So both are "C-unwind", and
//!   what has to be put right after a call is put right by a destructor.
#![allow(unsafe_code, reason = "C's pointers are taken at their word; each block cites the contract above")]
#![allow(non_camel_case_types, reason = "the types have the names that C knows them by")]
#![allow(clippy::missing_safety_doc, reason = "the safety of every function here is the contract above")]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the C ABI has the layouts and the calling convention of x86_64 Linux, and no others");

mod absent;
mod base;
mod buffer;
mod bufferevent;
mod common;
mod compat;
mod config;
mod count;
mod debug;
mod del;
mod errno;
mod event;
mod frame;
mod free;
mod layout;
mod listener;
mod lock;
mod log;
mod loggers;
mod look;
mod memory;
mod once;
mod run;
mod tag;
mod thread;
mod time;
mod util;
mod variadic;
