//! Calling a closure that lives inside the base it is given: it is taken out of its place while it runs, and a
//! guard puts it back, also when it unwinds.

use super::EventBase;

/// A callback on loan from its place in the base.
///
/// `place` finds where it belongs, or `None` if what it belonged to is gone. A place that is filled again when
/// the callback comes back was given a new one meanwhile, and keeps it.
pub(super) struct Taken<'a, C, F, P>
where
    P: Fn(&mut EventBase<C>) -> Option<&mut Option<F>>,
{
    base: &'a mut EventBase<C>,
    callback: Option<F>,
    place: P,
}

impl<'a, C, F, P> Taken<'a, C, F, P>
where
    P: Fn(&mut EventBase<C>) -> Option<&mut Option<F>>,
{
    /// Takes the callback out, lets `call` call it, and puts it back. Does nothing if there is none.
    #[inline]
    pub(super) fn call(base: &'a mut EventBase<C>, place: P, call: impl FnOnce(&mut EventBase<C>, &mut F)) {
        let Some(callback) = place(base).and_then(Option::take) else { return };
        let mut taken = Taken { base, callback: Some(callback), place };
        if let Some(callback) = taken.callback.as_mut() {
            call(taken.base, callback);
        }
    }
}

impl<C, F, P> Drop for Taken<'_, C, F, P>
where
    P: Fn(&mut EventBase<C>) -> Option<&mut Option<F>>,
{
    #[inline]
    fn drop(&mut self) {
        if let Some(place) = (self.place)(self.base)
            && place.is_none()
        {
            *place = self.callback.take();
        }
    }
}
