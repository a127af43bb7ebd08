//! What the tests share; nothing here is written twice. Each test binary uses its own part of it.
#![allow(dead_code, reason = "each test binary uses its own part of the support code")]

pub mod net;
