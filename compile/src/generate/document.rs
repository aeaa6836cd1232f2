//! Pre-training documents: plain texts, and texts with their label in many instruction formats.

use super::grammar::{Library, Sector};
use super::random::Choices;
use super::text::{Templates, compose, compose_loosely};

/// One pre-training text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Name of the sector.
    pub sector: &'static str,
    /// Class over all sectors, `0..class_count()`.
    pub class: u32,
    /// The text; labelled documents may hold the chat markers `<|im_start|>` and `<|im_end|>`.
    pub text: String,
}

/// Writes document `index`: plain in about one case of three, else with its label.
pub(super) fn labelled_or_plain(library: &Library, seed: u64, index: u64) -> Document {
    let mut choices = Choices::new(seed, "document", index);
    if choices.chance(35) { plain_with(library, &mut choices) } else { labelled(library, &mut choices) }
}

/// Writes plain text `index`.
pub(super) fn plain(library: &Library, seed: u64, index: u64) -> Document {
    plain_with(library, &mut Choices::new(seed, "text", index))
}

fn plain_with(library: &Library, choices: &mut Choices) -> Document {
    let (sector, class, code) = draw_class(library, choices);
    let text = draw_text(library, sector, class, choices);
    Document { sector: sector.name, class: code, text }
}

/// Draws a loose text in one case of four, else whole sentences.
fn draw_text(library: &Library, sector: &Sector, class: usize, choices: &mut Choices) -> String {
    if choices.chance(25) {
        compose_loosely(library, sector, class, choices)
    } else {
        compose(library, sector, class, Templates::Training, choices)
    }
}

fn draw_class<'a>(library: &'a Library, choices: &mut Choices) -> (&'a Sector, usize, u32) {
    let place = choices.below(library.sectors.len());
    let sector = &library.sectors[place];
    let class = choices.below(sector.classes.len());
    let before: usize = library.sectors[..place].iter().map(|sector| sector.classes.len()).sum();
    (sector, class, (before + class) as u32)
}

fn labelled(library: &Library, choices: &mut Choices) -> Document {
    let (sector, class, code) = draw_class(library, choices);
    let text = draw_text(library, sector, class, choices);
    // One naming scheme per document, never the label itself: what the example corpora ask for is left for the adapter to learn.
    let scheme = 1 + choices.below(2);
    let name = |class: usize| sector.classes[class].names[scheme];
    let label = name(class);
    let words = words_of(sector.name);
    let instruction = choices.pick(words.instructions);
    let (noun, field) = (words.noun, choices.pick(words.fields));
    let text = match choices.below(14) {
        0..=3 => format!("<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n{label}<|im_end|>"),
        4..=5 => {
            format!("<|im_start|>user\n{instruction}\n\n{text}<|im_end|>\n<|im_start|>assistant\n{label}<|im_end|>")
        }
        6 => format!("{noun}: {text}\n{field}: {label}"),
        7 => format!("### Instruction\n{instruction}\n### Input\n{text}\n### Answer\n{label}"),
        8 => format!("{text}\n=> {label}"),
        9 => format!("{field} {label}\n{text}"),
        10 => format!("Q: {instruction} {text}\nA: {label}"),
        11 => {
            let options: Vec<&str> = (0..sector.classes.len()).map(name).collect();
            format!("{instruction} Options: {}.\n{text}\nAnswer: {label}", options.join(", "))
        }
        12 => {
            let asked = if choices.chance(50) { class } else { choices.below(sector.classes.len()) };
            let answer = if asked == class { "yes" } else { "no" };
            format!("{text}\nIs the {field} {}? {answer}", name(asked))
        }
        _ => {
            let other = choices.below(sector.classes.len());
            let example = draw_text(library, sector, other, choices);
            format!("{noun}: {example}\n{field}: {}\n\n{noun}: {text}\n{field}: {label}", name(other))
        }
    };
    Document { sector: sector.name, class: code, text }
}

/// What a sector calls its texts, its labels, and the question.
struct Words {
    noun: &'static str,
    fields: &'static [&'static str],
    instructions: &'static [&'static str],
}

fn words_of(sector: &str) -> &'static Words {
    let place = ["support", "clinical", "maintenance", "trade"].iter().position(|name| *name == sector);
    &WORDS[place.unwrap_or(0)]
}

const WORDS: [Words; 4] = [
    Words {
        noun: "Ticket",
        fields: &["Queue", "queue", "Topic", "Team"],
        instructions: &[
            "Which queue should handle this ticket?",
            "Sort the message into a queue.",
            "Name the team for this request.",
            "What is the customer's message about?",
            "Classify the support ticket.",
        ],
    },
    Words {
        noun: "Note",
        fields: &["Specialty", "Department", "Clinic", "Topic"],
        instructions: &[
            "Which specialty does the note belong to?",
            "Name the department for this note.",
            "Classify the clinical note.",
            "Where should the letter be sent?",
        ],
    },
    Words {
        noun: "Log",
        fields: &["System", "Component", "System affected", "Group"],
        instructions: &[
            "Which system of the machine is affected?",
            "Classify the work order.",
            "Name the component group.",
            "What was repaired?",
        ],
    },
    Words {
        noun: "Alert",
        fields: &["Type", "Conduct", "Category", "Typology"],
        instructions: &[
            "Which conduct does the alert describe?",
            "Classify the surveillance note.",
            "Name the type of abuse.",
            "Sort the alert by category.",
        ],
    },
];
