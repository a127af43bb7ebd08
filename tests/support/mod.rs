//! What the tests share; nothing here is written twice. Each test binary uses its own part of it.
#![allow(dead_code, reason = "each test binary uses its own part of the support code")]
#![allow(
    unreachable_pub,
    reason = "a test binary has no outside, but support code reads better with its parts named"
)]

pub mod alloc;
pub mod browser;
#[cfg(feature = "capi")]
pub mod capi;
pub mod cases;
pub mod events;
pub mod filters;
#[cfg(feature = "http")]
pub mod http;
pub mod inputs;
pub mod model;
#[cfg(feature = "capi")]
pub mod namespace;
pub mod net;
#[cfg(feature = "capi")]
pub mod postgres;
pub mod process;
#[cfg(feature = "capi")]
pub mod programs;
pub mod random;
pub mod source;
