//! (being built)
pub struct EventBase;
