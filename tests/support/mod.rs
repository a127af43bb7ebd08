//! What the tests share; nothing here is written twice. Each test binary uses its own part of it.
#![allow(dead_code, reason = "each test binary uses its own part of the support code")]

#[cfg(feature = "http")]
pub mod http;
pub mod net;
