//! `event2/buffer.h`: a handle is a buffer of its own, or one of the two buffers of a bufferevent.

use super::lock::Lock;
use crate::buffer::Evbuffer;

/// A buffer, as C holds it: a pointer to this.
pub struct evbuffer {
    lock: Lock,
    home: Home,
}

/// Where the bytes are.
enum Home {
    Own(Evbuffer),
}
