//! What the small servers among the examples share: their command line, their first line of output, and how a
//! signal ends them.
#![allow(dead_code, reason = "each example uses its own part of the support code")]

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};
use zerovent::EventBase;

/// What a program ends with when its command line makes no sense.
const EXIT_USAGE: i32 = 2;

/// How long a peer that has said its last word may take to read ours.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Ends the program with a hint on how to call it.
pub(crate) fn usage(hint: &str) -> ! {
    eprintln!("usage: {hint}");
    process::exit(EXIT_USAGE)
}

/// Ends the program with what somebody wanted to know who asked for help.
pub(crate) fn help(hint: &str) -> ! {
    println!("usage: {hint}");
    process::exit(0)
}

/// The address that `--addr HOST:PORT` asks for; without it any free port of the loopback.
pub(crate) fn listen_address(hint: &str) -> SocketAddr {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next().unwrap_or_else(|_| usage(hint)) {
        match argument {
            Long("addr") => {
                let value = arguments.value().and_then(|value| value.parse());
                address = value.unwrap_or_else(|_| usage(hint));
            }
            Long("help") | Short('h') => help(hint),
            _ => usage(hint),
        }
    }
    address
}

/// Ends the loop, and with it the program, when the terminal or the system asks for it.
pub(crate) fn stop_on_signals<C: 'static>(base: &mut EventBase<C>) -> zerovent::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let event = base.new_signal(signal, |base, _, _| base.loop_break())?;
        base.add(event, None)?;
    }
    Ok(())
}
