//! What the small servers among the examples share: their one option, their first line of output, and how a
//! signal ends them.
#![allow(dead_code, reason = "each example uses its own part of the support code")]

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

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

/// The address that `--addr HOST:PORT` asks for; without it any free port of the loopback.
pub(crate) fn listen_address(hint: &str) -> SocketAddr {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word == "--addr").and_then(|value| value.parse().ok());
        address = value.unwrap_or_else(|| usage(hint));
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
