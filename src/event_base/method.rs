//! The backend that a base runs on, and those that there are.

use super::EventBase;
use crate::error::Result;
use crate::features::Features;
use crate::reactor::METHODS;

/// The names of all backends there are, the fastest first. With the feature `io_uring` there is one more at the end, for those who
/// avoid the others.
///
/// # Examples
///
/// ```
/// use zerovent::event_base::{supported_methods, version};
///
/// println!("Starting zerovent {}. Available methods are:", version());
/// for method in supported_methods() {
///     println!("    {method}");
/// }
/// assert!(supported_methods().eq(["epoll", "poll", "select"]) || cfg!(feature = "io_uring"));
/// ```
#[doc(alias = "event_get_supported_methods")]
pub fn supported_methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

/// The version of this library.
#[doc(alias = "event_get_version")]
#[must_use]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

impl<C> EventBase<C> {
    /// The name of the backend in use.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::EventBase;
    /// use zerovent::event_base::Features;
    ///
    /// let base = EventBase::new()?;
    /// println!("Using zerovent with backend method {}.", base.method());
    /// if base.features().contains(Features::EDGE) {
    ///     println!("  Edge-triggered events are supported.");
    /// }
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_base_get_method")]
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.reactor.method().name
    }

    /// What the backend in use can do.
    #[doc(alias = "event_base_get_features")]
    #[must_use]
    pub fn features(&self) -> Features {
        self.reactor.method().features
    }

    /// Makes the base the child's own after `fork`: whatever it shares with the parent in the kernel is replaced, and what
    /// waits goes on waiting. Signals and [`Remote`](super::Remote)s work in the child. The parent's base is not touched.
    ///
    /// Call it in the child before anything else is done with the base; it may be done inside a callback. Without it the
    /// child's waits, and its changes, would be the parent's too.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the kernel has no descriptor left for it; it may be tried again.
    #[doc(alias = "event_reinit")]
    pub fn reinit(&mut self) -> Result<()> {
        Ok(self.reactor.renew()?)
    }
}
