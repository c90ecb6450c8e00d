//! The rows of the table, their targets, and how they are printed.

use crate::contender::{Contender, Linking, Way};
use std::collections::BTreeMap;

/// What is measured; numbers are those of the vassals or sockets; `true` in a turn: by the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Cold(usize),
    Growth(usize),
    EmperorCpu(usize),
    SpawnerCpu(usize),
    VassalCpu(usize),
    ColdTurn(usize, bool),
    Rename,
    Touch,
    Remove,
    Kill,
    Storm(usize),
    Demand(usize),
    Term(usize),
    LifeTurn(usize, bool),
    Idle,
    Memory(usize),
}

impl Row {
    fn text(self) -> String {
        let turn = |wall| if wall { "by the clock" } else { "in its own CPU time" };
        match self {
            Self::Cold(count) => format!("cold start, N = {count}, ms"),
            Self::Growth(count) => format!("one of {count} starts, x one of 1000"),
            Self::EmperorCpu(count) => format!("emperor's CPU per start, N = {count}, us"),
            Self::SpawnerCpu(count) => format!("spawner's CPU per start, N = {count}, us"),
            Self::VassalCpu(count) => format!("children's CPU per start, N = {count}, us"),
            Self::ColdTurn(count, wall) => {
                format!("longest turn, cold start, N = {count}, {}, ms", turn(wall))
            }
            Self::Rename => "new file (rename) to exec, ms".to_owned(),
            Self::Touch => "touch to byte 1, ms".to_owned(),
            Self::Remove => "removal to process gone, ms".to_owned(),
            Self::Kill => "SIGKILL to exec of the successor, ms".to_owned(),
            Self::Storm(count) => format!("all killed at once to all running, N = {count}, ms"),
            Self::Demand(count) => format!("connection to exec, {count} sockets, ms"),
            Self::Term(count) => format!("TERM to all gone, N = {count}, ms"),
            Self::LifeTurn(count, wall) => {
                format!("longest turn, all events, N = {count}, {}, ms", turn(wall))
            }
            Self::Idle => "idle: wake-ups in 10 s".to_owned(),
            Self::Memory(count) => format!("memory of the supervisor, N = {count}, PSS, KiB"),
        }
    }

    /// What liege must reach, and what it aims at.
    fn target(self, way: Way, linking: Linking) -> Option<Target> {
        use Linking::{Bare, WithLibrary};
        use Way::{Direct, Stage, StageAsUser};
        let ratio = |must, aim| Some(Target { must, aim, ratio: true });
        let value = |must, aim| Some(Target { must, aim, ratio: false });
        match (self, way, linking) {
            (Self::Cold(1000), Direct, WithLibrary) => ratio(1.25, 1.1),
            (Self::Cold(1000), Direct, Bare) => ratio(2.0, 1.6),
            (Self::Cold(1000), Stage, WithLibrary) => ratio(1.4, 1.2),
            (Self::Cold(1000), Stage, Bare) => ratio(2.5, 2.0),
            (Self::Cold(1000), StageAsUser, WithLibrary) => ratio(1.5, 1.3),
            (Self::Cold(1000), StageAsUser, Bare) => ratio(2.6, 2.1),
            (Self::Growth(_), ..) => value(1.15, 1.15),
            (Self::Rename, Stage, WithLibrary) => ratio(1.7, 1.3),
            (Self::Touch, Direct | Stage, _) => value(0.3, 0.1),
            (Self::Remove, Direct | Stage, _) => value(120.0, 105.0),
            (Self::Kill, Stage, WithLibrary) => ratio(1.5, 1.25),
            (Self::Kill, Stage, Bare) => ratio(2.1, 1.8),
            (Self::Demand(_), Direct, WithLibrary) => ratio(1.25, 1.1),
            (Self::Demand(_), Direct, Bare) => ratio(1.8, 1.5),
            (Self::Demand(_), Stage, WithLibrary) => ratio(1.6, 1.35),
            (Self::Demand(_), Stage, Bare) => ratio(2.6, 2.2),
            (Self::Storm(1000), Direct, WithLibrary) => ratio(1.25, 1.1),
            (Self::Storm(1000), Stage, WithLibrary) => ratio(1.6, 1.35),
            (Self::Term(1000), Direct | Stage, _) => ratio(1.4, 1.2),
            (Self::EmperorCpu(1000), _, _) => value(120.0, 120.0),
            (Self::ColdTurn(_, false) | Self::LifeTurn(_, false), _, _) => value(5.0, 1.0),
            (Self::Idle, _, _) => value(0.0, 0.0),
            (Self::Memory(1000), _, _) => value(3277.0, 2560.0),
            _ => None,
        }
    }
}

struct Target {
    must: f64,
    aim: f64,
    /// Times the limit of the same run.
    ratio: bool,
}

impl Target {
    fn verdict(&self, value: f64, limit: f64) -> String {
        let reached = if self.ratio { value / limit } else { value };
        let mark = |bound| if reached <= bound { "met" } else { "NOT MET" };
        let Self { must, aim, .. } = self;
        format!("must {must} {}, aim {aim} {}", mark(*must), mark(*aim))
    }
}

/// What was seen, by row and contender.
#[derive(Default)]
pub struct Samples(BTreeMap<Row, BTreeMap<usize, Vec<f64>>>);

impl Samples {
    pub fn add(&mut self, row: Row, contender: usize, value: f64) {
        self.0.entry(row).or_default().entry(contender).or_default().push(value);
    }
}

/// Lower quartile, median, upper quartile.
fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| {
        let at = (values.len() - 1) as f64 * f64::from(quarter) / 4.0;
        let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
        low + (high - low) * at.fract()
    })
}

pub fn print(samples: &Samples, contenders: &[Contender], linking: Linking) {
    for (row, by_contender) in &samples.0 {
        println!("{}: {}", linking.letter(), row.text());
        let limit = by_contender.get(&0).map(|values| quartiles(values)[1]);
        for (&at, values) in by_contender {
            let (contender, [low, median, high]) = (&contenders[at], quartiles(values));
            let spread = format!("[{low:.2} .. {high:.2}]");
            let mut line = format!("  {:<18}{median:>9.2} {spread:<21}", contender.name);
            if let Some(limit) = limit.filter(|_| at > 0) {
                line.push_str(&format!("{:>6.2} x limit", median / limit));
            }
            if let Some(ours) = contender.other_of.and_then(|ours| by_contender.get(&ours)) {
                line.push_str(&format!("   (ours: {:.2} x this)", quartiles(ours)[1] / median));
            }
            let target =
                contender.way().filter(|_| contender.is_liege() && contender.other_of.is_none());
            if let Some(target) = target.and_then(|way| row.target(way, linking)) {
                line.push_str(&format!("   {}", target.verdict(median, limit.unwrap_or(f64::NAN))));
            }
            println!("{line}");
        }
    }
    println!();
}
