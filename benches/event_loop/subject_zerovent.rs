//! The rows' loop, by zerovent.

use std::os::fd::RawFd;
use std::time::Duration;

use zerovent::EventBase;
use zerovent::event_base::{CommonTimeout, Event, EventId, Interest, Run, What};

use super::engine::{Engine, Job, State};

const ALIVE: &str = "the event has not been freed";

pub(crate) type Zerovent = EventBase<Context>;

/// What the callbacks reach.
pub(crate) struct Context {
    state: State<Duration>,
    timers: Vec<EventId>,
    fds: Vec<EventId>,
    common: Option<CommonTimeout>,
    driver: Option<EventId>,
    job: Option<Job<Zerovent>>,
}

impl Engine for Zerovent {
    type Span = Duration;

    fn new() -> Self {
        let context = Context {
            state: State::new(),
            timers: Vec::new(),
            fds: Vec::new(),
            common: None,
            driver: None,
            job: None,
        };
        let mut base = EventBase::with_context(context).expect("descriptors for a base");
        let driver = base.new_timer(|base, _, _| {
            if let Some(job) = base.context_mut().job.take() {
                job(base);
            }
        });
        base.context_mut().driver = Some(driver.expect("a timer can always be made"));
        base
    }

    fn span(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn make_common(&mut self, us: u64) -> bool {
        let common = self.common_timeout(Duration::from_micros(us));
        self.context_mut().common = Some(common);
        true
    }

    fn state(&mut self) -> &mut State<Duration> {
        &mut self.context_mut().state
    }

    fn make_timers(&mut self, count: usize) {
        for _ in 0..count {
            let timer = self.new_timer(|base, _, _| base.context_mut().state.fired += 1);
            self.context_mut().timers.push(timer.expect("a timer can always be made"));
        }
    }

    fn add_timer(&mut self, index: usize, after: Duration) {
        self.add(self.context().timers[index], Some(after)).expect(ALIVE);
    }

    fn rearm_timer(&mut self, index: usize, after: Duration) {
        self.add_timer(index, after);
    }

    fn rearm_common(&mut self, index: usize) {
        let common = self.context().common.expect("it was made");
        self.add_common(self.context().timers[index], common).expect(ALIVE);
    }

    fn del_timer(&mut self, index: usize) {
        self.del(self.context().timers[index]).expect(ALIVE);
    }

    fn activate(&mut self, index: usize) {
        EventBase::activate(self, self.context().timers[index], What::TIMEOUT).expect(ALIVE);
    }

    fn watch(&mut self, fds: &[RawFd]) {
        for (index, fd) in fds.iter().enumerate() {
            let event = Event::raw_fd(*fd, Interest::READ).persist();
            let event = self.new_event(event, move |base, _, _| base.context_mut().state.on_readable(index));
            self.context_mut().fds.push(event.expect("the descriptor is open"));
            self.add_fd(index);
        }
    }

    fn add_fd(&mut self, index: usize) {
        self.add(self.context().fds[index], None).expect(ALIVE);
    }

    fn del_fd(&mut self, index: usize) {
        self.del(self.context().fds[index]).expect(ALIVE);
    }

    fn inside(&mut self, job: Job<Self>) {
        self.context_mut().job = Some(job);
        let driver = self.context().driver.expect("it was made with the base");
        EventBase::activate(self, driver, What::TIMEOUT).expect(ALIVE);
        self.turn();
    }

    fn turn(&mut self) {
        self.run(Run::NONBLOCK).expect("waiting works");
    }
}
