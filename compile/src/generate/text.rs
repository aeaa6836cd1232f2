//! From a class to a text: content sentences, sentences around them, and the slips of people who type.

use super::grammar::{Class, Library, Sector};
use super::random::Choices;

/// Which of a class's templates a text may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Templates {
    /// The training templates.
    Training,
    /// The held-out templates.
    HeldOut,
}

impl Templates {
    fn of(self, class: &Class) -> &[&'static str] {
        match self {
            Templates::Training => &class.templates,
            Templates::HeldOut => &class.held_out,
        }
    }
}

/// Writes one text of class `class` of `sector`.
pub(super) fn compose(
    library: &Library,
    sector: &Sector,
    class: usize,
    templates: Templates,
    choices: &mut Choices,
) -> String {
    let content = templates.of(&sector.classes[class]);
    let first = choices.below(content.len());
    let mut sentences = vec![library.expand(content[first], choices)];
    let more = if sector.name == "support" { 20 } else { 60 };
    if choices.chance(more) {
        let second = (first + 1 + choices.below(content.len() - 1)) % content.len();
        sentences.push(library.expand(content[second], choices));
    }
    if choices.chance(30) {
        let filler = library.expand(choices.pick(&sector.fillers), choices);
        let place = choices.below(sentences.len() + 1);
        sentences.insert(place, filler);
    }
    if choices.chance(35) {
        sentences.insert(0, library.expand(choices.pick(&sector.openers), choices));
    }
    if choices.chance(30) {
        sentences.push(library.expand(choices.pick(&sector.closers), choices));
    }
    slip(sentences.join(" "), choices)
}

/// Writes a loose text of class `class`: stretches of several sentences, with words left out, as in hurried notes.
///
/// A model that sees these learns which words speak for a class, not only whole sentences.
pub(super) fn compose_loosely(library: &Library, sector: &Sector, class: usize, choices: &mut Choices) -> String {
    let content = Templates::Training.of(&sector.classes[class]);
    let mut kept: Vec<String> = Vec::new();
    for _ in 0..2 + choices.below(2) {
        let sentence = library.expand(choices.pick(content), choices);
        let words: Vec<&str> = sentence.split(' ').collect();
        let first = choices.below(words.len().div_ceil(2));
        let stretch = &words[first..words.len().min(first + 3 + choices.below(6))];
        kept.extend(stretch.iter().filter(|_| !choices.chance(15)).map(|word| (*word).to_owned()));
    }
    slip(kept.join(" "), choices)
}

/// Adds a sentence of another class after the text: the text keeps the class it began with.
pub(super) fn add_aside(
    library: &Library,
    text: &str,
    other: &Class,
    templates: Templates,
    choices: &mut Choices,
) -> String {
    let aside = library.expand(choices.pick(templates.of(other)), choices);
    format!("{text} {} {aside}", choices.pick(&["By the way:", "Also,", "One more thing:", "Besides,"]))
}

/// Lets a minority of texts carry abbreviations, lower case, and mistyped words.
fn slip(text: String, choices: &mut Choices) -> String {
    let mut text = text;
    if choices.chance(12) {
        text = abbreviate(&text);
    }
    if choices.chance(12) {
        text = text.to_lowercase();
    }
    if choices.chance(15) {
        for _ in 0..=choices.below(2) {
            text = mistype(&text, choices);
        }
    }
    if choices.chance(10) {
        text = text.trim_end_matches(['.', '!']).to_owned();
    }
    text
}

fn abbreviate(text: &str) -> String {
    let word = |word: &str| {
        let found = ABBREVIATIONS.iter().find(|(long, _)| *long == word);
        found.map_or(word.to_owned(), |(_, short)| (*short).to_owned())
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Drops, doubles or swaps letters inside one word of five letters or more.
fn mistype(text: &str, choices: &mut Choices) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let place = choices.below(words.len());
    let mut letters: Vec<char> = words[place].chars().collect();
    if letters.len() < 5 || !letters.iter().all(|letter| letter.is_ascii_alphabetic()) {
        return text.to_owned();
    }
    let at = 1 + choices.below(letters.len() - 3);
    match choices.below(3) {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letters[at]),
        _ => letters.swap(at, at + 1),
    }
    words[place] = letters.into_iter().collect();
    words.join(" ")
}

const ABBREVIATIONS: [(&str, &str); 20] = [
    ("please", "pls"),
    ("Please", "Pls"),
    ("you", "u"),
    ("your", "ur"),
    ("are", "r"),
    ("account", "acct"),
    ("Thanks", "Thx"),
    ("because", "bc"),
    ("with", "w/"),
    ("without", "w/o"),
    ("message", "msg"),
    ("Patient", "Pt"),
    ("replaced", "repl"),
    ("left", "lt"),
    ("right", "rt"),
    ("and", "&"),
    ("week", "wk"),
    ("weeks", "wks"),
    ("hydraulic", "hyd"),
    ("Hydraulic", "Hyd"),
];
