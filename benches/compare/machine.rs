//! What was measured with, and when.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;
use std::time::SystemTime;

use crate::{event_loop, serve, traffic};

/// The machine and the versions of all who take part, as a list.
pub(crate) fn describe() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let lines = [
        (
            "Machine",
            format!("{} x {}, Linux {}", cores, processor(), first_line("/proc/sys/kernel/osrelease")),
        ),
        ("Compiler", said("rustc", "--version", 0).unwrap_or_else(|| "unknown".to_owned())),
        ("C libevent", known(traffic::libevent::version())),
        ("libev", known(event_loop::libev_version())),
        ("nginx", known(serve::nginx_version())),
        (
            "wrk",
            said("wrk", "--version", 0).map_or_else(|| NOT_THERE.to_owned(), |line| line.replace("wrk ", "")),
        ),
        ("tokio, bytes", format!("{}, {}", locked("tokio"), locked("bytes"))),
    ];
    lines.map(|(what, which)| format!("- {what}: {which}")).join("\n")
}

const NOT_THERE: &str = "not installed, left out";

/// When it is now, and how busy the machine is.
pub(crate) fn moment() -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let load = first_line("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("Measured until {date}; load of the machine {load}.")
}

fn known<E>(version: Result<String, E>) -> String {
    version.unwrap_or_else(|_| NOT_THERE.to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned()
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// A line of what a program prints when asked for its version.
fn said(program: &str, question: &str, line: usize) -> Option<String> {
    let output = Command::new(program).arg(question).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().nth(line).map(|line| line.split(" Copyright").next().unwrap_or(line).to_owned())
}

/// The version of a crate that this was built with.
fn locked(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).map(|(_, rest)| rest);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}
