//! (being built)
pub struct Evbuffer;
