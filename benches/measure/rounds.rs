//! All subjects in one run: processes that do as they are told, measured in turns, so that what happens to the machine happens
//! to all of them. The processes are new in every row, because what a heap costs depends on what was done with it before.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::table::{Line, Table, nanoseconds};
use super::{Column, Plan, Work, is_smoke, number};

/// How much is done for a row.
struct Effort {
    /// How long one measurement should take. One operation may take longer.
    target_ns: f64,
    /// Rounds of a row with the same processes, each of which gives one pair for each ratio; fewer where a measurement takes
    /// longer than [`LONG_NS`].
    rounds: usize,
    rounds_min: usize,
    /// How often the processes of a row are started anew, unless the row asks for fewer.
    starts_max: usize,
}

const FULL: Effort = Effort { target_ns: 4e6, rounds: 7, rounds_min: 2, starts_max: usize::MAX };
const SMOKE: Effort = Effort { target_ns: 1.0, rounds: 1, rounds_min: 1, starts_max: 1 };
const LONG_NS: f64 = 40e6;

/// A process that measures on request.
struct Worker {
    name: &'static str,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(plan: &Plan, name: &'static str) -> Worker {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--measure", plan.name, name]).args(is_smoke().then_some("--test"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Worker { name, child, answers }
    }

    /// Nanoseconds that `count` operations took; `None` when there is no such work.
    fn ask(&mut self, row: usize, subject: &str, count: u64) -> Option<f64> {
        let requests = self.child.stdin.as_mut().expect("it is piped");
        writeln!(requests, "{row} {subject} {count}").expect("the worker listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the worker answers");
        answer.trim().parse().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        self.child.wait().expect("a child that was started here");
    }
}

/// The worker's side.
pub(crate) fn measure_on_request(plan: &Plan, process: &str) {
    (plan.settle)(process);
    let mut made: Vec<(String, Work)> = Vec::new();
    for request in stdin().lines() {
        let request = request.expect("requests are text");
        let Some((asked, count)) = request.rsplit_once(' ') else { return };
        if made.iter().all(|(of, _)| of != asked) {
            let (row, subject) = asked.split_once(' ').expect("a row and a subject");
            let work = (plan.work)(number(row) as usize, subject);
            made.extend(work.map(|work| (asked.to_owned(), work)));
        }
        match made.iter_mut().find(|(of, _)| of == asked) {
            Some((_, work)) => println!("{}", work(number(count)).as_nanos()),
            None => println!("none"),
        }
        stdout().flush().expect("somebody reads");
    }
}

/// The table of times and ratios. Rows are named as they are done.
pub(crate) fn table(plan: &Plan, only: Option<&str>) -> Table {
    let effort = if is_smoke() { SMOKE } else { FULL };
    let columns = plan.columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let lines = plan.chosen_rows(only).map(|(index, row)| {
        let mut rounds = vec![Vec::new(); columns.len()];
        for _ in 0..row.starts.min(effort.starts_max) {
            measure_row(plan, &effort, &columns, index, &mut rounds);
        }
        eprintln!("{}: {} has been measured", plan.name, row.text);
        Line::of_rounds(row, &names, &rounds)
    });
    Table { first: "operation", lines: lines.collect(), names: names.clone(), show: nanoseconds }
}

/// Adds to each column the nanoseconds an operation took in every round.
fn measure_row(plan: &Plan, effort: &Effort, columns: &[Column], row: usize, times: &mut [Vec<f64>]) {
    let mut workers: Vec<Worker> = Vec::new();
    for column in columns {
        if workers.iter().all(|worker| worker.name != column.process) {
            workers.push(Worker::start(plan, column.process));
        }
    }
    let mut ask = |column: &Column, count| {
        let worker = workers.iter_mut().find(|worker| worker.name == column.process);
        worker.expect("each column's process was started").ask(row, column.subject, count)
    };
    let counts: Vec<Option<Measured>> =
        columns.iter().map(|column| calibrate(effort, |count| ask(column, count))).collect();
    let is_long = counts.iter().flatten().any(|measured| measured.took_ns > LONG_NS);
    for _ in 0..if is_long { effort.rounds_min } else { effort.rounds } {
        for (index, column) in columns.iter().enumerate() {
            let Some(Measured { count, .. }) = counts[index] else { continue };
            times[index].extend(ask(column, count).map(|took| took / count as f64));
        }
    }
}

/// How many operations a measurement does, and about how long that takes.
struct Measured {
    count: u64,
    took_ns: f64,
}

/// Finds out how many operations make a measurement.
fn calibrate(effort: &Effort, mut ask: impl FnMut(u64) -> Option<f64>) -> Option<Measured> {
    let mut count = 16;
    loop {
        let took_ns = ask(count)?;
        if took_ns > effort.target_ns / 10.0 {
            let each_ns = took_ns / count as f64;
            let count = (effort.target_ns / each_ns).ceil();
            return Some(Measured { count: count as u64, took_ns: each_ns * count });
        }
        count *= 4;
    }
}
