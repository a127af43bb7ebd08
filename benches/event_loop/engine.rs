//! What a row asks of a loop, so that each row is written once and every subject does the same.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::RawFd;

/// Something to do inside a callback.
pub(crate) type Job<E> = fn(&mut E);

/// A loop with timers, which are counted when they fire, and descriptors, which are read from.
pub(crate) trait Engine: Sized + 'static {
    /// A length of time as the loop takes it, ready to be used.
    type Span: Copy;

    fn new() -> Self;
    fn span(us: u64) -> Self::Span;
    /// Tells the loop of a length of time that many timers share; says whether it makes anything of that.
    fn make_common(&mut self, us: u64) -> bool;
    fn state(&mut self) -> &mut State<Self::Span>;

    /// Makes timers, once, which are pending only when they are added.
    fn make_timers(&mut self, count: usize);
    fn add_timer(&mut self, index: usize, after: Self::Span);
    /// Moves a pending timer to `after` from now.
    fn rearm_timer(&mut self, index: usize, after: Self::Span);
    /// The same with the length of time that many share.
    fn rearm_common(&mut self, index: usize);
    fn del_timer(&mut self, index: usize);
    /// Has a timer's callback called although it is not due.
    fn activate(&mut self, index: usize);

    /// Waits, for ever, for these to be readable, and calls [`State::on_readable`].
    fn watch(&mut self, fds: &[RawFd]);
    fn add_fd(&mut self, index: usize);
    fn del_fd(&mut self, index: usize);

    /// One turn without waiting, in which `job` is called from a callback: there the time is the turn's.
    fn inside(&mut self, job: Job<Self>);
    /// One turn without waiting.
    fn turn(&mut self);
}

/// What rows and callbacks share.
pub(crate) struct State<S> {
    /// How many timers there are, and how many of their callbacks have been called.
    pub(crate) timers: usize,
    pub(crate) fired: usize,
    /// What the timers are added with, in turns, beginning at `at`. A power of two of them.
    pub(crate) spans: Vec<S>,
    pub(crate) at: usize,
    pub(crate) pipes: Vec<(PipeReader, PipeWriter)>,
    /// How many bytes have been read, and how many are still to be written.
    pub(crate) read: u64,
    pub(crate) to_write: u64,
}

impl<S> State<S> {
    pub(crate) const fn new() -> Self {
        State { timers: 0, fired: 0, spans: Vec::new(), at: 0, pipes: Vec::new(), read: 0, to_write: 0 }
    }

    /// The callback of the pipe benchmark: reads a byte, and passes one on to the next pipe while any are left.
    pub(crate) fn on_readable(&mut self, index: usize) {
        let mut byte = [0];
        let count = (&self.pipes[index].0).read(&mut byte).expect("it was said to be readable");
        self.read += count as u64;
        if self.to_write > 0 {
            let next = if index + 1 < self.pipes.len() { index + 1 } else { 0 };
            self.write(next);
        }
    }

    pub(crate) fn write(&mut self, index: usize) {
        self.to_write -= 1;
        let count = (&self.pipes[index].1).write(b"e").expect("a pipe has room for a byte");
        assert_eq!(count, 1);
    }
}
