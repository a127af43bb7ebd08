//! Calling handlers: between two borrows of the server, never within one. So a handler may do anything with the
//! base and with the server, and what it answers is taken in when it has returned.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::lanes::{Job, Ticketed};
use super::responder::{BodyWriter, Desk, PostBox, Responder};
use super::routes::Handler;
use super::server::Core;
use crate::bufferevent::BuffereventId;
use crate::event_base::What;
use crate::{EventBase, Result};

/// How often calls and their answers may follow on each other before the loop has its turn: a handler that is
/// asked again because it has answered must not keep everybody else waiting.
const ROUNDS_MAX: usize = 16;

/// The handlers of a server, and where their answers come in.
pub(crate) struct Dispatch<C> {
    /// Each is borrowed while it runs; the loop cannot be run from a callback, so none can meet itself.
    handlers: Rc<Handlers<C>>,
    post: Arc<PostBox>,
}

type Handlers<C> = Vec<RefCell<Handler<C>>>;

impl<C: 'static> Dispatch<C> {
    /// Makes the event by which the server learns of answers that nobody waits for.
    pub(crate) fn start(
        base: &mut EventBase<C>,
        core: &Rc<Core>,
        handlers: Vec<Handler<C>>,
    ) -> Result<Dispatch<C>> {
        let handlers = Rc::new(handlers.into_iter().map(RefCell::new).collect::<Handlers<C>>());
        let event = base.new_timer(|_, _, _| {})?;
        core.set_post(event);
        let remote = base.remote();
        let post = Arc::new(PostBox::new(move || {
            // A base that is gone has no connections that could be answered.
            let _ = remote.activate(event, What::TIMEOUT);
        }));
        let dispatch = Dispatch { handlers: Rc::clone(&handlers), post: Arc::clone(&post) };
        let (woken, core) = (Dispatch { handlers, post }, Rc::clone(core));
        base.set_callback(event, move |base, _, _| woken.work_off(base, &core))?;
        Ok(dispatch)
    }

    /// Calls what is due and takes in the answers, until there is nothing of either.
    pub(crate) fn work_off(&self, base: &mut EventBase<C>, core: &Core) {
        self.post.attend();
        for _ in 0..ROUNDS_MAX {
            for (connection, job) in core.take_jobs() {
                self.call(base, connection, job);
            }
            let letters = self.post.take();
            if letters.is_empty() {
                return;
            }
            core.deliver(base, letters);
        }
        self.post.look_later();
    }

    fn call(&self, base: &mut EventBase<C>, connection: BuffereventId, job: Ticketed) {
        let Ticketed { ticket, interest, job } = job;
        let desk = Desk { post: Arc::clone(&self.post), connection, ticket, interest };
        match job {
            Job::Call { handler, request } => {
                let handler = &mut *self.handlers[handler].borrow_mut();
                handler(base, request, Responder::new(desk));
            }
            Job::Continue(then) => then(BodyWriter::new(desk)),
        }
    }
}
