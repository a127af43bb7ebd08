//! What the library has to say, a line each on stderr.

use log::{LevelFilter, Log, Metadata, Record};

use crate::options::{Complaint, reason};
use crate::progress;

/// Passes warnings on, and debugging messages too if somebody asked for them.
pub(crate) fn install(verbose: bool) -> Result<(), Complaint> {
    log::set_logger(&Stderr).map_err(reason)?;
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Warn });
    Ok(())
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            progress::clear();
            eprintln!("serve: {}", record.args());
        }
    }

    fn flush(&self) {}
}
