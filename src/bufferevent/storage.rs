//! The buffers of a bufferevent, had only while there is something in them: an idle connection holds none.
//!
//! An [`Evbuffer`] keeps its first nodes inside itself, which makes it fast and larger than everything else that a
//! connection needs. Thousands of idle connections would hold two of them for nothing. So a buffer comes from a
//! small stock of the thread's when bytes do, and goes back when they have gone.

use std::cell::RefCell;

use crate::buffer::{End, Evbuffer};

/// How many buffers a thread keeps in stock; a turn that has more at work than this allocates for the rest.
const STOCK_MAX: usize = 1024;

thread_local! {
    #[expect(clippy::vec_box, reason = "what is kept is the boxes: they are handed out again as they are")]
    static STOCK: RefCell<Vec<Box<Evbuffer>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that is there when it is needed, with the end frozen that belongs to the transport.
#[derive(Debug)]
pub(super) struct Stored {
    buffer: Option<Box<Evbuffer>>,
    /// None if its user may do to it what the transport does.
    frozen: Option<End>,
}

impl Stored {
    pub(super) const fn new(frozen: End) -> Self {
        Stored { buffer: None, frozen: Some(frozen) }
    }

    /// Closes the transport's end, or leaves it open from now on.
    #[cfg(feature = "capi")]
    pub(super) fn freeze(&mut self, end: End, freeze: bool) {
        self.frozen = freeze.then_some(end);
        if let Some(buffer) = &mut self.buffer {
            if freeze { buffer.freeze(end) } else { buffer.unfreeze(end) }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes may still be added.
    pub(super) fn room(&self) -> usize {
        self.buffer.as_ref().map_or(usize::MAX, |buffer| buffer.room())
    }

    /// Whether a callback of the buffer has something to hear in the next turn.
    pub(super) fn callbacks_due(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.callbacks_due())
    }

    /// The buffer, taken from the stock if there was none.
    pub(super) fn get(&mut self) -> &mut Evbuffer {
        let frozen = self.frozen;
        self.buffer.get_or_insert_with(|| {
            let mut buffer = from_stock();
            buffer.begin_use(frozen);
            buffer
        })
    }

    /// Calls the buffer's callbacks that wait for the end of the turn, then gives back storage that is larger than what it holds, and the
    /// buffer itself if nobody could tell.
    pub(super) fn settle(&mut self) {
        let Some(buffer) = self.buffer.as_mut() else { return };
        buffer.run_deferred();
        buffer.settle_storage();
        if buffer.is_as_new(self.frozen) {
            self.clear();
        }
    }

    /// Drops the content.
    pub(super) fn clear(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            buffer.end_use();
            into_stock(buffer);
        }
    }
}

fn from_stock() -> Box<Evbuffer> {
    // A thread that is ending has no stock any more.
    let kept = STOCK.try_with(|stock| stock.borrow_mut().pop());
    kept.ok().flatten().unwrap_or_default()
}

fn into_stock(buffer: Box<Evbuffer>) {
    let _ = STOCK.try_with(|stock| {
        let mut stock = stock.borrow_mut();
        if stock.len() < STOCK_MAX {
            stock.push(buffer);
        }
    });
}
