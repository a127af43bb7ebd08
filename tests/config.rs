//! How a base is made: which backend, what the environment may say, what the clock costs, and who may be called how long.

mod support;

use std::cell::Cell;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use support::events::*;
use zerovent::event_base::{Config, Ended, Event, Features, PRIORITIES_MAX, Run, supported_methods, version};
use zerovent::{Error, EventBase};

fn make(config: &Config) -> Result<EventBase, Error> {
    EventBase::with_config(&config.clone().ignore_env(true), ())
}

#[test]
fn the_fastest_is_chosen_and_a_name_that_is_avoided_is_not() {
    let mut config = Config::new();
    for name in supported_methods() {
        assert_eq!(make(&config).unwrap().method(), name);
        config = config.avoid_method(&name.to_uppercase()).avoid_method("kqueue");
        assert_eq!(make(&config).unwrap().method(), name, "names are spelt as they are");
        config = config.avoid_method(name);
    }
    assert!(matches!(make(&config), Err(Error::NoBackend(missing)) if missing.is_empty()));
    assert_eq!(make(&config).unwrap_err().to_string(), "no backend is left to be used");
}

#[test]
fn features_that_no_backend_has_are_named() {
    let every = Features::EDGE | Features::CONSTANT_TIME | Features::ANY_DESCRIPTOR | Features::EARLY_CLOSE;
    assert_eq!(make(&Config::new().require_features(every)).unwrap().features(), every);
    // io_uring, where it is built, has every feature.
    let slow = Config::new().avoid_method("epoll").avoid_method("io_uring");
    let wanted = Features::EDGE | Features::CONSTANT_TIME;
    let error = make(&slow.clone().require_features(every)).unwrap_err();
    assert!(matches!(error, Error::NoBackend(missing) if missing == wanted), "{error}");
    assert!(error.to_string().ends_with("EDGE | CONSTANT_TIME"), "{error}");
    let slower = slow.avoid_method("poll").require_features(Features::EARLY_CLOSE);
    assert!(matches!(make(&slower), Err(Error::NoBackend(Features::EARLY_CLOSE))));
    let replaced = slower.require_features(Features::ANY_DESCRIPTOR);
    assert_eq!(make(&replaced).unwrap().method(), "select", "the last word counts");
}

#[test]
fn what_is_always_so_may_be_asked_for() {
    let config = Config::new().no_lock().changelist().precise_timer();
    assert_eq!(make(&config).unwrap().method(), "epoll");
    assert_eq!(version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(make(&Config::new().priorities(PRIORITIES_MAX)).unwrap().priorities(), 255);
}

/// What a base runs on in a process with these variables; the test below is that process.
fn method_under(variables: &[&str]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "says_what_it_runs_on", "--ignored", "--nocapture"]);
    for name in supported_methods() {
        command.env_remove(format!("EVENT_NO{}", name.to_uppercase()));
    }
    let output = command.envs(variables.iter().map(|name| (name, ""))).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line =
        text.lines().find_map(|line| line.split_once("it runs on ")).unwrap_or_else(|| panic!("{text}"));
    line.1.to_owned()
}

#[test]
#[ignore = "started by the test of the environment, with variables of its choice"]
fn says_what_it_runs_on() {
    let free = EventBase::new().map_or_else(|error| error.to_string(), |base| base.method().to_owned());
    println!("it runs on {free}, ignoring the environment on {}", make(&Config::new()).unwrap().method());
}

#[test]
fn the_environment_rules_backends_out_unless_it_is_ignored() {
    let under = |variables: &[&str]| {
        let said = method_under(variables);
        let (heeding, ignoring) = said.split_once(", ignoring the environment on ").unwrap();
        assert_eq!(ignoring, "epoll");
        heeding.to_owned()
    };
    assert_eq!(under(&[]), "epoll");
    assert_eq!(under(&["EVENT_NOKQUEUE", "EVENT_NOPOLL", "EVENT_EPOLL_USE_CHANGELIST"]), "epoll");
    assert_eq!(under(&["EVENT_NOEPOLL"]), "poll");
    assert_eq!(under(&["EVENT_NOEPOLL", "EVENT_NOPOLL"]), "select");
    let all = ["EVENT_NOEPOLL", "EVENT_NOPOLL", "EVENT_NOSELECT", "EVENT_NOIO_URING"];
    assert_eq!(under(&all), "no backend is left to be used");
}

/// How long a timer of 50 ms has to go 20 ms after it was set, as the callback that set it sees it.
fn remaining_after_a_while(config: &Config) -> Duration {
    let mut base = EventBase::with_config(config, Duration::ZERO).unwrap();
    let late = base.new_timer(|_, _, _| {}).unwrap();
    let setting = base
        .new_timer(move |base: &mut EventBase<Duration>, _, _| {
            base.add(late, Some(Duration::from_millis(50))).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            *base.context_mut() = base.pending(late).unwrap().remaining.unwrap();
            base.loop_break();
        })
        .unwrap();
    base.add(setting, Some(Duration::ZERO)).unwrap();
    base.dispatch().unwrap();
    *base.context()
}

