//! All subjects in one run: processes that do as they are told, measured in turns, so that what happens to the machine happens
//! to all of them. The processes are new in every row, because what a heap costs depends on what was done with it before.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{Column, Goal, Plan, Work, number, table_head};

/// How long one measurement should take. One operation may take longer.
const TARGET_NS: f64 = 4e6;
/// Rounds of a row with the same processes, each of which gives one pair for each ratio; fewer where a measurement takes
/// longer than this.
const ROUNDS: usize = 7;
const ROUNDS_MIN: usize = 2;
const LONG_NS: f64 = 40e6;
/// How often the processes of a row are started anew: some operations take twice as long at unlucky addresses.
const STARTS: usize = 5;
/// What the goals allow for small operations.
const ALLOWANCE: f64 = 1.05;

/// A process that measures on request.
struct Worker {
    name: &'static str,
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(name: &'static str) -> Worker {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--serve", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
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
pub(crate) fn serve(plan: &Plan, process: &str) {
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

/// The table of times and ratios, in Markdown.
pub(crate) fn print_table(plan: &Plan) {
    let columns = plan.columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    table_head("operation", &names, " | zerovent against");
    for (index, row) in plan.chosen_rows() {
        let mut rounds = vec![Vec::new(); columns.len()];
        for _ in 0..STARTS {
            measure_row(&columns, index, &mut rounds);
        }
        let cells: Vec<String> = (0..columns.len()).map(|column| cell(&rounds, column)).collect();
        let ratios: Vec<String> =
            row.goals.iter().filter_map(|goal| ratio(&columns, &rounds, goal)).collect();
        println!("| {} | {} | {} |", row.text, cells.join(" | "), ratios.join("; "));
    }
}

/// Adds to each column the nanoseconds an operation took in every round.
fn measure_row(columns: &[Column], row: usize, times: &mut [Vec<f64>]) {
    let mut workers: Vec<Worker> = Vec::new();
    for column in columns {
        if workers.iter().all(|worker| worker.name != column.process) {
            workers.push(Worker::start(column.process));
        }
    }
    let mut ask = |column: &Column, count| {
        let worker = workers.iter_mut().find(|worker| worker.name == column.process);
        worker.expect("each column's process was started").ask(row, column.subject, count)
    };
    let counts: Vec<Option<Measured>> =
        columns.iter().map(|column| calibrate(|count| ask(column, count))).collect();
    let is_long = counts.iter().flatten().any(|measured| measured.took_ns > LONG_NS);
    for _ in 0..if is_long { ROUNDS_MIN } else { ROUNDS } {
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
fn calibrate(mut ask: impl FnMut(u64) -> Option<f64>) -> Option<Measured> {
    let mut count = 16;
    loop {
        let took_ns = ask(count)?;
        if took_ns > TARGET_NS / 10.0 {
            let each_ns = took_ns / count as f64;
            let count = (TARGET_NS / each_ns).ceil();
            return Some(Measured { count: count as u64, took_ns: each_ns * count });
        }
        count *= 4;
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn cell(rounds: &[Vec<f64>], column: usize) -> String {
    let times = sorted(rounds[column].clone());
    match times.get(times.len() / 2) {
        None => "-".to_owned(),
        Some(ns) if *ns >= 100_000.0 => format!("{:.0} us", ns / 1000.0),
        Some(ns) if *ns >= 100.0 => format!("{ns:.0}"),
        Some(ns) => format!("{ns:.1}"),
    }
}

/// The median of the rounds' ratios with the half of them around it, and what it should be.
fn ratio(columns: &[Column], rounds: &[Vec<f64>], goal: &Goal) -> Option<String> {
    let of = columns.iter().position(|column| column.name == goal.of)?;
    let pairs = rounds[0].iter().zip(&rounds[of]).map(|(ours, theirs)| ours / theirs);
    let ratios = sorted(pairs.collect());
    let at = |quarter: usize| ratios.get(quarter * (ratios.len().checked_sub(1)?) / 4).copied();
    let (low, median, high) = (at(1)?, at(2)?, at(3)?);
    let (name, most) = (goal.of, goal.most);
    let verdict = if median <= most * ALLOWANCE { "" } else { ", **missed**" };
    Some(format!("{name} {median:.2} ({low:.2} to {high:.2}), goal {most:.2}{verdict}"))
}
