//! How a base is made.

/// What to settle before a base exists.
///
/// # Examples
///
/// ```
/// use zerovent::EventBase;
/// use zerovent::event_base::Config;
///
/// let config = Config::new().priorities(3).capacity(10_000);
/// let base = EventBase::with_config(&config, ())?;
/// assert_eq!(base.priorities(), 3);
/// # Ok::<(), zerovent::Error>(())
/// ```
#[derive(Debug, Clone)]
#[doc(alias = "event_config_new")]
pub struct Config {
    pub(super) capacity: usize,
    pub(super) priorities: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// One priority, and no room reserved.
    #[must_use]
    pub fn new() -> Self {
        Config { capacity: 0, priorities: 1 }
    }

    /// Reserves room for so many events and bufferevents: up to there the base allocates nothing for its own tables.
    #[must_use]
    pub fn capacity(mut self, objects: usize) -> Self {
        self.capacity = objects;
        self
    }

    /// How many priorities there are, at least 1.
    #[must_use]
    pub fn priorities(mut self, priorities: u8) -> Self {
        self.priorities = priorities.max(1);
        self
    }
}
