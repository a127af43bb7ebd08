//! How a bench compares: rows of operations, columns of those who do them, goals, and the ways to take the measure.
//!
//! Without arguments criterion measures every row, subject by subject. `--table` measures all subjects in interleaved rounds (`rounds`),
//! `--instructions` has callgrind count and `--calls` strace (`count`). A word behind any of them leaves the rows that have it in
//! their name. The bench `compare` does all of that for all benches, and so reads the same plans.
#![allow(dead_code, reason = "each bench uses its own part")]

pub(crate) mod count;
pub(crate) mod rounds;
pub(crate) mod table;

use std::time::Duration;

use criterion::Criterion;

/// Does an operation so many times, and says how long that took without what had to be prepared.
pub(crate) type Work = Box<dyn FnMut(u64) -> Duration>;

/// Counts the instructions of an operation of a row, by its number, for a subject.
pub(crate) type Counter = fn(&Plan, usize, &str) -> Option<f64>;

/// What the goals allow for small operations, and for large ones.
pub(crate) const ALLOWANCE: f64 = 1.05;
pub(crate) const ALLOWANCE_LARGE: f64 = 1.15;

/// How often the processes of a row are started, unless the row has reasons of its own.
const STARTS: usize = 5;

/// A bench.
pub(crate) struct Plan {
    /// The name of the bench, by which the processes that it starts find it again.
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
    /// The first is zerovent.
    pub(crate) columns: &'static [Column],
    /// The work of a row, by its number, for a subject; `None` where it has none.
    pub(crate) work: fn(usize, &str) -> Option<Work>,
    /// Why a subject cannot be measured here.
    pub(crate) missing: fn(&str) -> Option<String>,
    /// Makes a process what its column asks for.
    pub(crate) settle: fn(&str),
    /// What is measured, when that is a process.
    pub(crate) servers: Option<Servers>,
}

/// Processes that are measured by what they do for others.
pub(crate) struct Servers {
    /// What such a process does, by the words that it was started with.
    pub(crate) serve: fn(&[String]),
    /// System calls an operation of a row, by its number, for a subject, where somebody counts them.
    pub(crate) calls: Option<fn(usize, &str) -> f64>,
}

/// A row of the tables.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) text: &'static str,
    pub(crate) goals: Vec<Goal>,
    /// By how much a ratio may be above its goal: what runs differ by.
    pub(crate) allowance: f64,
    /// The most system calls an operation of zerovent's.
    pub(crate) calls_max: Option<f64>,
    /// How often its processes are started anew: some operations take twice as long at unlucky addresses.
    pub(crate) starts: usize,
    /// How its instructions are counted, if they are.
    pub(crate) counter: Option<Counter>,
}

impl Row {
    pub(crate) fn new(name: String, text: &'static str, goals: Vec<Goal>) -> Row {
        Row { name, text, goals, allowance: ALLOWANCE, calls_max: None, starts: STARTS, counter: None }
    }

    pub(crate) fn is_called(&self, only: Option<&str>) -> bool {
        only.is_none_or(|only| self.name.contains(only))
    }
}

/// A column of the table: who, and in which of the processes. Columns of the same process share one.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) process: &'static str,
}

impl Column {
    /// A column whose subject has a process of its own.
    pub(crate) const fn alone(name: &'static str) -> Column {
        Column { name, subject: name, process: name }
    }
}

/// What zerovent may cost of what the column `of` costs.
pub(crate) struct Goal {
    pub(crate) of: &'static str,
    pub(crate) most: f64,
}

impl Plan {
    /// The columns of those who are there; a line for each who is not.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let is_there = |column: &&Column| match (self.missing)(column.subject) {
            None => true,
            Some(why) => {
                let is_promised = cfg!(feature = "compare") && std::env::var("CI").as_deref() == Ok("true");
                assert!(!is_promised, "{} is missing, which .ci/run installs: {why}", column.name);
                eprintln!("{} is left out: {why}", column.name);
                false
            }
        };
        self.columns.iter().filter(is_there).copied().collect()
    }

    /// Each subject once, however many columns it has.
    pub(crate) fn subjects(&self) -> Vec<&'static str> {
        let mut subjects: Vec<&str> = Vec::new();
        for column in self.columns() {
            if !subjects.contains(&column.subject) {
                subjects.push(column.subject);
            }
        }
        subjects
    }

    /// The rows that have `only` in their name, with their numbers.
    pub(crate) fn chosen_rows(&self, only: Option<&str>) -> impl Iterator<Item = (usize, &Row)> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.is_called(only))
    }
}

/// Whether this only shows that it works, which neither takes long nor says anything.
pub(crate) fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// What the `main` of a bench with one plan does.
pub(crate) fn run(plan: &Plan) {
    if obey(&[plan]) {
        return;
    }
    let mut words = std::env::args().skip(1);
    let first = words.next();
    let only = words.find(|word| !word.starts_with("--"));
    let table = match first.as_deref() {
        Some("--table") => rounds::table(plan, only.as_deref()),
        Some("--instructions") => count::instructions(plan, only.as_deref()),
        Some("--calls") => count::calls(plan, only.as_deref()),
        _ => return measure(plan, &mut Criterion::default().configure_from_args()),
    };
    print!("{}", table.markdown());
}

/// Does what a process was started for by another one of the same program; says whether there was any such thing.
pub(crate) fn obey(plans: &[&Plan]) -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [order, name, rest @ ..] = &words[..] else { return false };
    let Some(plan) = plans.iter().find(|plan| plan.name == name) else { return false };
    match (order.as_str(), &plan.servers) {
        ("--measure", _) => rounds::measure_on_request(plan, &rest[0]),
        ("--count", _) => count::run_once(plan, rest),
        ("--server", Some(servers)) => (servers.serve)(rest),
        _ => return false,
    }
    true
}

fn measure(plan: &Plan, criterion: &mut Criterion) {
    let subjects = plan.subjects();
    for (index, row) in plan.rows.iter().enumerate() {
        let mut group = criterion.benchmark_group(row.text);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for subject in &subjects {
            if let Some(mut work) = (plan.work)(index, subject) {
                group.bench_function(*subject, |bencher| bencher.iter_custom(&mut work));
            }
        }
        group.finish();
    }
    criterion.final_summary();
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}
