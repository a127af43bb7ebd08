//! What was measured: medians, and ratios with their spread beside the goals; as Markdown.

use super::{Goal, Row};

/// A table of figures.
pub(crate) struct Table {
    /// What the rows are.
    pub(crate) first: &'static str,
    /// Whose figures these are; the first is zerovent.
    pub(crate) names: Vec<&'static str>,
    pub(crate) lines: Vec<Line>,
    /// How a figure reads.
    pub(crate) show: fn(f64) -> String,
}

/// A row of it.
pub(crate) struct Line {
    pub(crate) text: &'static str,
    /// A figure for each name, where there is one.
    pub(crate) figures: Vec<Option<f64>>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// A goal beside what was reached.
pub(crate) struct Verdict {
    /// Beside whom; nobody where the goal is a figure of zerovent's own.
    pub(crate) of: Option<&'static str>,
    pub(crate) reached: Spread,
    /// What it should be; nothing where the ratio is only told.
    pub(crate) most: Option<f64>,
    pub(crate) is_met: bool,
}

/// The median with the half of the values around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| Some(values[quarter * values.len().checked_sub(1)? / 4]);
        Some(Spread { low: at(1)?, median: at(2)?, high: at(3)? })
    }
}

impl Line {
    /// The line of a row, of which `rounds` has the figures of every round, a list a name.
    pub(crate) fn of_rounds(row: &Row, names: &[&'static str], rounds: &[Vec<f64>]) -> Line {
        let figures = rounds.iter().map(|round| Some(Spread::of(round.clone())?.median)).collect();
        let verdicts = row.goals.iter().filter_map(|goal| Verdict::of(goal, row, names, rounds)).collect();
        Line { text: row.text, figures, verdicts }
    }
}

impl Line {
    /// The line of a row of which something was counted, a figure a name. Goals are of times: beside whom they are is told, not whether they are met.
    pub(crate) fn of_counts(row: &Row, names: &[&'static str], figures: Vec<Option<f64>>) -> Line {
        let told = |goal: &Goal| {
            let of = names.iter().position(|name| *name == goal.of)?;
            Verdict::told(goal.of, figures[0].as_slice(), figures[of].as_slice())
        };
        Line { text: row.text, verdicts: row.goals.iter().filter_map(told).collect(), figures }
    }
}

impl Verdict {
    /// The ratios of zerovent's figure to the other's in the same round.
    fn of(goal: &Goal, row: &Row, names: &[&'static str], rounds: &[Vec<f64>]) -> Option<Verdict> {
        let of = names.iter().position(|name| *name == goal.of)?;
        let Verdict { reached, .. } = Verdict::told(goal.of, &rounds[0], &rounds[of])?;
        let is_met = reached.median <= goal.most * row.allowance;
        Some(Verdict { of: Some(goal.of), reached, most: Some(goal.most), is_met })
    }

    /// A goal that is a figure, which was counted, not measured.
    pub(crate) fn of_count(count: f64, most: f64) -> Verdict {
        let reached = Spread { low: count, median: count, high: count };
        Verdict { of: None, reached, most: Some(most), is_met: count <= most }
    }

    /// The ratios of zerovent's figure to the other's in the same round, of which nothing is expected.
    pub(crate) fn told(of: &'static str, ours: &[f64], theirs: &[f64]) -> Option<Verdict> {
        let reached = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())?;
        Some(Verdict { of: Some(of), reached, most: None, is_met: true })
    }

    fn text(&self) -> String {
        let Spread { low, median, high } = self.reached;
        let met = if self.is_met { "met" } else { "**missed**" };
        let goal = self.most.map_or(String::new(), |most| format!(", goal {most:.2}, {met}"));
        match self.of {
            Some(of) if low == high => format!("{of} {median:.2}{goal}"),
            Some(of) => format!("{of} {median:.2} ({low:.2} to {high:.2}){goal}"),
            None => goal.trim_start_matches(", ").to_owned(),
        }
    }
}

impl Table {
    pub(crate) fn markdown(&self) -> String {
        let has_goals = self.lines.iter().any(|line| !line.verdicts.is_empty());
        let last = if has_goals { " zerovent against |" } else { "" };
        let mut text = format!("| {} | {} |{last}\n", self.first, self.names.join(" | "));
        text += &format!("|---|{}{}\n", "---|".repeat(self.names.len()), if has_goals { "---|" } else { "" });
        for line in &self.lines {
            let show = |figure: &Option<f64>| figure.map_or("-".to_owned(), self.show);
            let figures: Vec<String> = line.figures.iter().map(show).collect();
            let verdicts: Vec<String> = line.verdicts.iter().map(Verdict::text).collect();
            let last = if has_goals { format!(" {} |", verdicts.join("; ")) } else { String::new() };
            text += &format!("| {} | {} |{last}\n", line.text, figures.join(" | "));
        }
        text
    }
}

/// Nanoseconds, with as many digits as mean anything.
pub(crate) fn nanoseconds(ns: f64) -> String {
    match ns {
        _ if ns >= 100_000.0 => format!("{:.0} us", ns / 1000.0),
        _ if ns >= 100.0 => format!("{ns:.0}"),
        _ => format!("{ns:.1}"),
    }
}

/// Counts that are whole numbers.
pub(crate) fn whole(count: f64) -> String {
    format!("{count:.0}")
}

/// Counts an operation.
pub(crate) fn hundredths(count: f64) -> String {
    format!("{count:.2}")
}
