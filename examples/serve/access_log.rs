//! The access log. Each loop gathers lines and hands them on by the block; one thread writes them. So a disk or a reader
//! that is slow keeps no loop waiting: at worst lines are lost, and counted.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use zerovent::http::Served;

use crate::Base;
use crate::format::{Format, Lines};
use crate::options::{Complaint, LogFile, reason};

/// A block is handed on when it is this large,
const BLOCK_LEN: usize = 32 << 10;
/// or this old.
const BLOCK_AGE: Duration = Duration::from_millis(100);
/// How many blocks may wait for the writer.
const BLOCKS_MAX: usize = 64;
/// What a loop keeps when they do; lines beyond that are lost.
const KEPT_MAX: usize = 4 << 20;

/// The thread that writes, and the way to it.
#[derive(Debug)]
pub(crate) struct Writer {
    blocks: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Opens the log.
    pub(crate) fn start(place: &LogFile) -> Result<Writer, Complaint> {
        let out: Box<dyn Write + Send> = match place {
            LogFile::Stdout => Box::new(io::stdout()),
            LogFile::Stderr => Box::new(io::stderr()),
            LogFile::At(path) => {
                let file = File::options().create(true).append(true).open(path);
                Box::new(
                    file.map_err(|error| format!("cannot log to {}: {}", path.display(), reason(error)))?,
                )
            }
        };
        let (blocks, waiting) = mpsc::sync_channel(BLOCKS_MAX);
        let thread = thread::Builder::new().name("serve-log".to_owned());
        let thread = thread.spawn(move || write_blocks(&waiting, out)).map_err(reason)?;
        Ok(Writer { blocks, thread })
    }

    /// The way for one loop.
    pub(crate) fn sender(&self) -> SyncSender<Vec<u8>> {
        self.blocks.clone()
    }

    /// Returns when everything has been written that the loops have handed on, all of which have ended.
    pub(crate) fn finish(self) {
        drop(self.blocks);
        let _ = self.thread.join();
    }
}

fn write_blocks(blocks: &Receiver<Vec<u8>>, mut out: Box<dyn Write + Send>) {
    for block in blocks {
        if let Err(error) = out.write_all(&block).and_then(|()| out.flush()) {
            // Whoever read it has gone, or the disk is full. Serving goes on.
            log::error!("the access log ends here: {}", reason(error));
            return;
        }
    }
}

/// What one loop has to log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    lines: Lines,
    block: Vec<u8>,
    lost: u64,
    writer: SyncSender<Vec<u8>>,
}

pub(crate) type SharedLog = Rc<RefCell<AccessLog>>;

impl AccessLog {
    /// A log whose lines leave before `base` waits, or a little later.
    pub(crate) fn start(
        base: &mut Base,
        format: Format,
        writer: SyncSender<Vec<u8>>,
    ) -> zerovent::Result<SharedLog> {
        let log = AccessLog { lines: Lines::new(format), block: Vec::new(), lost: 0, writer };
        let log = Rc::new(RefCell::new(log));
        let aged = Rc::clone(&log);
        let timer = base.new_timer(move |_, _, _| aged.borrow_mut().hand_on())?;
        let grown = Rc::clone(&log);
        let mut is_set = false;
        base.new_prepare_watcher(move |base, _, _| {
            let mut log = grown.borrow_mut();
            if log.block.len() >= BLOCK_LEN {
                log.hand_on();
            }
            let waits = !log.block.is_empty();
            if waits && !is_set {
                // A timer that cannot be set leaves the lines to the next turn.
                let _ = base.add(timer, Some(BLOCK_AGE));
            }
            is_set = waits;
        });
        Ok(log)
    }

    pub(crate) fn note(&mut self, served: &Served<'_>) {
        if self.block.len() >= KEPT_MAX {
            self.lost += 1;
            return;
        }
        self.lines.write(served, &mut self.block);
    }

    fn hand_on(&mut self) {
        match self.writer.try_send(mem::take(&mut self.block)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(block)) => self.block = block,
        }
    }

    /// The loop has ended: hands on what is left, however long that takes.
    pub(crate) fn finish(&mut self) {
        let _ = self.writer.send(mem::take(&mut self.block));
        if self.lost > 0 {
            log::error!(
                "{} lines of the access log are lost: they came faster than they were written",
                self.lost
            );
        }
    }
}
