//! Bars: what each subject costs in each row, in units of what one of them does. Shorter is better.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::table::{Line, Table};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: i32 = 900;
/// Where bars begin, and how long the one is that stands for 1.
const LEFT: i32 = 330;
const UNIT: i32 = 350;
/// Longer bars are cut off; their figures are not.
const LONGEST: f64 = 1.3;
const TOP: i32 = 64;
const BAR: i32 = 14;
const GAP: i32 = 12;
/// Width of a name and its colour.
const LEGEND: i32 = 120;
const COLOURS: [RGBColor; 5] = [
    RGBColor(0xd9, 0x48, 0x01),
    RGBColor(0x7a, 0x8b, 0x99),
    RGBColor(0x3b, 0x6e, 0xa8),
    RGBColor(0x4c, 0x95, 0x6c),
    RGBColor(0xc9, 0xcf, 0xd4),
];
const INK: RGBColor = RGBColor(0x20, 0x24, 0x28);

/// Draws `table` with the costs of `unit` as the unit. If `unit` was left out there is nothing to draw.
pub(crate) fn draw(path: &Path, title: &str, table: &Table, unit: &str) {
    let Some(unit) = table.names.iter().position(|name| *name == unit) else { return };
    std::fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
    let group = table.names.len() as i32 * BAR + GAP;
    let height = TOP + group * table.lines.len() as i32 + GAP;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE).expect("room for a chart");
    words(&area, title, (GAP, 18), 20, HPos::Left);
    legend(&area, &table.names);
    for (index, line) in table.lines.iter().enumerate() {
        bars(&area, line, unit, table.show, TOP + group * index as i32);
    }
    let one = [(LEFT + UNIT, TOP - 8), (LEFT + UNIT, height - GAP)];
    area.draw(&PathElement::new(one, INK.mix(0.4))).expect("room for a chart");
    area.present().expect("the chart can be written");
}

fn legend(area: &Area<'_>, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        let left = LEFT + LEGEND * (index as i32) - if names.len() > 4 { LEGEND / 2 } else { 0 };
        bar(area, left, 36, BAR, index);
        words(area, name, (left + BAR + 4, 36 + BAR / 2), 15, HPos::Left);
    }
}

/// The bars of a row, one a name.
fn bars(area: &Area<'_>, line: &Line, unit: usize, show: fn(f64) -> String, top: i32) {
    let height = line.figures.len() as i32 * BAR;
    words(area, line.text, (LEFT - 8, top + height / 2), 15, HPos::Right);
    let Some(one) = line.figures[unit] else { return };
    for (index, figure) in line.figures.iter().enumerate() {
        let Some(figure) = figure else { continue };
        let (top, len) = (top + index as i32 * BAR, (figure / one).min(LONGEST) * f64::from(UNIT));
        bar(area, LEFT, top, (len as i32).max(1), index);
        let says = format!("{:.2} ({})", figure / one, show(*figure));
        words(area, &says, (LEFT + len as i32 + 6, top + BAR / 2), 14, HPos::Left);
    }
}

fn bar(area: &Area<'_>, left: i32, top: i32, len: i32, index: usize) {
    let colour = COLOURS[index % COLOURS.len()];
    let shape = Rectangle::new([(left, top + 1), (left + len, top + BAR - 1)], colour.filled());
    area.draw(&shape).expect("room for a chart");
}

fn words(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, side: HPos) {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).expect("room for a chart");
}
