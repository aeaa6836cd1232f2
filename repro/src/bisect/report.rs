//! What a bisection found, as text and as values.

use std::fmt::Write;

use serde::Serialize;

use super::Request;
use super::compare::{Differing, Parting, What};
use super::inputs::InputDifference;
use super::trace::TraceParting;

/// Where two sides part.
#[derive(Clone, Debug, Serialize)]
pub struct Bisection {
    /// The first side.
    pub a: String,
    /// The second side.
    pub b: String,
    /// Members whose content differs, where both sides are artifacts.
    pub members: Vec<String>,
    /// What differs in the inputs, causes first.
    pub inputs: Vec<InputDifference>,
    /// Where the traces part.
    pub trace: TraceParting,
    /// The first tensor that differs in the first differing step.
    pub step: Option<Parting>,
    /// What was in the way, and what to do about it.
    pub notes: Vec<String>,
}

impl Bisection {
    /// Nothing found yet.
    pub(super) fn new(request: &Request) -> Self {
        let b =
            if request.run_here { "a run on this machine".to_owned() } else { request.b.path.display().to_string() };
        Self {
            a: request.a.path.display().to_string(),
            b,
            members: Vec::new(),
            inputs: Vec::new(),
            trace: TraceParting { steps: [0, 0], first_step: None, digests_read: 0, fields: Vec::new(), block: None },
            step: None,
            notes: Vec::new(),
        }
    }

    /// Whether nothing differs.
    pub fn identical(&self) -> bool {
        self.members.is_empty()
            && self.inputs.is_empty()
            && self.trace.first_step.is_none()
            && self.trace.steps[0] == self.trace.steps[1]
    }

    /// What stands on stdout.
    pub fn text(&self) -> String {
        let mut text = format!("bisect:   {}\n", if self.identical() { "identical" } else { "different" });
        let mut line = |head: &str, rest: String| {
            let _ = writeln!(text, "{head:<10}{rest}");
        };
        line("a:", self.a.clone());
        line("b:", self.b.clone());
        if !self.members.is_empty() {
            line("members:", self.members.join(", "));
        }
        for (row, difference) in self.inputs.iter().enumerate() {
            let InputDifference { kind, place, a, b, detail } = difference;
            line(if row == 0 { "inputs:" } else { "" }, format!("{kind}: {place}"));
            let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "none".to_owned());
            line("", format!("    a {}", shown(a)));
            line("", format!("    b {}", shown(b)));
            if let Some(detail) = detail {
                line("", format!("    {detail}"));
            }
        }
        let TraceParting { steps, first_step, digests_read, fields, block } = &self.trace;
        match first_step {
            None if steps[0] == steps[1] => line("trace:", format!("the same {} steps", steps[0])),
            None => line(
                "trace:",
                format!(
                    "the first {} steps are the same; a has {}, b has {}",
                    steps[0].min(steps[1]),
                    steps[0],
                    steps[1]
                ),
            ),
            Some(step) => {
                let names: Vec<&str> = fields.iter().map(|field| field.key.as_str()).collect();
                line(
                    "trace:",
                    format!(
                        "step {step} of {} is the first that differs, in {}",
                        steps[0].max(steps[1]),
                        names.join(", ")
                    ),
                );
                line("", format!("({digests_read} digests of each tree read)"));
            }
        }
        if let Some(block) = block {
            line("", format!("block {}: {} (from the full traces)", block.block, block.tensor));
        }
        if let Some(parting) = &self.step {
            for (head, rest) in parting_lines(parting) {
                line(head, rest);
            }
        }
        for note in &self.notes {
            line("note:", note.clone());
        }
        text
    }
}

fn parting_lines(parting: &Parting) -> Vec<(&'static str, String)> {
    let place = &parting.place;
    let mut whereabouts = vec![format!("stage {}", place.stage)];
    whereabouts.extend(place.example.map(|example| format!("example {example} of the batch")));
    whereabouts.extend(place.block.map(|block| format!("block {block}")));
    let mut lines = vec![
        ("first:", whereabouts.join(", ")),
        ("", format!("operation  {}", place.operation)),
        ("", format!("tensor     {} {:?}", place.tensor, place.shape)),
    ];
    match &parting.what {
        What::Place { b: None } => lines.push(("", "b ends before it".to_owned())),
        What::Place { b: Some(b) } => {
            lines.push(("", format!("b has {} {:?} of {} in its place", b.tensor, b.shape, b.operation)))
        }
        What::Values(Differing { elements, differing, index, a, b, ulp, max_ulp }) => {
            lines.push(("", format!("element    {index:?}")));
            lines.push(("", format!("    a {} ({})", a.hex, a.decimal)));
            lines.push(("", format!("    b {} ({})", b.hex, b.decimal)));
            let distance = |ulp: &Option<u64>| ulp.map_or_else(|| "no distance".to_owned(), |ulp| format!("{ulp} ULP"));
            let greatest =
                if differing > &1 { format!(", at most {} apart", distance(max_ulp)) } else { String::new() };
            lines.push((
                "",
                format!("    {} apart; {differing} of {elements} elements differ{greatest}", distance(ulp)),
            ));
        }
    }
    lines
}
