//! A base's events as text for people.

use std::fmt::{self, Display, Write};

use bitflags::parser;

use super::EventBase;
use crate::reactor::{SlotView, Source, owner};

impl<C> EventBase<C> {
    /// Writes down, for people, everything that waits and everything that is about to be called, the descriptors of
    /// bufferevents and listeners included. The format may change.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    ///
    /// # Examples
    ///
    /// ```
    /// use zerovent::EventBase;
    /// use zerovent::event_base::Event;
    ///
    /// let mut base = EventBase::new()?;
    /// let event = base.new_event(Event::signal(libc::SIGUSR1).name("reload"), |_, _, _| {})?;
    /// base.add(event, None)?;
    /// let mut text = String::new();
    /// base.dump_events(&mut text).unwrap();
    /// assert_eq!(text, "Waiting:\n  event 0 \"reload\": signal 10, persistent, priority 0\nActive:\n");
    /// # Ok::<(), zerovent::Error>(())
    /// ```
    #[doc(alias = "event_base_dump_events")]
    pub fn dump_events(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "Waiting:")?;
        for view in self.reactor.views().filter(|view| view.waits) {
            writeln!(out, "  {}", self.line(&view))?;
        }
        writeln!(out, "Active:")?;
        for view in self.reactor.views().filter(|view| view.pending.active) {
            write!(out, "  {}, for ", self.line(&view))?;
            parser::to_writer(&view.called_for, &mut *out)?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn line<'a>(&self, view: &'a SlotView) -> Line<'a> {
        let index = view.spec.owner & !owner::MASK;
        let is_event = view.spec.owner & owner::MASK == owner::EVENT;
        let entry = self.events.get(view.id.index() as usize).filter(|_| is_event);
        let name = entry.and_then(|entry| entry.name);
        Line { view, index, name }
    }
}

/// What is told of a slot.
struct Line<'a> {
    view: &'a SlotView,
    index: u64,
    name: Option<&'static str>,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.view.spec;
        write!(f, "{} {}", kind(spec.owner), self.index)?;
        if let Some(name) = self.name {
            write!(f, " {name:?}")?;
        }
        match spec.source {
            Source::None => f.write_str(": timer")?,
            Source::Fd { fd, interest } => {
                write!(f, ": descriptor {fd}, ")?;
                parser::to_writer(&interest, &mut *f)?;
            }
            Source::Signal(signal) => write!(f, ": signal {signal}")?,
        }
        if spec.persist {
            f.write_str(", persistent")?;
        }
        write!(f, ", priority {}", spec.priority.unwrap_or_default())?;
        match self.view.pending.remaining {
            Some(remaining) => write!(f, ", due in {remaining:?}"),
            None => Ok(()),
        }
    }
}

fn kind(owner: u64) -> &'static str {
    match owner & owner::MASK {
        owner::BUFFEREVENT => "bufferevent",
        owner::LISTENER => "listener",
        _ => "event",
    }
}