#[test]
fn the_clock_is_read_once_a_turn_or_whenever_it_is_asked() {
    let cached = remaining_after_a_while(&Config::new());
    assert_eq!(cached, Duration::from_millis(50), "a turn has one time");
    let exact = remaining_after_a_while(&Config::new().no_cache_time());
    assert!(exact <= Duration::from_millis(30), "{exact:?}: 20 ms have passed");
}

/// `count` events of the less important priority that are active, each of which makes the important one active first.
fn inverted(config: Config, count: usize, pause: Duration) -> Base {
    let mut base = EventBase::with_config(&config.priorities(2), Calls::new()).unwrap();
    let (near, far) = pair();
    let far = Rc::new((far, Cell::new(false)));
    let urgent = base
        .new_event(reading(&near).persist().priority(0), move |base: &mut Base, _, _| {
            empty(&near);
            base.context_mut().push(("urgent", READ));
        })
        .unwrap();
    base.add(urgent, None).unwrap();
    for _ in 0..count {
        let far = Rc::clone(&far);
        let id = base
            .new_event(Event::timer().priority(1), move |base: &mut Base, _, _| {
                std::thread::sleep(pause);
                base.context_mut().push(("bulk", TIMEOUT));
                if !far.1.replace(true) {
                    poke(&far.0);
                }
            })
            .unwrap();
        base.activate(id, TIMEOUT).unwrap();
    }
    base
}

/// After how many of the less important calls the important one was made.
fn bulk_before_urgent(base: &mut Base) -> usize {
    assert_eq!(base.run(Run::ONCE).unwrap(), Ended::Done);
    let names = names(base.context());
    assert_eq!(names.iter().filter(|name| **name == "bulk").count(), 20, "all are called: {names:?}");
    names.iter().position(|name| *name == "urgent").unwrap_or(20)
}

#[test]
fn a_limit_on_calls_lets_what_is_more_important_in_between() {
    let never = Duration::ZERO;
    let limit = |calls, from| Config::new().max_dispatch_interval(None, calls, from);
    assert_eq!(bulk_before_urgent(&mut inverted(Config::new(), 20, never)), 20);
    assert_eq!(bulk_before_urgent(&mut inverted(limit(Some(5), 1), 20, never)), 5, "the book's example");
    assert_eq!(bulk_before_urgent(&mut inverted(limit(Some(5), 0), 20, never)), 5);
    assert_eq!(
        bulk_before_urgent(&mut inverted(limit(Some(5), 2), 20, never)),
        20,
        "less important ones alone"
    );
    assert_eq!(bulk_before_urgent(&mut inverted(limit(Some(0), 1), 20, never)), 1, "one at least");
    assert_eq!(bulk_before_urgent(&mut inverted(limit(None, 0), 20, never)), 20);
}

#[test]
fn a_limit_on_time_is_looked_at_after_each_call() {
    let limit = |interval| Config::new().max_dispatch_interval(Some(interval), None, 1);
    let pause = Duration::from_millis(3);
    let before = bulk_before_urgent(&mut inverted(limit(pause * 3), 20, pause));
    assert!((1..=3).contains(&before), "{before} calls of 3 ms in 9");
    assert_eq!(bulk_before_urgent(&mut inverted(limit(Duration::ZERO), 20, Duration::ZERO)), 1);
    assert_eq!(bulk_before_urgent(&mut inverted(limit(NEVER), 20, Duration::ZERO)), 20);
}

#[test]
fn a_short_run_under_a_limit_ends_although_something_keeps_coming() {
    for how in [Run::ONCE, Run::NONBLOCK] {
        let config = Config::new().max_dispatch_interval(None, Some(1), 0);
        let mut base = EventBase::with_config(&config, Calls::new()).unwrap();
        let pairs = [pair(), pair()];
        for (near, far) in &pairs {
            noted(&mut base, "it", reading(near).persist(), None);
            poke(far);
        }
        assert_eq!(base.run(how).unwrap(), Ended::Done);
        assert!((2..10).contains(&base.context().len()));
    }
}

#[test]
fn a_limit_does_not_keep_a_loop_that_exits_from_calling_what_is_active() {
    let config = Config::new().max_dispatch_interval(Some(Duration::ZERO), Some(1), 0);
    let mut base = inverted(config, 20, Duration::ZERO);
    base.loop_exit(None).unwrap();
    assert_eq!(base.dispatch().unwrap(), Ended::Exit);
    assert_eq!(names(base.context()).iter().filter(|name| **name == "bulk").count(), 20);
}
